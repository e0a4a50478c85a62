"""Whether explanations name what decisions hang on, and what text, image and both together add.

    python benchmarks/explain_faithfulness.py [--data DATA] [--model MODEL] [--num-memes 60] [--json]

On the embedded sample, or on a labelled data set. Without --model, the recipe is fitted first, one copy of each
candidate, all of them members. Memes come from the splits that report; every member explains its own decision on each.

Faithfulness: areas under deletion and insertion curves of the probability of the class decided for, compared with
random orders of the same words and patches ("gain", above 0 is better than chance). Modalities: mean absolute terms of
the split of that class for the members that read both, with memes of the split that fits as background; few of these
inflate the terms, since chance has no sign. Intervals are 95 % bootstrap intervals over duplicate groups.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import conclude, quiet
from memeblend import Manifest, MemeClassifier, load_recipe
from memeblend.candidates.base import Candidate
from memeblend.data.duplicates import duplicate_groups
from memeblend.data.sample import DEFAULT_NUM_MEMES, sample_manifest
from memeblend.explain.explaining import own_attributions
from memeblend.explain.faithfulness import areas, mean_interval
from memeblend.explain.inputs import Meme, Variant, ready
from memeblend.explain.modalities import counterfactuals, irony, split_scores
from memeblend.explain.occlusion import occluded, occlusion
from memeblend.run import read_labelled
from memeblend.training.preprocessing import prepare

Found = dict[tuple[str, ...], list[list[float]]]
"""Numbers of each meme, by label task, member and (for faithfulness) method."""


def main() -> None:
    """Fit or load, explain, print."""
    given = _arguments()
    quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = load_recipe(given.recipe, ["copies=1", "ensemble.method=all", *given.settings])
        if given.data is None:
            manifest = sample_manifest(folder / "sample", given.limit or DEFAULT_NUM_MEMES)
        else:
            manifest = read_labelled(given.data, recipe)
            manifest = manifest.limit(given.limit, recipe.seed) if given.limit else manifest
        if given.label_task:
            manifest = manifest.with_label_tasks(given.label_task)
        model = MemeClassifier(recipe, out=folder / "run")
        model = model.fit(manifest) if given.model is None else MemeClassifier.load(given.model)
        found = _measured(model, manifest, given)
    for line in _tables(found):
        print(line)
    if given.json:
        conclude({"data": "sample" if given.data is None else given.data.name, **found}, True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a labelled table or data-set folder; the sample when left out")
    parser.add_argument("--model", type=Path, help="a model folder or run; fitted when left out")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="override of the recipe")
    parser.add_argument("--label-task", action="append", default=[], help="this label task only; may be repeated")
    parser.add_argument("--member", action="append", default=[], help="this member only; may be repeated")
    parser.add_argument("--limit", type=int, default=0, help="memes to draw, or a stratified part of the data")
    parser.add_argument("--num-memes", type=int, default=60, help="memes to explain")
    parser.add_argument("--num-background", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser.parse_args()


def _measured(model: MemeClassifier, manifest: Manifest, given: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    report, fit = (
        rng.permutation(np.flatnonzero(np.isin(manifest.splits, model.roles_[role]))) for role in ("report", "fit")
    )
    chosen = manifest.take(np.sort(report[: given.num_memes]))
    drawn = prepare(manifest.take(fit[: given.num_background]), model.preprocessor_, cache_dir=None)
    images: Sequence[Any] = [None] * len(drawn) if drawn.images is None else drawn.images
    backgrounds = [Variant(text, pixels) for text, pixels in zip(drawn.texts, images, strict=True)]
    groups = duplicate_groups(chosen)
    wanted = [task.name for task in model.label_tasks_ if not given.label_task or task.name in given.label_task]
    gains: Found = defaultdict(list)
    terms: Found = defaultdict(list)
    for row in range(len(chosen)):
        meme = Meme.make(chosen.image_path(row), chosen.texts[row], model.preprocessor_)
        for name, candidate in model.candidates_.items():
            if given.member and name not in given.member:
                continue
            asked = _Asked(candidate, model, meme)
            for task in wanted:
                for method, numbers in asked.gains(task, rng):
                    gains[task, name, method].append(numbers)
                if candidate.needs_text and candidate.needs_image:
                    terms[task, name].append(asked.terms(task, backgrounds))
    return {
        "num_memes": len(chosen),
        "num_groups": len(set(groups.tolist())),
        "num_background": len(backgrounds),
        "faithfulness": [
            _summary(key, rows, ("deletion_gain", "insertion_gain"), groups) for key, rows in gains.items()
        ],
        "modalities": [
            _summary(key, rows, ("text", "image", "interaction", "irony"), groups) for key, rows in terms.items()
        ],
    }


class _Asked:
    """One member and one meme."""

    def __init__(self, candidate: Candidate, model: MemeClassifier, meme: Meme) -> None:
        self.candidate, self.preprocessor, self.meme = candidate, model.preprocessor_, meme
        self.parts = {"text": candidate.needs_text, "image": candidate.needs_image}
        self.said = candidate.predict(ready([meme.whole, *occluded(meme, **self.parts)], self.preprocessor))

    def gains(self, task: str, rng: np.random.Generator) -> Iterator[tuple[str, list[float]]]:
        """Deletion and insertion gain of each method."""
        whole, without = self.said[task][0], self.said[task][1:]
        index = int(whole.argmax())
        attributions = own_attributions(self.candidate, self.meme, self.preprocessor, task, index)
        attributions.append(occlusion(self.candidate.name, self.meme, whole, without, index, **self.parts))

        def ask(variants: Sequence[Variant]) -> NDArray[np.float64]:
            return self.candidate.predict(ready(variants, self.preprocessor))[task][:, index]

        for one, found in zip(attributions, areas(ask, self.meme, attributions, rng), strict=True):
            yield one.method, [found.deletion_gain, found.insertion_gain]

    def terms(self, task: str, backgrounds: list[Variant]) -> list[float]:
        """Absolute text, image and interaction of the class decided for, and the irony index."""
        whole = self.said[task][0]
        others = self.candidate.predict(ready(counterfactuals(self.meme, backgrounds), self.preprocessor))[task]
        split = split_scores(whole, others)[int(whole.argmax())]
        return [abs(split.text), abs(split.image), abs(split.interaction), irony(whole, others).index]


def _summary(
    key: tuple[str, ...], rows: list[list[float]], names: Sequence[str], groups: NDArray[np.int64]
) -> dict[str, Any]:
    """Means over the memes, with intervals."""
    found: dict[str, Any] = dict(zip(("label_task", "member", "method"), key, strict=False))
    for name, values in zip(names, np.array(rows).T, strict=True):
        found[name] = {"mean": float(values.mean()), "interval": mean_interval(values, groups)}
    return found


def _tables(found: dict[str, Any]) -> Iterator[str]:
    """Both findings as Markdown."""
    yield f"{found['num_memes']} memes in {found['num_groups']} groups, {found['num_background']} in the background"
    for part in ("faithfulness", "modalities"):
        columns = list(found[part][0]) if found[part] else []
        yield f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
        for row in found[part]:
            cells = [value if isinstance(value, str) else _shown(value) for value in row.values()]
            yield f"| {' | '.join(cells)} |"


def _shown(value: dict[str, Any]) -> str:
    low, high = value["interval"]
    return f"{value['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
