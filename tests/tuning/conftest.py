"""A small data set, and searches in folders of a test's own."""

import pytest
from tuning_helpers import Seen

from memeblend.training.progress import Silent
from memeblend.tuning import TuneSettings, tune
from small_runs import small_data


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of 60 memes."""
    return small_data(tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def run_tune(tmp_path):
    """Carries a search out in a folder of the test's own."""

    def carried_out(manifest, recipe, folder="run", watch=None, progress=None, **settings):
        return tune(
            manifest,
            recipe,
            tmp_path / folder,
            TuneSettings(**settings),
            cache_dir=tmp_path / "cache",
            progress=progress or Silent(),
            watch=watch or Seen(),
        )

    return carried_out
