"""How a command ends: a refusal becomes its sentences on standard error and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from memeblend.errors import MemeblendError


def guarded(work: Callable[[], None]) -> None:
    """Run a command."""
    try:
        work()
    except MemeblendError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. The same command goes on from here.\n")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        raise typer.Exit(1) from None
