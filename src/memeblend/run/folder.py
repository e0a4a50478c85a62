"""A run's folder: its layout, who may write in it, and the finished run read back from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from memeblend.candidates.base import Candidate
from memeblend.candidates.making import load_candidate
from memeblend.data.manifest import Manifest
from memeblend.data.splits import SplitRoles
from memeblend.ensemble.cost import CandidateCost
from memeblend.errors import ModelError, OutputError
from memeblend.evaluation.tables import PredictionTable
from memeblend.files import file_name, write_json
from memeblend.labels import LabelTask
from memeblend.recipe import Recipe, load_recipe
from memeblend.run.choosing import Chosen
from memeblend.training.preprocessing import Preprocessor

RUN_FILE = "run.json"
_FORMAT = 3
_GO_ON = "Free some space and run the same command; it goes on from the last whole checkpoint."


@dataclass(frozen=True, eq=False)
class Run:
    """A carried-out recipe.

    Attributes:
        folder: the run's folder.
        recipe: the resolved recipe.
        manifest: the memes of all roles, with their splits.
        roles: the splits that fit, select and report.
        groups: duplicate group of each meme [num_memes].
        tables: for each candidate its prediction table of each label task, on the select and report splits; one
            from outside may have only some label tasks.
        chosen: the chosen ensembles, what to expect of them, and how they decide.
        costs: what each candidate costs; those from outside have none.
        seconds: time that each stage took.
        notes: sentences about what was left out or assumed.
    """

    folder: Path
    recipe: Recipe
    manifest: Manifest
    roles: SplitRoles
    groups: NDArray[np.int64]
    tables: Mapping[str, Mapping[str, PredictionTable]]
    chosen: Chosen
    costs: Mapping[str, CandidateCost]
    seconds: Mapping[str, float]
    notes: tuple[str, ...]

    def save(self) -> None:
        """Write `run.json`, which says what was chosen and makes the folder a finished run."""
        state = {
            "format": _FORMAT,
            "roles": self.roles.to_dict(),
            "groups": self.groups.tolist(),
            "candidates": {name: list(of_candidate) for name, of_candidate in self.tables.items()},
            "chosen": self.chosen.to_dict(),
            "costs": {name: asdict(cost) for name, cost in self.costs.items()},
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
        }
        write_json(self.folder / RUN_FILE, state)

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a finished run.

        Raises:
            ModelError: the folder holds no finished run, or its files do not fit together.
        """
        try:
            state = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(
                f"'{folder}' holds no finished run: there is no {RUN_FILE}.", fix="Run the same fit again; it goes on."
            ) from error
        except ValueError as error:
            raise ModelError(f"'{folder / RUN_FILE}' could not be read: {error}.") from error
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ModelError(
                f"'{folder}' was made by another version of memeblend.",
                fix="Run the same fit again; it trains anew what changed.",
            )
        recipe, manifest = (
            load_recipe(folder / "recipe.toml"),
            Manifest.read(folder / "manifest.parquet", allow_outside=True),
        )
        try:
            tables = {
                name: {
                    task.name: PredictionTable.read(table_path(folder, name, task), task)
                    for task in manifest.label_tasks
                    if task.name in of_candidate
                }
                for name, of_candidate in state["candidates"].items()
            }
            chosen = Chosen.from_dict(state["chosen"])
            costs = {name: CandidateCost(**cost) for name, cost in state["costs"].items()}
            roles = SplitRoles(**{role: tuple(names) for role, names in state["roles"].items()})
            groups = np.array(state["groups"], dtype=np.int64)
            return cls(
                folder, recipe, manifest, roles, groups, tables, chosen, costs, state["seconds"], tuple(state["notes"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"'{folder / RUN_FILE}' is not what memeblend wrote: {error}.") from error

    @property
    def outside(self) -> tuple[str, ...]:
        """Names of the candidates that came from outside."""
        return tuple(name for name in self.tables if not candidate_folder(self.folder, name).is_dir())

    @property
    def served(self) -> Run:
        """The run as its model can serve it: without candidates from outside where one was chosen."""
        if self.chosen.served == self.chosen.ensembles:
            return self
        chosen = replace(self.chosen, ensembles=self.chosen.served, rules=self.chosen.served_rules)
        return replace(self, chosen=chosen)

    def candidate(self, name: str) -> Candidate:
        """A finished candidate."""
        return load_candidate(name, candidate_folder(self.folder, name))

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """The preprocessor that all candidates share."""
        return Preprocessor.load(preprocessor_folder(self.folder))

    def rows(self, *roles: str) -> NDArray[np.int64]:
        """Rows of the manifest whose split has one of these roles."""
        return rows_of(self.manifest, self.roles, roles)

    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The metrics that each neural candidate logged while it was trained; one list for each of its models."""
        found = {}
        for path in sorted((self.folder / "stages").glob("*/training/*/metrics.jsonl")):
            name, key = path.parents[2].name, path.parent.name
            if name not in self.tables:
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            found[name if key == "joint" else f"{name} {key}"] = [json.loads(line) for line in lines]
        return found


def check_free(folder: Path) -> None:
    """Refuse a folder that is something else than a run.

    Raises:
        OutputError: it is a file, or holds files of others.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"'{folder}' is a file; a run needs a folder.")
    others = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if others and ".lock" not in others:
        raise OutputError(
            f"'{folder}' holds other files and is not a run of memeblend.", fix="Choose a new folder with --out."
        )


def claim(folder: Path) -> None:
    """Make a folder one for runs.

    Raises:
        OutputError: it is something else, or can't be written.
    """
    check_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise OutputError(f"Could not write in '{folder}': {error.strerror or error}.") from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, for this process alone.

    Raises:
        OutputError: it holds something that is not a run, or another process works in it.
    """
    claim(folder)
    with (folder / ".lock").open("w") as lock:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"Another process is working in '{folder}'.", fix="Wait for it to end, or choose another folder."
            ) from error
        yield


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Errors of libraries that write checkpoints and weights, as ours."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"Could not write in '{folder}': {reason}.", fix=_GO_ON) from error
    except RuntimeError as error:
        if "PytorchStreamWriter" not in str(error) and "iostream" not in str(error):
            raise
        raise OutputError(f"Could not write in '{folder}': {error}.", fix=_GO_ON) from error


def rows_of(manifest: Manifest, roles: SplitRoles, of: Iterable[str]) -> NDArray[np.int64]:
    names = [name for role in of for name in getattr(roles, role)]
    return np.flatnonzero(np.isin(manifest.splits, names))


def table_path(folder: Path, name: str, task: LabelTask) -> Path:
    return folder / "predictions" / f"{name}.{file_name(task.name)}.parquet"


def candidate_folder(folder: Path, name: str) -> Path:
    return folder / "stages" / name / "candidate"


def preprocessor_folder(folder: Path) -> Path:
    return folder / "stages" / "preprocessor" / "preprocessor"
