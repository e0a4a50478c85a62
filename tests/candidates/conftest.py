"""Settings in which candidates are fitted, shared by the tests of this folder."""

import pytest

from memeblend.data.manifest import Manifest
from small_candidates import Setting
from small_runs import small_data


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory):
    return Manifest.read(small_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def joint(small_manifest, tmp_path_factory):
    """One model for all label tasks."""
    return Setting.make(small_manifest, tmp_path_factory.mktemp("joint"))


@pytest.fixture(scope="session")
def separate(small_manifest, tmp_path_factory):
    """A model for each label task, as in the paper."""
    return Setting.make(small_manifest, tmp_path_factory.mktemp("separate"), "joint=false")


@pytest.fixture(params=["joint", "separate"])
def setting(request):
    """Each of both in turn."""
    return request.getfixturevalue(request.param)
