"""The store of arrays by digest: sequences of any length, mapped, whole or not there."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.data.shards import ShardStore
from memeblend.errors import DataError

WIDTH = 3


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _items(number: int, length: int) -> np.ndarray:
    return np.full((length, WIDTH), number, dtype=np.int16)


def _store(folder: Path) -> ShardStore:
    return ShardStore(folder, np.int16, (WIDTH,))


def _write(store: ShardStore, lengths: dict[int, int]) -> None:
    items = np.concatenate([_items(number, length) for number, length in lengths.items()])
    store.write([_key(number) for number in lengths], list(lengths.values()), items)


@settings(deadline=None, max_examples=30)
@given(shards=st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 5), min_size=1), min_size=1, max_size=3))
def test_finds_what_was_written(tmp_path_factory: pytest.TempPathFactory, shards: list[dict[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("store")
    lengths = {number: length for shard in shards for number, length in shard.items()}
    for shard in shards:  # an entry in two shards has the same content in both
        _write(_store(folder), {number: lengths[number] for number in shard})
    store = _store(folder)
    assert store.known() == {_key(number) for number in lengths}
    found = store.find([*map(_key, lengths), _key(99)])
    assert found.keys() == store.known()
    for number, length in lengths.items():
        np.testing.assert_array_equal(found[_key(number)], _items(number, length))


def test_entries_are_mapped_and_writing_to_them_leaves_the_file_alone(tmp_path: Path) -> None:
    store = _store(tmp_path)
    _write(store, {1: 2})
    found = store.find([_key(1)])[_key(1)]
    assert isinstance(found.base.base, np.memmap) or isinstance(found.base, np.memmap)
    found[:] = 7
    np.testing.assert_array_equal(store.find([_key(1)])[_key(1)], _items(1, 2))


def test_digests_that_end_in_zero_bytes_are_kept_whole(tmp_path: Path) -> None:
    key = "ab" * 30 + "0000"
    _store(tmp_path).write([key], [1], _items(1, 1))
    assert _store(tmp_path).known() == {key}


@pytest.mark.parametrize("damage", ["cut", "cut in the index", "junk", "empty", "other type", "other width"])
def test_a_damaged_shard_is_removed_alone(tmp_path: Path, damage: str) -> None:
    store = _store(tmp_path)
    _write(store, {1: 2, 2: 1})
    (shard,) = tmp_path.iterdir()
    _write(store, {3: 4})
    if damage.startswith("cut"):
        shard.write_bytes(shard.read_bytes()[: 150 if "index" in damage else -3])
    elif damage == "other type":
        ShardStore(tmp_path / "other", np.float16, (WIDTH,)).write([_key(1)], [1], np.zeros((1, WIDTH), np.float16))
        next((tmp_path / "other").iterdir()).replace(shard)
    elif damage == "other width":
        ShardStore(tmp_path / "other", np.int16, (5,)).write([_key(1)], [1], np.zeros((1, 5), np.int16))
        next((tmp_path / "other").iterdir()).replace(shard)
    else:
        shard.write_bytes(b"junk" if damage == "junk" else b"")
    assert store.known() == {_key(3)}
    assert not shard.exists()
    with pytest.raises(DataError, match="was changed while it was read"):
        store.find_all([_key(1)])
