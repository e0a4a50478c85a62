"""The whole red team on a model whose decisions can be worked out by hand."""

import json

import numpy as np
import pytest
from madeup import BRIGHT, RUDE, TOPIC, memes_of, model_of

from memeblend.errors import DataError, ImageError, MemeblendError
from memeblend.policy import Budget, Policy
from memeblend.redteam import Settings, choose_memes, red_team
from memeblend.redteam.asking import CHUNK, Asker

TEXTS = [f"we hate number {row}" if row % 2 else f"nice thing number {row}" for row in range(2 * CHUNK + 5)]
GREYS = [(row * 40) % 256 for row in range(len(TEXTS))]
LABELS = ["yes" if row % 2 else "no" for row in range(len(TEXTS))]


def cell(report, name):
    return next(one for one in report.cells if one.cell.name == name)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    memes = memes_of(tmp_path_factory.mktemp("memes"), TEXTS, colours=GREYS, labels=LABELS)
    return red_team(model_of(RUDE, BRIGHT), memes)


def test_leetspeak_hides_every_rude_word(report):
    found = cell(report, "leetspeak@3").label_tasks["rude"]
    num_rude = len(TEXTS) // 2
    assert (found.evasions.num, found.evasions.out_of) == (num_rude, num_rude)
    assert (found.flips.num, found.flips.out_of) == (num_rude, len(TEXTS))
    assert report.clean["rude"]["weighted_f1"] == 1
    assert found.scores["weighted_f1"].change.difference < -0.4


def test_moved_words_and_changed_pictures_leave_the_text_as_it_is(report):
    for name in ("word_order@3", "blur@3", "border@3"):
        assert cell(report, name).label_tasks["rude"].flips.num == 0
    assert cell(report, "leetspeak@3").label_tasks["bright"].flips.num == 0


def test_cells_count_what_they_really_changed(report):
    assert cell(report, "leetspeak@3").num_changed == len(TEXTS)
    assert 0 < cell(report, "misspelling@1").num_changed < len(TEXTS)


def test_derived_label_tasks_are_judged_by_level(report):
    found = cell(report, "colour@3").label_tasks
    assert set(found) == {"rude", "bright", "bright_present"}
    assert found["bright_present"].flips.num <= found["bright"].flips.num


def test_names_of_one_group_that_score_higher_are_found(report):
    grouping = report.names.label_tasks["rude"]["community"]
    assert grouping.gap.highest == "black_us"  # one of its names adds 0.05
    assert report.names.num_with_name == 0
    assert report.names.flips["rude"] == 0


def test_worst_examples_lost_the_most_and_are_of_different_memes(report):
    assert 0 < len(report.examples) <= 12
    assert len({one.meme_id for one in report.examples}) == len(report.examples)
    for one in report.examples:
        assert one.before != one.after
        assert one.probability_after < one.probability_before
        assert len(one.pictures) == (2 if one.cell.perturbation.changes == "image" else 1)
        assert (one.text_before == one.text_after) == (one.cell.perturbation.changes == "image")


def test_what_is_said_of_unchanged_memes_is_what_predict_says(tmp_path):
    memes = memes_of(tmp_path, TEXTS, colours=GREYS, labels=LABELS)
    model = model_of(RUDE, BRIGHT)
    asker = Asker(model, memes, np.arange(len(memes)), Settings(only=("jpeg",)))
    from memeblend.training.progress import Silent

    clean, expected = asker.ask(Silent()).clean, model.predict_tables(memes)
    assert set(clean.tables) == set(expected.tables)
    for name, table in expected.tables.items():
        assert np.array_equal(clean.tables[name].probabilities, table.probabilities)
        assert np.array_equal(clean.tables[name].predicted, table.predicted)


def test_members_are_asked_only_about_what_they_read(tmp_path):
    memes = memes_of(tmp_path, TEXTS[:10], colours=GREYS[:10])
    model = model_of(RUDE, BRIGHT)
    red_team(model, memes, Settings((3,), ("leetspeak", "word_order", "border")))
    reader, viewer = model.candidates_["reader"], model.candidates_["viewer"]
    assert viewer.asked == 20  # as they are, and framed
    assert 20 <= reader.asked <= 30  # as they are, in leetspeak, and where the order changed


def test_what_happens_to_a_meme_depends_on_no_other(tmp_path):
    memes = memes_of(tmp_path, TEXTS, colours=GREYS, labels=LABELS)
    rows = np.array([20, 3, 11])
    settings = Settings((2,), ("ocr_noise", "crop"))
    from memeblend.training.progress import Silent

    def answers(part):
        return Asker(model_of(RUDE, BRIGHT), part, np.arange(len(part)), settings).ask(Silent()).cells

    whole, part = answers(memes), answers(memes.take(rows))
    for name, answer in part.items():
        assert np.array_equal(answer.changed, whole[name].changed[rows])
        for task, table in answer.predictions.tables.items():
            assert np.array_equal(table.probabilities, whole[name].predictions.tables[task].probabilities[rows])


