"""Search: fields of a recipe are tried out stage by stage; a candidate's best two trials become its copies "0" and "1",
and a pre-training stage gets its best trial's values.

    RUN/tune/
        tuned.toml            the recipe with what was found; `fit` takes it
        trials.parquet        every trial of every stage
        manifest.parquet, memes.json   the memes with their splits, roles and duplicate groups
        STAGE/                a candidate's name, "pretraining.NAME" or "pretraining.NAME.CANDIDATE"
        STAGE/search.json     what was searched, and how; of a pre-training stage its memes lie beside it
        STAGE/trials/007/     result.json of a trial, and its training's metrics

Trials are drawn in batches. A batch is drawn, and its trials are stopped, by what earlier batches found and nothing
else; so the same seed gives the same search with any number of workers, and one that was killed goes on as if it
hadn't been.
"""

from memeblend.tuning.adopting import called
from memeblend.tuning.trials import Trial
from memeblend.tuning.work import Found, TuneSettings, Watch, tune

__all__ = ["Found", "Trial", "TuneSettings", "Watch", "called", "tune"]
