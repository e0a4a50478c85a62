import errno
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from memeblend.errors import DataError, OutputError, Problem
from memeblend.files import digest, file_digest, file_name, replacing, replacing_folder, write_json


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match="No space left on device"):
        write_json(target, {"new": 2})
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_error_while_writing_is_not_turned_into_ours_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for name in ("first", "second"):
        with replacing_folder(target) as temporary:
            (temporary / name).write_text(name)
            assert not (target / name).exists()
        assert [path.name for path in target.iterdir()] == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_fails_keeps_the_old_one(tmp_path):
    with replacing_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("old")
    with pytest.raises(OutputError, match="No space left"), replacing_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("new")
        no_space()
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_writing_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Could not write"), replacing(tmp_path / "file" / "a"):
        pass


def test_files_of_a_folder_are_for_all_who_may_read_others(tmp_path):
    with replacing_folder(tmp_path / "model") as temporary:
        (temporary / "inner").mkdir()
        save_file({"a": np.zeros(2)}, temporary / "inner" / "a.safetensors")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "model" / "inner" / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_written_files_have_the_usual_permissions(tmp_path):
    write_json(tmp_path / "a.json", {})
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_digests(tmp_path: Path):
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_error_lists_its_problems_and_counts_the_rest():
    problems = [Problem(f"row {row}", "is wrong") for row in range(23)]
    text = str(DataError("Bad table:", problems=problems, fix="Mend it."))
    assert text.splitlines()[:2] == ["Bad table:", "  - row 0: is wrong"]
    assert text.splitlines()[-2:] == ["  ... and 3 more", "Mend it."]


def test_a_folder_that_is_not_ours_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    (tmp_path / "notes").write_text("more")
    for name, message in (("thesis", "holds other files"), ("notes", "is a file")):
        with pytest.raises(OutputError, match=message), replacing_folder(tmp_path / name, marker="ours.json"):
            pass
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"
    assert (tmp_path / "notes").read_text() == "more"


def test_file_names_are_short_plain_and_distinct():
    names = ["mood", "../mood", "मूड" * 40, "a/b", "a.b", "a b", "candidate"]
    found = [file_name(name) for name in names]
    assert found[0] == "mood"
    assert len(set(found)) == len(names)
    for name in found:
        assert len(name) < 100
        assert name.replace("~", "").replace("-", "").replace("_", "").isalnum()
