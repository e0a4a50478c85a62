"""`memeblend policy`: fit a policy on a model's validation, or show what one implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from memeblend.cli.guard import guarded
from memeblend.cli.options import JsonOption
from memeblend.errors import PolicyError, Problem

if TYPE_CHECKING:
    from memeblend.policy import Costs

FEW = 30
"""Fewer memes of a category, or outside it, are said to be few."""
_VERDICTS = ("auto", "review", "pass")
NOT_OF_THIS_MODEL = (
    "This policy was fitted on another model: its calibration may be wrong here. Fit it anew with `memeblend policy`."
)


@dataclass(frozen=True)
class PolicyRequest:
    """Options of `memeblend policy`.

    Attributes:
        model: a model folder or a run.
        policy: a policy file to show; None fits one.
        out: where to write the policy; None only shows it.
        cost: NAME=false_alarm:1,miss:5,review:0.3 of categories.
        coverage: of the sets of classes; 0 makes none.
    """

    model: Path
    policy: Path | None = None
    out: Path | None = None
    cost: Sequence[str] = ()
    coverage: float = 0.9


def run_policy(request: PolicyRequest, json_output: bool) -> None:
    """`memeblend policy`.

    Raises:
        PolicyError: options that are wrong or don't go together, or a policy that can't be fitted or read.
        ModelError: the model can't be read.
        OutputError: the policy could not be written.
    """
    from memeblend.cli.output import messages, print_json, results
    from memeblend.cli.reading import load_model
    from memeblend.policy import Policy, implied

    if request.policy is not None and (request.cost or request.out is not None):
        raise PolicyError("--policy shows a policy that there is; --cost and --out make a new one.", fix="Give either.")
    if request.out is not None and request.out.suffix != ".toml":
        raise PolicyError(f"'{request.out}' should end in .toml.")
    costs = read_costs(request.cost)
    model = load_model(request.model, exported=True)
    if request.policy is None:
        policy = Policy.fit(model.validation_, costs, request.coverage)
    else:
        policy = Policy.read(request.policy, model.label_tasks_)
        if not policy.fits(model.validation_):
            messages.print(NOT_OF_THIS_MODEL, markup=False, soft_wrap=True)
    found = implied(policy, model.validation_)
    if request.out is not None:
        policy.write(request.out)
        messages.print(f"Wrote {request.out}", markup=False, soft_wrap=True)
    if json_output:
        print_json({"policy": policy.to_dict(), "implied": found})
        return
    results.print(f"On the {found['num_memes']} memes that chose the model's members, per category:", markup=False)
    results.print(_queues_table(found["categories"]))
    shares = ", ".join(f"{verdict} {_count(found['memes'][verdict])}" for verdict in _VERDICTS)
    results.print(f"Memes by their gravest category: {shares}", markup=False)
    results.print(_errors_table(found["categories"]))
    if found["sets"]:
        results.print(_sets_table(found["sets"]))
    for name, category in policy.categories.items():
        _note(name, category.calibration, messages)


def read_costs(options: Sequence[str]) -> dict[str, Costs]:
    """Costs by category from options NAME=false_alarm:1,miss:5,review:0.3; what is left out is as `Costs` has it.

    Raises:
        PolicyError: options of another form; all of them listed.
    """
    from memeblend.policy.costs import Costs
    from memeblend.policy.reading import parse

    found: dict[str, Costs] = {}
    problems: list[Problem] = []
    for option in options:
        name, _, rest = option.partition("=")
        pairs = [pair.partition(":") for pair in rest.split(",")]
        try:
            numbers = {key.strip(): float(value) for key, _, value in pairs}
        except ValueError:
            problems.append(Problem("--cost", f"'{option}' is not of the form NAME=false_alarm:1,miss:5,review:0.3"))
            continue
        if not name or name in found:
            problems.append(Problem("--cost", f"'{option}' names no category, or one a second time"))
            continue
        try:
            found[name] = parse(Costs, numbers, sorted(Costs.model_fields), f"--cost {name}")
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise PolicyError("These costs can't be:", problems=problems)
    return found


def _queues_table(categories: dict[str, Any]) -> Table:
    table = Table("category")
    for column in ("review from", "auto from", *_VERDICTS):
        table.add_column(column, justify="right")
    for name, found in categories.items():
        limits = (f"{limit:.3f}" for limit in found["limits"])
        table.add_row(escape(name), *limits, *(_count(found["verdicts"][verdict]) for verdict in _VERDICTS))
    return table


def _errors_table(categories: dict[str, Any]) -> Table:
    table = Table("category")
    for column in ("precision of auto", "recall of auto", "recall of auto + review", "cost a meme", "best constant"):
        table.add_column(column, justify="right")
    for name, found in categories.items():
        cost = found["cost"]
        alternatives = {} if cost is None else {value: name for name, value in cost["alternatives"].items()}
        table.add_row(
            escape(name),
            _share(found["auto"]["precision"]),
            _share(found["auto"]["recall"]),
            _share(found["auto_or_review"]["recall"]),
            "" if cost is None else f"{cost['per_meme']:.3f}",
            "" if cost is None else f"{min(alternatives):.3f} ({alternatives[min(alternatives)]} all)",
        )
    return table


def _sets_table(sets: dict[str, Any]) -> Table:
    table = Table("sets of classes", "stated coverage", "observed (cross-fitted)", "mean size")
    for name, found in sets.items():
        size = "" if found["mean_size"] is None else f"{found['mean_size']:.2f}"
        table.add_row(escape(name), f"{found['coverage']:g}", _share(found["observed"]), size)
    return table


def _share(found: dict[str, Any]) -> str:
    """A share with its interval."""
    if found["share"] is None:
        return "no memes"
    low, high = found["interval"]
    return f"{found['share']:.2f} [{low:.2f}, {high:.2f}]"


def _count(found: dict[str, Any]) -> str:
    return f"{found['num']} ({found['share']:.0%})"


def _note(name: str, calibration: Any, messages: Any) -> None:
    """Say where a calibration has little to go by."""
    if calibration is None:
        return
    fewest = min(calibration.num_positive, calibration.num_memes - calibration.num_positive)
    if calibration.slope == 0:
        what = "a higher score does not mean a higher probability here, so every meme gets the same calibrated score"
    elif fewest < FEW:
        what = f"calibrated on {calibration.num_positive} memes of {calibration.num_memes}; the intervals are wide"
    else:
        return
    messages.print(f"{name}: {what}.", markup=False, soft_wrap=True)


def policy(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the policy to this .toml file.")] = None,
    cost: Annotated[
        list[str],
        typer.Option(
            "--cost",
            help="Costs of a category to decide on: NAME=false_alarm:1,miss:5,review:0.3. May be repeated; without "
            "any, all categories have false_alarm:1,miss:1,review:0.2.",
        ),
    ] = [],  # noqa: B006 (Typer copies it)
    coverage: Annotated[
        float,
        typer.Option("--coverage", min=0, max=0.999, help="How often sets of classes hold the true one; 0 makes none."),
    ] = PolicyRequest.coverage,
    policy_file: Annotated[
        Path | None, typer.Option("--policy", help="Show what this policy implies instead of fitting one.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Decide by cost what is acted on, reviewed and passed, and see what that implies: queues, precision, recall."""
    request = PolicyRequest(model, policy_file, out, cost, coverage)
    guarded(lambda: run_policy(request, json_output))
