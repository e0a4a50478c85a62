"""What the page's thresholds tab asks: the policy, what another one would imply, and to follow that from now on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from memeblend.errors import OutputError, PolicyError
from memeblend.evaluation.tables import PredictionTable
from memeblend.policy import Costs, Policy, implied
from memeblend.policy.categories import category_names
from memeblend.policy.policy import CategoryPolicy
from memeblend.serving import requests
from memeblend.serving.refusals import Refusal
from memeblend.serving.service import Service
from memeblend.serving.wires import BODY

_T = TypeVar("_T")


class PolicyRequest(BaseModel):
    """A policy as its file holds it."""

    model_config = ConfigDict(extra="forbid")

    policy: dict[str, Any]


class PolicyState(BaseModel):
    """What the server decides by."""

    policy: dict[str, Any] | None
    """The policy that is followed; null where the model decides."""
    fits: bool
    """Whether it was fitted on this model."""
    proposal: dict[str, Any] | None
    """One fitted on the model's validation with costs to begin with; null where there are too few labelled memes."""
    has_validation: bool
    has_file: bool
    """Whether a policy that is followed is also written to a file."""


class Implied(BaseModel):
    """What a policy means for the model's validation."""

    implied: dict[str, Any]
    toml: str
    """The policy's file."""


class Tuning:
    """Policies tried on a model's validation.

    Args:
        service: whose policy is tuned.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.policies = service.policies

    @cached_property
    def proposal(self) -> Policy | None:
        """A policy to begin with, for every category that has enough labelled memes; None without any."""
        return _proposed(self.policies.validation)

    def state(self) -> PolicyState:
        """What the server decides by now."""
        current = self.policies.current
        return PolicyState(
            policy=None if current is None else current.to_dict(),
            fits=self.policies.fits,
            proposal=None if self.proposal is None else self.proposal.to_dict(),
            has_validation=bool(self.policies.validation),
            has_file=self.policies.path is not None,
        )

    def implied(self, data: Mapping[str, Any]) -> Implied:
        """What a policy would mean.

        Raises:
            Refusal: it can't be used with this model, or there is no validation to see it on (422).
        """
        if not self.policies.validation:
            raise Refusal(422, "no_validation", "The model's folder holds no validation to see a policy on.")
        policy = self._policy(data)
        found = _unless_refused(lambda: implied(policy, self.policies.validation))
        return Implied(implied=found, toml=_unless_refused(policy.text))

    def follow(self, data: Mapping[str, Any]) -> None:
        """Follow a policy from now on.

        Raises:
            Refusal: it can't be used with this server (422), or not be written (500).
        """
        policy = self._policy(data)
        _unless_refused(lambda: self.policies.replace(policy))

    def _policy(self, data: Mapping[str, Any]) -> Policy:
        return _unless_refused(lambda: Policy.from_dict(data, self.policies.label_tasks))


def add_tuning(router: APIRouter, service: Service) -> None:
    """Add the routes of the thresholds tab."""
    tuning = Tuning(service)

    def asked(request: Request) -> dict[str, Any]:
        requests.check_json(request)
        return requests.validated(PolicyRequest, request.scope[BODY], service.settings).policy

    @router.get("/ui/policy")
    async def state() -> PolicyState:
        return await service.in_decoder(tuning.state)

    @router.post("/ui/policy/implied")
    async def imply(request: Request) -> Implied:
        data = asked(request)
        return await service.in_decoder(lambda: tuning.implied(data))

    @router.post("/ui/policy")
    async def follow(request: Request) -> PolicyState:
        data = asked(request)
        await service.in_decoder(lambda: tuning.follow(data))
        return await service.in_decoder(tuning.state)


def _proposed(validation: Mapping[str, PredictionTable]) -> Policy | None:
    names = category_names(table.label_task for table in validation.values())
    if not names:
        return None
    try:
        return Policy.fit(validation)
    except PolicyError:
        categories: dict[str, CategoryPolicy] = {}
        for name in names:
            try:
                categories |= Policy.fit(validation, {name: Costs()}, coverage=0).categories
            except PolicyError:
                continue  # too few labelled memes of this one
        return Policy(categories=categories) if categories else None


def _unless_refused(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except PolicyError as error:
        sentence = " ".join([error.message, error.fix]).strip()
        raise Refusal(422, "bad_policy", sentence, problems=error.problems) from error
    except OutputError as error:
        message = "The server could not write its policy file; the policy before is still followed."
        raise Refusal(500, "not_written", message) from error
