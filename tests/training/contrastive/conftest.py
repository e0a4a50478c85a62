"""Memes that all tests of pre-training share."""

import pytest

from pair_memes import memes


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    return memes(tmp_path_factory.mktemp("pairs"))
