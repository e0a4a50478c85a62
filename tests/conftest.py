"""What every test needs: importable helpers, no tokenizer threads, a cache of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers of pytest share the cores already


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's image cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMEBLEND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts the texts and images that encoders are run on."""
    from memeblend.models.image import ImageBranch
    from memeblend.models.text import TextBranch

    counts = {"text": 0, "image": 0}
    for name, branch in (("text", TextBranch), ("image", ImageBranch)):

        def counting(self: Any, given: Any, *rest: Any, _name: str = name, _whole: Any = branch.forward) -> Any:
            counts[_name] += 0 if given is None else len(given)
            return _whole(self, given, *rest)

        monkeypatch.setattr(branch, "forward", counting)
    return counts
