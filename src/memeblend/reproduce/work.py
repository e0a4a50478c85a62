"""`reproduce`: from raw data sets to the paper's tables beside ours, and the challenge's submission."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memeblend.data.cache import default_cache_dir
from memeblend.data.manifest import Manifest
from memeblend.data.statistics import ClassCounts, Sizes, classes_of
from memeblend.errors import RecipeError
from memeblend.files import write_json
from memeblend.labels import MISSING
from memeblend.model import MemeClassifier
from memeblend.recipe import Recipe, load_recipe
from memeblend.recipe.loading import parse_recipe
from memeblend.reproduce.paper import CHALLENGE
from memeblend.reproduce.sets import MAIN, PreparedSet, check_sets, manifests_of, name_of, prepared
from memeblend.reproduce.submission import answer_lines, write_submission
from memeblend.reproduce.tables import table_4
from memeblend.run import Run, check_free, claim, drop_unreadable
from memeblend.run.pretraining import check_data
from memeblend.training.progress import Progress, Silent

NAMES = ("memotion3",)
"""What can be reproduced."""
_TEST = "test"


@dataclass(frozen=True)
class Reproduction:
    """The paper's numbers beside ours.

    Attributes:
        run: the run's folder.
        recipe: name of the recipe.
        limit: most memes of each set that were used; 0 is all.
        sizes: rows of table 1.
        classes: rows of table 2.
        table_4: see `reproduce.tables.table_4`.
        challenge: task -> {"paper", "rank", "ours" (None where the test memes have no labels), "reports" (on the memes
            of the run that report)}.
        submission: {"zip", "num_memes", "note"}: the archive (None where none was written), and why, or what of it is
            not the model's.
        leaks: composite -> memes that were taken out since they leak into a split that judges.
    """

    run: Path
    recipe: str
    limit: int
    sizes: tuple[Sizes, ...]
    classes: tuple[ClassCounts, ...]
    table_4: Mapping[str, Any]
    challenge: Mapping[str, Mapping[str, Any]]
    submission: Mapping[str, Any]
    leaks: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "run": str(self.run),
            "recipe": self.recipe,
            "limit": self.limit,
            "table_1": [size.to_dict() for size in self.sizes],
            "table_2": [found.to_dict() for found in self.classes],
            "table_4": dict(self.table_4),
            "challenge": {task: dict(found) for task, found in self.challenge.items()},
            "submission": dict(self.submission),
            "leaks": dict(self.leaks),
        }


def reproduce(
    name: str,
    root: str | Path,
    out: str | Path,
    *,
    encoder: str = "",
    limit: int = 0,
    settings: Sequence[str] = (),
    recipe: str | Path = "",
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Carry a paper out on its raw data sets. The same call goes on where a killed one stopped.

    Args:
        name: what to reproduce: "memotion3".
        root: holds a folder for each raw data set, named as its reader.
        out: the run's folder; beside what a run holds it gets `prepared/`, `submission/` and `reproduction.json`.
        encoder: what pre-training starts from in place of the recipe's: "tiny", a folder or a hub id.
        limit: use a stratified part of so many memes of each set and composite; 0 uses all.
        settings: overrides of the recipe, "dotted.key=value".
        recipe: another recipe than the one of that name, such as an overlay on it.
        cache_dir: where images and hashes are kept; None takes the default folder.
        progress: who watches.

    Raises:
        DataError: raw data sets are missing or incomplete; says where to ask for them and how they must lie.
        RecipeError: no such reproduction, or a recipe that is wrong.
        OutputError: the run's folder can't be used.
    """
    if name not in NAMES:
        raise RecipeError(f"There is nothing to reproduce named '{name}'.", fix=f"It can be {', '.join(NAMES)}.")
    out, progress, cache_dir = Path(out), progress or Silent(), cache_dir or default_cache_dir()
    chosen = with_encoder(load_recipe(recipe or name, settings), encoder)
    check_free(out)
    raw = check_sets(Path(root), manifests_of(chosen))
    claim(out)
    sets = {
        one: prepared(one, raw, out / "prepared", limit=limit, seed=chosen.seed, cache_dir=cache_dir, progress=progress)
        for one in manifests_of(chosen)
    }
    chosen = with_manifests(chosen, sets)
    check_data(chosen)
    whole = Manifest.read(sets[MAIN].limited)
    test, unreadable = _test_memes(whole, sets[MAIN])
    manifest = drop_unreadable(whole, chosen, out / "prepared" / MAIN / "unreadable.csv", progress.say)
    model = MemeClassifier(chosen, out=out, progress=progress).fit(manifest)
    run = Run.load(out)
    found = Reproduction(
        run=out,
        recipe=chosen.name,
        limit=limit,
        sizes=_table_1(sets),
        classes=tuple(classes_of(Manifest.read(sets[MAIN].path))),
        table_4=table_4(run),
        challenge=_challenge(model, manifest),
        submission=_submit(model, manifest, test, unreadable, out / "submission"),
        leaks={one: made.facts["num_leaking"] for one, made in sets.items() if made.facts["leaks_excluded"]},
    )
    write_json(out / "reproduction.json", found.to_dict())
    return found