def test_the_same_seed_gives_the_same_report(tmp_path):
    memes = memes_of(tmp_path, TEXTS[:9], colours=GREYS[:9], labels=LABELS[:9])
    settings = Settings((1,), ("misspelling", "noise", "names"))
    first, second = (red_team(model_of(RUDE, BRIGHT), memes, settings).to_dict() for _ in range(2))
    assert first == second
    other = red_team(model_of(RUDE, BRIGHT), memes, Settings((1,), ("misspelling", "noise", "names"), seed=1))
    assert other.to_dict() != first


def test_cells_that_can_not_apply_say_why(tmp_path):
    texts_alone = red_team(model_of(RUDE), memes_of(tmp_path, TEXTS[:4]), Settings((1,), ("emoji", "jpeg")))
    assert cell(texts_alone, "jpeg@1").why_not == "no member reads images"
    assert cell(texts_alone, "jpeg@1").label_tasks == {}
    assert not cell(texts_alone, "emoji@1").why_not
    pictures_alone = red_team(model_of(BRIGHT), memes_of(tmp_path, TEXTS[:4], colours=GREYS[:4]), Settings((1,)))
    assert cell(pictures_alone, "emoji@1").why_not == "no member reads texts"
    assert pictures_alone.names is None
    silent = red_team(model_of(RUDE), memes_of(tmp_path, ["", " "]), Settings((1,), ("emoji", "names")))
    assert cell(silent, "emoji@1").why_not == "these memes have no text"
    assert silent.names is not None  # a name can be put before nothing
    assert "not applicable" in texts_alone.to_html()
    assert "not applicable" in texts_alone.to_markdown()


def test_label_tasks_without_order_are_not_compared_by_name(tmp_path):
    assert red_team(model_of(TOPIC), memes_of(tmp_path, TEXTS[:4]), Settings((1,), ("names",))).names is None


def policy(**budget):
    return Policy(categories={"rude": {"threshold": 0.5}}, redteam=Budget(**budget))


def test_budgets_pass_fail_or_can_not_tell(tmp_path):
    memes, model, only = memes_of(tmp_path, TEXTS * 2, labels=LABELS * 2), model_of(RUDE), ("leetspeak", "names")
    settings = Settings((3,), only)
    assert red_team(model, memes, settings, policy(max_flip_rate=0.9)).passed
    failed = red_team(model, memes, settings, policy(max_evasion_rate=0.5))
    assert not failed.passed
    assert "fail" in failed.to_markdown()
    unsure = red_team(model, memes, settings, policy(max_flip_rate=0.5))
    assert unsure.judgement.verdict == "unsure"
    assert unsure.passed
    assert not red_team(model, memes, settings, policy(max_flip_rate=0.5, strict=True)).passed
    assert red_team(model, memes, settings, policy(max_name_gap=0.2)).judgement.verdict == "pass"
    releases = cell(failed, "leetspeak@3").label_tasks["rude"].releases
    assert releases.value == 1
    with pytest.raises(MemeblendError, match="names what there is not"):
        red_team(model, memes, settings, policy(cells={"leet": 0.1}))


HOSTILE = [
    "<script>alert(1)</script> we hate",
    "\u202ereversed\u202c hate \u200b",
    "| a | **b** | hate\n# heading",
    "hate " * 4000,
    "{{ 7 * 7 }} hate",
    "\x00\x01 hate",
    "",
]


def test_hostile_texts_are_shown_as_text(tmp_path):
    memes = memes_of(tmp_path, HOSTILE, colours=GREYS[: len(HOSTILE)])
    found = red_team(model_of(RUDE, BRIGHT), memes, Settings((3,)))
    page = found.to_html()
    assert "<script" not in page
    assert "&lt;" in page
    assert "\u202e" not in page
    assert "\x00" not in page
    assert len(page) < 2_000_000
    found.write(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == found.to_dict()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "report.md", "report.html"}


def test_memes_without_what_members_read_are_refused(tmp_path):
    with pytest.raises(DataError, match="read images"):
        red_team(model_of(BRIGHT), memes_of(tmp_path, TEXTS[:3]))
    memes = memes_of(tmp_path, TEXTS[:3], colours=GREYS[:3])
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "2.png").write_bytes(b"nor this")
    with pytest.raises(ImageError) as refused:
        red_team(model_of(BRIGHT), memes)
    assert len(refused.value.problems) == 2
    assert red_team(model_of(RUDE), memes, Settings((1,), ("emoji",))).about["num_memes"] == 3


def test_memes_are_chosen_as_evaluate_chooses_them(tmp_path):
    model, memes = model_of(RUDE), memes_of(tmp_path, TEXTS, labels=LABELS)
    names = np.array(["train", "test"])[np.arange(len(TEXTS)) % 2]
    memes = memes.with_splits(names)
    assert choose_memes(model, memes).split_names == ("test",)
    assert len(choose_memes(model, memes, "all")) == len(TEXTS)
    assert len(choose_memes(model, memes, "all", 1)) == 2  # each split keeps one
    assert len(choose_memes(model, memes, "train", 5)) == 5
    with pytest.raises(DataError, match="no split 'none'"):
        choose_memes(model, memes, "none")
