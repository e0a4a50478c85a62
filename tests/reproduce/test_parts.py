"""Parts of a reproduction: raw sets that are missing, limits, the paper's numbers, tables and answer files."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from builders import make_manifest
from made_up_sets import write_all, write_memotion
from memeblend.cli.app import app
from memeblend.data.composites import MEMBERS
from memeblend.data.manifest import Manifest
from memeblend.data.sets import SETS
from memeblend.data.splits import SplitRoles
from memeblend.ensemble.selection import EnsembleChoice
from memeblend.errors import DataError, PredictionError, RecipeError
from memeblend.evaluation.tables import PredictionTable
from memeblend.labels import MEMOTION_LABEL_TASKS
from memeblend.recipe import load_recipe
from memeblend.reproduce import work
from memeblend.reproduce.paper import COLUMNS, TABLE_4, best_constant
from memeblend.reproduce.sets import check_sets, limited_to, manifests_of, name_of, prepared
from memeblend.reproduce.submission import answer_lines, check_submission, write_submission
from memeblend.reproduce.tables import table_4
from memeblend.reproduce.work import with_encoder, with_manifests
from memeblend.run import Run
from memeblend.run.choosing import Chosen
from memeblend.training.progress import Silent

ALL = ("imgflip575k", "mmhs150k", "hateful_memes", "mami", "memotion3")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("raw"))


def test_the_recipe_needs_the_sets_of_table_1():
    assert manifests_of(load_recipe("memotion3")) == ["pretrainCLIP", "pretrainuni", "memotion3"]
    assert manifests_of(load_recipe("memotion3-direct")) == ["memotion3"]
    assert {name for one in ("pretrainCLIP", "pretrainuni") for name in MEMBERS[one]} | {"memotion3"} == set(ALL)


def test_all_sets_that_are_missing_are_told_with_where_to_ask_and_how_they_lie(raw, tmp_path):
    (tmp_path / "mami").mkdir()
    for name in ("hateful_memes", "memotion3"):
        (tmp_path / name).symlink_to(raw / name)
    with pytest.raises(DataError) as caught:
        check_sets(tmp_path, ["pretrainCLIP", "pretrainuni", "memotion3"])
    message = str(caught.value)
    assert [problem.where for problem in caught.value.problems] == ["imgflip575k", "mmhs150k", "mami"]
    assert f"there is no folder '{tmp_path / 'mmhs150k'}'" in message
    assert "it holds nothing" in message
    for name in ("imgflip575k", "mmhs150k", "mami"):
        assert SETS[name].ask in message
        assert all(line in message for line in SETS[name].layout)
    assert SETS["hateful_memes"].ask not in message
    assert list(check_sets(raw, ["pretrainCLIP", "memotion3"])) == list(ALL)


def test_sets_of_which_parts_are_missing_are_told_before_anything_is_read(raw, tmp_path):
    for name in ALL:
        shutil.copytree(raw / name, tmp_path / name)
    (tmp_path / "hateful_memes" / "dev_unseen.jsonl").unlink()
    (tmp_path / "mami" / "Test.csv").unlink()
    shutil.rmtree(tmp_path / "memotion3" / "image" / "val")
    with pytest.raises(DataError) as caught:
        check_sets(tmp_path, ["pretrainCLIP", "pretrainuni", "memotion3"])
    assert [problem.what for problem in caught.value.problems] == [
        f"'{tmp_path / 'hateful_memes'}' lacks dev_unseen.jsonl",
        f"'{tmp_path / 'mami'}' lacks Test.csv",
        f"'{tmp_path / 'memotion3'}' lacks image/val/",
    ]


def test_a_set_under_anothers_name_and_no_root_at_all_are_refused(raw, tmp_path):
    (tmp_path / "memotion3").symlink_to(raw / "hateful_memes")
    with pytest.raises(DataError, match="lies like the data set hateful_memes"):
        check_sets(tmp_path, ["memotion3"])
    with pytest.raises(DataError, match="a folder for each raw data set: memotion3"):
        check_sets(tmp_path / "nowhere", ["memotion3"])


def test_a_set_is_prepared_once_and_again_when_a_file_changes(raw, tmp_path):
    def made(limit=0):
        sets = check_sets(raw, ["memotion3"])
        return prepared(
            "memotion3", sets, tmp_path, limit=limit, seed=0, cache_dir=tmp_path / "cache", progress=Silent()
        )

    first = made()
    assert first.sizes[0].counts == {"train": 28, "validation": 6, "test": 6}
    done = first.path.stat().st_mtime_ns
    assert made().path.stat().st_mtime_ns == done
    train = raw / "memotion3" / "train.csv"
    train.write_bytes(train.read_bytes())
    assert made().path.stat().st_mtime_ns != done
    limited = Manifest.read(made(limit=10).limited)
    counts = {name: int((limited.splits == name).sum()) for name in limited.split_names}
    assert counts["train"] + counts["validation"] == 10
    assert counts["test"] == 6  # the challenge wants an answer for each
    assert len(Manifest.read(first.path)) == 40


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pretrainCLIP.parquet", "pretrainCLIP"),
        ("/a/run/prepared/pretrainuni/pretrainuni.limited.parquet", "pretrainuni"),
        ("mine/memotion3.parquet", ""),
        ("memotion3.csv", ""),
        ("memes.parquet", ""),
    ],
)
def test_what_a_stages_data_name(path, name):
    assert name_of(path) == name


def test_a_limit_below_the_splits_is_refused(tmp_path):
    manifest = make_manifest(tmp_path, 12)
    assert limited_to(manifest, 0, 0) is manifest
    assert limited_to(manifest, 99, 0) is manifest
    with pytest.raises(DataError, match="--limit 1 is fewer memes than the 2 splits of made"):
        limited_to(manifest, 1, 0)


def test_another_encoder_takes_the_place_of_the_first(tmp_path):
    recipe = with_encoder(load_recipe("memotion3"), "tiny")
    assert recipe.pretraining["contrastive"].start == "tiny"
    assert recipe.encoder.source == "contrastive"
    assert with_encoder(load_recipe("memotion3-direct"), "owner/clip").encoder.source == "owner/clip"
    assert with_encoder(recipe, "") is recipe
    with pytest.raises(RecipeError, match="num_heads 8 does not divide"):
        with_encoder(
            load_recipe("memotion3-direct", ["encoder.tiny.hidden_size=20", "encoder.tiny.num_heads=4"]), "tiny"
        )


def test_stages_read_what_was_prepared_and_the_users_own_files(raw, tmp_path):
    sets = check_sets(raw, ["memotion3"])
    made = prepared("memotion3", sets, tmp_path, limit=0, seed=0, cache_dir=tmp_path / "c", progress=Silent())
    settings = ['pretraining.contrastive.data=["memotion3.parquet", "mine/memotion3.parquet"]']
    recipe = with_manifests(
        load_recipe("memotion3", [*settings, 'pretraining.binary.data=["mine.csv"]']), {"memotion3": made}
    )
    assert recipe.pretraining["contrastive"].data == (str(made.limited.absolute()), "mine/memotion3.parquet")
    assert recipe.pretraining["binary"].data == ("mine.csv",)


def test_rows_of_the_test_table_that_can_not_be_read_are_counted(tmp_path):
    folder = write_memotion(tmp_path / "memotion3")
    with (folder / "test.csv").open("a", newline="") as stream:
        stream.write("6\thttps://example.org/6.jpg\ta text\twith a tab\r\n")  # no id can be told
    (folder / "image" / "test" / "1.jpg").unlink()
    (folder / "image" / "train" / "1.jpg").unlink()
    raw = {"memotion3": folder}
    made = prepared("memotion3", raw, tmp_path / "out", limit=0, seed=0, cache_dir=tmp_path / "c", progress=Silent())
    ids, num_lost = work._test_memes(Manifest.read(made.path), made)
    assert ids == [f"memotion3/test/{number}" for number in (0, 2, 3, 4, 5)]
    assert num_lost == 2


def test_table_4_is_copied_right():
    assert [row.title for row in TABLE_4][-3:] == ["CLIP-multi0 without GB", "Ensemble-1", "Ensemble-2"]
    models = {row.model for row in TABLE_4}
    recipe = load_recipe("memotion3")
    assert set(recipe.ensemble.pools["Ensemble-2"]) | set(recipe.ensemble.pools) | {"fusion_unblended-0"} == models
    paper = Path(os.environ.get("MEMEBLEND_DATA", "../shared/data")).parent / "reference" / "paper.txt"
    if not paper.is_file():
        pytest.skip("the paper's text is not here")
    text = paper.read_text(encoding="utf-8")
    for row in TABLE_4:
        found = re.search(rf"^{re.escape(row.title)}\t(.*)$", text, re.M)
        assert tuple(float(value) for value in found[1].split("\t")) == row.scores


def test_constants_of_the_paper_follow_from_its_table_2():
    expected = {
        "sentiment": 0.2156,
        "humorous": 0.5104,
        "motivational": 0.9572,
        "offensive": 0.3741,
        "sarcastic": 0.5138,
    }
    assert {name: round(best_constant(name), 4) for name in COLUMNS} == expected


def made_run(tmp_path):
    """A run of drawn probabilities, without a single model."""
    manifest = make_manifest(tmp_path, 90, splits=("train", "validation", "test"))
    rows = np.flatnonzero(manifest.splits != "train")
    random = np.random.default_rng(0)
    tables = {}
    for name in ("text-0", "image-0", "fusion-0", "oscar-0", "fusion_unblended-0"):
        tables[name] = {
            task.name: PredictionTable(
                candidate=name,
                label_task=task,
                meme_ids=manifest.meme_ids[rows],
                splits=manifest.splits[rows],
                groups=np.arange(len(rows)),
                labels=manifest.labels(task.name)[rows],
                probabilities=random.dirichlet(np.ones(task.num_classes), len(rows)),
                manifest_fingerprint="print",
            )
            for task in MEMOTION_LABEL_TASKS
        }
    members = ("fusion-0", "image-0", "text-0")
    choices = {
        task.name: EnsembleChoice(task.name, members, "weighted_f1", 0.5, ("validation",), 30, 15)
        for task in MEMOTION_LABEL_TASKS
    }
    expected = {task.name: {"chosen": {"expected": 0.25}} for task in MEMOTION_LABEL_TASKS}
    chosen = Chosen(choices, choices, {"Ensemble-1": choices}, expected, {}, {})
    roles = SplitRoles(("train",), ("validation",), ("test",))
    return Run(tmp_path, load_recipe("memotion3"), manifest, roles, np.arange(90), tables, chosen, {}, {}, ())


def test_table_4_beside_the_papers(tmp_path):
    run = made_run(tmp_path)
    found = table_4(run)
    assert (found["chose"], found["reports"]) == (["validation"], ["test"])
    assert found["num_memes"] == {"chose": 30, "reports": 30}
    rows = {row["title"]: row["label_tasks"] for row in found["rows"]}
    assert list(rows) == [row.title for row in TABLE_4]
    table = run.tables["fusion-0"]["offensive"]
    for split, key in (("validation", "ours"), ("test", "reports")):
        here = table.splits == split
        expected = f1_score(table.labels[here], table.predicted[here], average="weighted")
        assert rows["CLIP-multi0"]["offensive"][key] == pytest.approx(expected)
    cell = rows["CLIP-multi0"]["offensive"]
    assert cell["paper"] == 0.4966
    assert cell["interval"][0] <= cell["ours"] <= cell["interval"][1]
    assert rows["CLIP-text1"]["sentiment"] == {
        "paper": 0.3617, "ours": None, "interval": None, "best_constant": None, "told_from_constant": None,
        "reports": None,
    }  # fmt: skip
    votes = np.stack([run.tables[name]["motivational"].predicted for name in ("text-0", "image-0", "fusion-0")])
    here = table.splits == "validation"
    majority = (votes.sum(axis=0) >= 2).astype(int)[here]
    labels = run.tables["text-0"]["motivational"].labels[here]
    assert rows["Ensemble-1"]["motivational"]["ours"] == pytest.approx(f1_score(labels, majority, average="weighted"))
    assert rows["Ensemble-2"]["motivational"]["ours"] is None
    assert found["expected"] == dict.fromkeys(COLUMNS, 0.25)
    constants = [f1_score(labels, np.full(len(labels), one), average="weighted", zero_division=0) for one in (0, 1)]
    assert found["best_constant"]["motivational"] == {
        "paper": best_constant("motivational"),
        "ours": pytest.approx(max(constants)),
    }
    json.dumps(found)


answers = st.lists(st.tuples(*(st.integers(0, task.num_classes - 1) for task in MEMOTION_LABEL_TASKS)), min_size=1)


def classes_of(rows):
    columns = np.array(rows, dtype=np.int64).T
    return {task.name: column for task, column in zip(MEMOTION_LABEL_TASKS, columns, strict=True)}


@given(answers)
def test_answers_say_the_classes_and_task_b_follows_from_task_c(rows):
    for line, (sentiment, *levels) in zip(answer_lines(classes_of(rows)), rows, strict=True):
        present = "".join("1" if level else "0" for level in levels)
        assert line == f"{sentiment}_{present}_{''.join(map(str, levels))}"


def test_a_submission_is_written_alike_each_time_and_read_back(tmp_path):
    lines = answer_lines(classes_of([(2, 1, 3, 0, 1), (0, 0, 0, 0, 0), (1, 3, 1, 3, 0)]))
    assert lines == ["2_1101_1301", "0_0000_0000", "1_1110_3130"]
    path = write_submission(lines, tmp_path / "submission")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("answer.txt") == b"2_1101_1301\n0_0000_0000\n1_1110_3130\n"
        assert archive.read("answer_A.txt") == b"2\n0\n1\n"
        assert archive.read("answer_B.txt") == b"1101\n0000\n1110\n"
        assert archive.read("answer_C.txt") == b"1301\n0000\n3130\n"
    before = path.read_bytes()
    assert write_submission(lines, tmp_path / "submission").read_bytes() == before


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"answer.txt": "3_0000_0000\n"}, "'3_0000_0000' is not of the form"),
        ({"answer.txt": "1_0000_0002\n"}, "is not of the form"),
        ({"answer.txt": "1_1000_0100\n"}, "Task B does not follow from Task C"),
        ({"answer.txt": "1_0000_0000\n1_0000_0000\n"}, "has 2 lines, expected one for each of 1 test memes"),
        ({"answer_A.txt": "2\n"}, "says otherwise than answer.txt"),
        ({"answer_C.txt": None}, "answer_C.txt: is not in the archive"),
        ({"more.txt": "x\n"}, "does not belong into the archive"),
    ],
)
def test_a_submission_that_the_challenge_would_not_take_is_refused(tmp_path, texts, message):
    whole = {"answer.txt": "1_0000_0000\n", "answer_A.txt": "1\n", "answer_B.txt": "0000\n", "answer_C.txt": "0000\n"}
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for name, text in (whole | texts).items():
            if text is not None:
                archive.writestr(name, text)
    with pytest.raises(PredictionError, match=message):
        check_submission(tmp_path / "it.zip", 1)


def test_answers_need_all_label_tasks_and_an_archive_that_can_be_read(tmp_path):
    classes = classes_of([(0, 0, 0, 0, 0)])
    del classes["offensive"]
    with pytest.raises(PredictionError, match="no answers for offensive"):
        answer_lines(classes)
    (tmp_path / "it.zip").write_bytes(b"no archive")
    with pytest.raises(PredictionError, match="can't be read"):
        check_submission(tmp_path / "it.zip", 1)


def test_the_command_tells_what_is_missing(tmp_path):
    called = CliRunner().invoke(
        app, ["reproduce", "memotion3", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    )
    assert called.exit_code == 1
    assert "5 of the 5 raw data sets can't be used" in called.stderr
    assert not (tmp_path / "run").exists()
    called = CliRunner().invoke(
        app, ["reproduce", "memotion4", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    )
    assert called.exit_code == 1
    assert "It can be memotion3." in called.stderr
