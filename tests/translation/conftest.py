"""A pair of small Marian models with random weights, there and back."""

import pytest

from made_up_translation import SmallMarian


@pytest.fixture(scope="session")
def marian_pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marian")
    there = SmallMarian.write(folder / "en-hi", SmallMarian.ENGLISH, SmallMarian.HINDI)
    back = SmallMarian.write(folder / "hi-en", SmallMarian.HINDI, SmallMarian.ENGLISH, seed=1)
    return [str(there), str(back)]
