"""A run: a folder in which a recipe was carried out on a manifest, from candidates to chosen ensembles.

    recipe.toml        the resolved recipe
    manifest.parquet   the memes with the roles' splits
    stages/            a folder for each finished piece of work: preprocessor, then each candidate
    predictions/       a prediction table for each candidate and label task
    report.{json,md,html}, model/   written from these by `MemeClassifier.fit`

The same command on the same folder goes on where it was stopped.
"""

from memeblend.run.folder import Run, check_free, claim
from memeblend.run.inputs import drop_unreadable, read_labelled
from memeblend.run.reselecting import add_outside, choose_again
from memeblend.run.work import carry_out

__all__ = [
    "Run",
    "add_outside",
    "carry_out",
    "check_free",
    "choose_again",
    "claim",
    "drop_unreadable",
    "read_labelled",
]
