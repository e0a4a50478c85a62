"""What every test needs: importable helpers, no tokenizer threads, a cache of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

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
