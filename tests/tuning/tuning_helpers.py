"""Made-up objectives and a small data set with splits of its own."""

import csv
import random
import shutil

from memeblend.recipe import load_recipe
from memeblend.recipe.loading import parse_recipe
from memeblend.recipe.search import Search
from memeblend.tuning.trials import Trial
from small_runs import SMALL

RATE = "candidates.fusion.training.learning_rate"


class Seen:
    """A watch that keeps what it saw."""

    def __init__(self):
        self.last = {}

    def trials(self, stage, trials, total):
        self.last[stage] = (list(trials), total)


def search_settings(**values):
    space = values.pop("space", {"x": {"uniform": [0.0, 1.0]}, "kind": {"choice": ["a", {"b": 1}]}})
    return Search.model_validate({"space": space, **values})


def made_up(asked, curve=None):
    """A trial of a made-up objective that is best at x = 0.7, with a curve that rises to it."""
    value = 1 - abs(asked.values["x"] - 0.7)
    scores = [value * share for share in (0.5, 0.8, 1.0)] if curve is None else curve
    return Trial(asked.number, asked.values, "finished", value, {"joint": scores}, 1.0)


def small_search(space, *settings, **search):
    """The small recipe with a search space."""
    data = load_recipe(SMALL, ["training.num_epochs=2", *settings]).model_dump(mode="json")
    data["search"] |= {"space": space, "num_trials": 2, "sampler": "random", **search}
    return parse_recipe(data, "small")


def with_report_scrambled(data, folder):
    """The same memes with the labels of those that report exchanged."""
    with (data / "memes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    reports = [row for row in rows if row["split"] == "test"]
    for name in ("mood", "level"):
        labels = [row[name] for row in reports]
        random.Random(3).shuffle(labels)
        for row, label in zip(reports, labels, strict=True):
            row[name] = label
    shutil.copytree(data, folder)
    with (folder / "memes.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder
