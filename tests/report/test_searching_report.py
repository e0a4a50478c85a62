"""What the report says of a search, from the table of trials alone."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from report_results import HOSTILE

from memeblend.report import build_report, searching, write_report
from memeblend.report.searching import searches


def rows_of(count=12, **other):
    """Trials whose score hangs on the rate alone."""
    random = np.random.default_rng(0)
    rates = 10 ** random.uniform(-5, -1, count)
    return [
        {
            "stage": "fusion",
            "trial": number,
            "state": "finished",
            "value": 0.5 - 0.1 * abs(np.log10(rate) + 3),
            "num_epochs": 3,
            "seconds": 1.0,
            "error": "",
            "candidate": "fusion-0" if number == 2 else "",
            "candidates.fusion.training.learning_rate": float(rate),
            "candidates.fusion.num_blocks": int(random.integers(1, 4)),
            "candidates.fusion.blend_weights": '{"text": 1}' if number % 2 else '{"text": 2}',
            **other,
        }
        for number, rate in enumerate(rates)
    ]


def test_the_field_that_matters_is_found():
    found = searches(rows_of(), 0)["fusion"]
    assert found["fields"] == ["training.learning_rate", "num_blocks", "blend_weights"]
    assert sum(found["importance"]) == pytest.approx(1.0)
    assert found["importance"][0] > 0.7
    assert found == searches(rows_of(), 0)["fusion"]


def test_too_few_or_equal_trials_tell_no_importance():
    assert searches(rows_of(7), 0)["fusion"]["importance"] is None
    assert searches(rows_of(value=0.5), 0)["fusion"]["importance"] is None
    assert searches(rows_of(value=float("nan"), state="failed"), 0)["fusion"]["importance"] is None
    assert searches([], 0) == {}


def test_stages_have_their_own_fields_in_one_table():
    other = {"stage": "text", "trial": 0, "state": "failed", "value": None, "num_epochs": 0, "candidate": "",
             "error": "no", "candidates.text.x": "a"}  # fmt: skip
    found = searches(pd.DataFrame([*rows_of(), other]).to_dict("records"), 0)
    assert found["text"]["fields"] == ["x"]
    assert found["text"]["trials"][0]["value"] is None
    assert len(found["fusion"]["fields"]) == 3


def test_a_pre_training_stage_is_shown_with_its_metric(given, tmp_path):
    own = {"pretraining.words.candidates.text.x": 1.0, "pretraining.words.training.y": 2.0}
    rows = [{"stage": "pretraining.pairs", "trial": n, "state": "finished", "value": 3.25 - n, "metric": "loss",
             "num_epochs": 2, "candidate": "pretraining.pairs" if n else "", "error": "",
             "pretraining.pairs.settings.batch_size": 8.0} for n in range(2)]  # fmt: skip
    rows.append(rows[0] | {"stage": "pretraining.words.text", "metric": "accuracy"} | own)
    found = searches(pd.DataFrame(rows).to_dict("records"), 0)
    assert found["pretraining.pairs"]["fields"] == ["settings.batch_size"]
    assert found["pretraining.words.text"]["fields"][1:] == ["x", "pretraining.words.training.y"]
    assert [one["metric"] for one in found.values()] == ["loss", "accuracy"]
    report = build_report(replace(given, trials=rows[:2]))
    write_report(report, {}, tmp_path)
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert "scored by loss on what the stage holds back" in page
    assert "those in colour are the best two" in page
    assert "Scores (loss) on what the stage holds back" in text
    assert "3.25" in text


@pytest.mark.parametrize("number", [1, 12])
def test_pictures_hold_whatever_stands_in_a_field(number):
    found = searches(rows_of(number, **{"candidates.fusion.hostile": HOSTILE, "same": 1.0}), 0)["fusion"]
    ElementTree.fromstring(searching.parallel_coordinates(found))
    if found["importance"]:
        ElementTree.fromstring(searching.importance(found))


def test_the_page_shows_a_search_and_escapes_what_it_tried(given, tmp_path):
    rows = rows_of(**{"candidates.fusion.hostile": HOSTILE})
    rows[3] |= {"state": "failed", "value": None, "error": HOSTILE}
    report = build_report(replace(given, trials=rows))
    write_report(report, {}, tmp_path)
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert "Search of fusion" in page
    assert "Importance of the fields searched for fusion" in page
    assert "<script" not in page
    assert "## Search of fusion" in text
    assert "training.learning\\_rate" in text