def with_encoder(recipe: Recipe, encoder: str) -> Recipe:
    """A recipe that starts from another encoder.

    Args:
        recipe: the recipe.
        encoder: "tiny", a folder or a hub id; "" leaves it as it is.

    Raises:
        RecipeError: the recipe does not go together with it.
    """
    if not encoder:
        return recipe
    data = recipe.model_dump(mode="json")
    first = recipe.first_encoder().source
    for stage in data["pretraining"].values():
        if stage["kind"] == "contrastive" and stage["start"] == first:
            stage["start"] = encoder
    if data["encoder"]["source"] == first:
        data["encoder"]["source"] = encoder
    return parse_recipe(data, where=f"{recipe.name} with --encoder {encoder}")


def with_manifests(recipe: Recipe, sets: Mapping[str, PreparedSet]) -> Recipe:
    """A recipe whose stages read the manifests that were prepared."""
    stages = {}
    for name, stage in recipe.pretraining.items():
        data = tuple(str(sets[name_of(path)].limited.absolute()) if name_of(path) else path for path in stage.data)
        stages[name] = stage.model_copy(update={"data": data})
    return recipe.model_copy(update={"pretraining": stages})


def _table_1(sets: Mapping[str, PreparedSet]) -> tuple[Sizes, ...]:
    """The data sets, then the composites, each once."""
    found = {size.name: size for made in sets.values() for size in made.sizes}
    return tuple(sorted(found.values(), key=lambda size: size.name in sets and size.name != MAIN))


def _test_memes(manifest: Manifest, made: PreparedSet) -> tuple[list[str], int]:
    """The ids of the test memes in the order of their table, and how many of them could not be read as rows."""
    listed = made.path.with_name(f"{made.path.stem}.rejected.csv")
    lost = 0
    if listed.is_file():
        with listed.open(encoding="utf-8", newline="") as stream:
            # By its place, since a row that could not be taken apart has no id.
            places = {row["where"].partition(",")[0].casefold() for row in csv.DictReader(stream)}
        lost = sum(place.startswith(f"{_TEST}.csv ") for place in places)
    return manifest.meme_ids[manifest.splits == _TEST].tolist(), lost


def _challenge(model: MemeClassifier, manifest: Manifest) -> dict[str, dict[str, Any]]:
    reports = model.report_["means"]["ensemble"]
    rows = manifest.splits == _TEST
    labelled = [task.name for task in manifest.label_tasks if (manifest.labels(task.name)[rows] != MISSING).any()]
    ours = model.evaluate(manifest, _TEST)["means"] if labelled else {}
    return {
        task: {"paper": score, "rank": rank, "ours": ours.get(task), "reports": reports.get(task)}
        for task, (score, rank) in CHALLENGE.items()
    }


def _submit(
    model: MemeClassifier, manifest: Manifest, test: Sequence[str], num_lost: int, folder: Path
) -> dict[str, Any]:
    """Answer the test memes; those whose image can't be decoded get the classes most frequent in train."""
    there = manifest.splits == _TEST
    if num_lost or not there.any():
        why = f"{num_lost} rows of test.csv can't be read" if num_lost else "there are no test memes"
        return {"zip": None, "num_memes": 0, "note": f"No submission: {why}."}
    if {task.name for task in model.label_tasks_} != {task.name for task in manifest.label_tasks}:
        return {"zip": None, "num_memes": 0, "note": "No submission: not all label tasks were trained."}
    part = manifest.take(there)
    tables = model.predict_tables(part).tables
    position = {meme_id: row for row, meme_id in enumerate(part.meme_ids.tolist())}
    classes: dict[str, NDArray[np.int64]] = {}
    for task in model.label_tasks_:
        usual = int(model.prior_[task.name].argmax())
        decided = tables[task.name].predicted
        answers = [int(decided[position[meme_id]]) if meme_id in position else usual for meme_id in test]
        classes[task.name] = np.array(answers, dtype=np.int64)
    path = write_submission(answer_lines(classes), folder)
    missing = len(test) - len(position)
    note = f"{missing} test meme(s) whose image can't be decoded got the usual classes of train." if missing else ""
    return {"zip": str(path), "num_memes": len(test), "note": note}
