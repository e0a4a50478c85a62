"""Work for a cluster that this machine is no part of, named by the address of its client server (ray://HOST:PORT).

Ray's client hands over single tasks; Ray Data, Tune and Train need a process on the cluster to drive them. So the whole
work becomes one task there, and what it has to tell whoever watches comes back as messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from memeblend import errors
from memeblend.errors import ClusterError, MemeblendError
from memeblend.ray_session import ray_session

_SCHEME = "ray://"
_SECONDS_BETWEEN = 0.5
_OURS = re.compile(r"^\s*memeblend\.errors\.(\w+): (.+)$", re.MULTILINE)

Found = TypeVar("Found")


def is_far(address: str) -> bool:
    """Whether an address is that of a client server."""
    return (os.environ.get("RAY_ADDRESS", "") if address == "auto" else address).startswith(_SCHEME)


def carry_out_there(address: str, work: Callable[..., Found], watchers: Mapping[str, Any]) -> Found:
    """Carry out work in a process on a cluster.

    That process begins in this one's working folder, if the cluster has it, with Ray initialised: a `ray_session` with
    the address "auto" uses that.

    Args:
        address: ray://HOST:PORT.
        work: called there with a keyword for each watcher; a function that can be imported, or a partial of one.
        watchers: what is called of them there is called of these here, in order.

    Returns:
        What the work returns.

    Raises:
        MemeblendError: what the work raised.
        ClusterError: no cluster answers, or the process was lost.
    """
    where = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    with ray_session(0, where):
        import ray
        from ray.exceptions import RayError

        try:
            mailbox: Any = ray.remote(num_cpus=0)(_Mailbox).remote()
            there: Any = ray.remote(num_cpus=0, max_retries=0)(_there)
            under_way = there.remote(work, list(watchers), mailbox, str(Path.cwd()))
            is_over = False
            while not is_over:
                is_over = bool(ray.wait([under_way], timeout=_SECONDS_BETWEEN)[0])
                for name, method, arguments in ray.get(mailbox.take.remote()):
                    getattr(watchers[name], method)(*arguments)
            found: Found = ray.get(under_way)
        except (RayError, ConnectionError) as error:
            ours = our_error(error)
            if ours is not None:
                raise ours from error
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise ClusterError(f"The work on '{where}' was lost: {last[0]}", fix="The same command goes on.") from error
        return found


def our_error(error: BaseException | None) -> MemeblendError | None:
    """The error of ours that a chain of Ray's began with, if one did; where Ray kept its text alone, from that."""
    text = str(error)
    while error is not None:
        for one in (error, getattr(error, "cause", None)):
            if isinstance(one, MemeblendError):
                return one
        error = error.__cause__ or getattr(error, "cause", None)
    told = _OURS.findall(text)
    kind = getattr(errors, told[-1][0], None) if told else None
    return kind(told[-1][1]) if isinstance(kind, type) and issubclass(kind, MemeblendError) else None


def _there(work: Callable[..., Found], watchers: list[str], mailbox: Any, folder: str) -> Found:
    """What is called on the cluster."""
    with suppress(OSError):
        os.chdir(folder)
    return work(**{name: _Relay(name, mailbox) for name in watchers})


class _Mailbox:
    """Messages on their way from the cluster."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, str, tuple[Any, ...]]] = []

    def put(self, name: str, method: str, arguments: tuple[Any, ...]) -> None:
        self._kept.append((name, method, arguments))

    def take(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        kept, self._kept = self._kept, []
        return kept


class _Relay:
    """Stands for a watcher: each call is a message."""

    def __init__(self, name: str, mailbox: Any) -> None:
        self._name = name
        self._mailbox = mailbox

    def __call__(self, *arguments: Any) -> None:
        self._send("__call__", arguments)

    def __getattr__(self, method: str) -> Callable[..., None]:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *arguments: self._send(method, arguments)

    def _send(self, method: str, arguments: tuple[Any, ...]) -> None:
        import ray

        ray.get(self._mailbox.put.remote(self._name, method, arguments))  # in order, and none is left behind
