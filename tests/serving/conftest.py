"""Lets the tests of this folder import `serving_helpers`, and gives them one small model of text and image."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def both(tmp_path_factory):
    """A model with one member that reads text and one that reads images."""
    from serving_helpers import fit_small

    return fit_small(tmp_path_factory.mktemp("both"), ("tfidf", "image"))


@pytest.fixture(scope="session")
def text_only(tmp_path_factory):
    """A model whose member reads text."""
    from serving_helpers import fit_small

    return fit_small(tmp_path_factory.mktemp("text"), ("tfidf",))
