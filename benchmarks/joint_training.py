"""Joint label tasks against one model for each: the time to train both, and what they score.

The rival is the paper's form (`joint = false`): five models, each with encoders of its own, same data, epochs,
batches and learning rate. Candidates text and image of the recipe `tiny` on the sample. Prints `ratio` = seconds
one-model-each over seconds joint, and both mean weighted F1 on the sample's test split with their difference.

    python benchmarks/joint_training.py [--json]
"""

from __future__ import annotations

import statistics
import time

from common import conclude, sample_ready, train_all, wants_json
from memeblend.recipe import Recipe, load_recipe

NUM_MEMES = 600
SETTINGS = ["copies=1", "training.num_epochs=4", "training.patience=0"]


def uni_modal(joint: bool) -> Recipe:
    """`tiny` with its text and image candidates alone."""
    recipe = load_recipe("tiny", [*SETTINGS, f"joint={str(joint).lower()}"])
    kept = tuple(spec for spec in recipe.candidates if spec.kind in ("text", "image"))
    return recipe.model_copy(update={"candidates": kept})


def main() -> None:
    """Train both forms."""
    as_json = wants_json(__doc__)
    found: dict[str, object] = {"rival": "one model for each label task", "num_memes": NUM_MEMES}
    with sample_ready(uni_modal(True), NUM_MEMES) as ready:
        for form, joint in (("joint", True), ("separate", False)):
            began = time.perf_counter()
            scores = train_all(uni_modal(joint), ready, form)
            found[f"{form}_seconds"] = round(time.perf_counter() - began, 1)
            found[f"{form}_weighted_f1"] = round(statistics.mean(one["weighted_f1"] for one in scores.values()), 4)
    found["ratio"] = round(found["separate_seconds"] / found["joint_seconds"], 2)  # type: ignore[operator]
    found["weighted_f1_difference"] = round(found["joint_weighted_f1"] - found["separate_weighted_f1"], 4)  # type: ignore[operator]
    conclude(found, as_json)


if __name__ == "__main__":
    main()
