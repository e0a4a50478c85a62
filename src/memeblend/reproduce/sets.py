"""The raw data sets of a reproduction: whether all are there, and the manifests made of them, once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memeblend.data.composites import MEMBERS
from memeblend.data.manifest import Manifest
from memeblend.data.preparing import prepare
from memeblend.data.readers import missing_parts, recognise
from memeblend.data.sets import SETS
from memeblend.data.statistics import Sizes
from memeblend.errors import DataError, Problem
from memeblend.files import digest, write_json
from memeblend.recipe import Recipe
from memeblend.training.progress import Progress
from memeblend.training.stages import Stage

MAIN = "memotion3"
_FACTS = "facts.json"
_LIMITED = ".limited"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class PreparedSet:
    """A data set or composite that was prepared.

    Attributes:
        name: its name.
        path: its manifest, whole.
        limited: the manifest to train on, which is smaller under a limit.
        sizes: rows of table 1: of it, and of the sets that a composite is made of.
        facts: what else preparing found, as plain JSON types.
    """

    name: str
    path: Path
    limited: Path
    sizes: tuple[Sizes, ...]
    facts: Mapping[str, Any]


def manifests_of(recipe: Recipe) -> list[str]:
    """Names of the manifests that a recipe is carried out on: of its pre-training stages, and Memotion 3."""
    named = {name for stage in recipe.pretraining.values() for path in stage.data if (name := name_of(path))}
    return [*sorted(named - {MAIN}), MAIN]


def name_of(path: str) -> str:
    """The data set or composite that a stage's data name; "" for a file of the user's.

    It is named as `<name>.parquet`, or by its path where `prepared` put it, as a run's recipe.toml has it.
    """
    place = Path(path)
    name = place.name.removesuffix(".parquet").removesuffix(_LIMITED)
    ours = place.suffix == ".parquet" and (place.parent == Path() or place.parent.name == name)
    return name if ours and name in (*MEMBERS, *SETS) else ""


def check_sets(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """The folder of each raw data set that these manifests need.

    Args:
        root: holds a folder for each set, named as its reader.
        names: data sets and composites.

    Raises:
        DataError: sets that are missing or lie otherwise, all at once: where to ask for them and how they must lie.
    """
    needed = dict.fromkeys(member for name in names for member in MEMBERS.get(name, (name,)))
    if not root.is_dir():
        raise DataError(
            f"There is no folder '{root}'.",
            fix=f"--data names a folder that holds a folder for each raw data set: {', '.join(needed)}.",
        )
    problems = [Problem(name, reason) for name in needed if (reason := _why_unusable(root / name, name))]
    if problems:
        raise DataError(
            f"{len(problems)} of the {len(needed)} raw data sets can't be used from '{root}':",
            problems=problems,
            fix="\n".join(_how_to_get(problem.where, root) for problem in problems),
        )
    return {name: root / name for name in needed}


def _why_unusable(folder: Path, name: str) -> str:
    if not folder.is_dir():
        return f"there is no folder '{folder}'"
    try:
        found = recognise(folder)
    except DataError as error:
        return error.message
    if found != name:
        return f"'{folder}' lies like the data set {found}"
    absent = missing_parts(folder, name)
    return f"'{folder}' lacks {', '.join(absent)}" if absent else ""


def _how_to_get(name: str, root: Path) -> str:
    known = SETS[name]
    layout = "\n".join(f"    {line}" for line in known.layout)
    return f"{known.title}: ask {known.ask}; it must lie in '{root / name}' like this:\n{layout}"


def prepared(
    name: str, raw: Mapping[str, Path], folder: Path, *, limit: int, seed: int, cache_dir: Path, progress: Progress
) -> PreparedSet:
    """A data set or composite as a manifest, made anew when its raw files have changed.

    Composites are kept free of what leaks into Memotion 3; bad rows are dropped and listed beside the manifest.

    Args:
        name: what to prepare.
        raw: folder of each raw data set.
        folder: where; it gets a folder of the name.
        limit: most memes to train on; 0 takes all. Splits without labels stay whole.
        seed: which memes a limit takes.
        cache_dir: where image hashes are kept.
        progress: who watches.

    Raises:
        DataError: a set is incomplete or can't be used, or the limit is too small for its splits.
        OutputError: the folder can't be written.
    """
    members = MEMBERS.get(name, (name,))
    judges = [MAIN] if name in MEMBERS and MAIN in raw else []
    stage = Stage(
        folder / name, digest(_FORMAT, name, limit, seed, {one: _files(raw[one]) for one in (*members, *judges)})
    )
    path, limited = stage.folder / f"{name}.parquet", stage.folder / f"{name}{_LIMITED}.parquet"

    def work(_: Path) -> None:
        progress.say(f"preparing {name} from {', '.join(members)}")
        begun = False

        def advance(num_done: int, total: int) -> None:
            nonlocal begun
            if not begun:
                progress.start(f"{name}: hashing images", total)
                begun = True
            progress.advance(num_done)

        made = prepare(
            name,
            [raw[one] for one in members],
            path,
            against=[raw[one] for one in judges],
            skip_bad=True,
            cache_dir=cache_dir,
            progress=advance,
            notify=lambda line: progress.say(line if line.startswith(name) else f"{name}: {line}"),
        )
        for listed in made.lists:
            progress.say(f"{name}: what did not come along is listed in {listed}")
        limited_to(made.manifest, limit, seed).write(limited)
        write_json(stage.folder / _FACTS, made.to_dict())

    stage.run(work)
    facts = json.loads((stage.folder / _FACTS).read_text(encoding="utf-8"))
    return PreparedSet(name, path, limited, tuple(Sizes(**size) for size in facts["sizes"]), facts)


def limited_to(manifest: Manifest, limit: int, seed: int) -> Manifest:
    """A stratified part of the memes of labelled splits, and all of the others.

    Raises:
        DataError: fewer memes than there are splits.
    """
    labelled = np.zeros(len(manifest), dtype=bool)
    for task in manifest.label_tasks:
        labelled |= manifest.labels(task.name) >= 0
    splits = set(manifest.splits[labelled].tolist() or manifest.split_names)
    inside = np.isin(manifest.splits, list(splits))
    if not limit or limit >= inside.sum():
        return manifest
    if limit < len(splits):
        raise DataError(
            f"--limit {limit} is fewer memes than the {len(splits)} splits of {manifest.table['source'][0]}."
        )
    kept = set(manifest.take(inside).limit(limit, seed).meme_ids.tolist())
    return manifest.take(~inside | np.isin(manifest.meme_ids, list(kept)))


def _files(folder: Path) -> str:
    """Digest of the names, sizes and times of a raw data set's files: reading them all again would take too long."""
    return digest(sorted(_walk(folder, "")))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                facts = entry.stat()
                yield f"{prefix}{entry.name}", facts.st_size, facts.st_mtime_ns
