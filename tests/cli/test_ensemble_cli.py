"""`memeblend ensemble`: look, choose anew, take in a candidate from outside; as a user or a program calls them."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import calling
from memeblend.cli.app import app
from memeblend.decisions import DecisionSettings, fit_rule
from memeblend.ensemble.combining import combine
from memeblend.model import MemeClassifier
from memeblend.run import Run
from small_runs import SMALL, small_data

call = partial(calling.call, "ensemble")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = small_data(tmp_path_factory.mktemp("data"))
    result = CliRunner().invoke(app, ["fit", str(data), "--out", str(folder), "--recipe", str(SMALL), "--json"])
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def perfect(run, tmp_path):
    """A file of someone who knows every answer."""
    table = next(iter(Run.load(run).tables.values()))["mood"]
    rows = {"meme_id": table.meme_ids, "split": table.splits}
    rows |= {f"probability_{name}": (table.labels == index) * 1.0 for index, name in enumerate(("bad", "good"))}
    path = tmp_path / "theirs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_show_tells_what_was_chosen_and_what_to_expect(run):
    found = json.loads(call("show", run, "--json").stdout)
    assert set(found["ensembles"]) == {"mood", "level"}
    for one in found["ensembles"].values():
        assert one["rule"] == "one_standard_error"
        assert one["num_subsets"] == 2**6 - 1
        assert one["milliseconds"] > 0
        assert {"chosen", "best single", "plain maximum", "gain"} == set(one["expected"])
        assert one["expected"]["chosen"]["selected_on"] == pytest.approx(one["score"])
        assert 0 <= one["expected"]["chosen"]["expected"] <= 1
    shown = call("show", run).stdout
    for word in ("mood", "to expect", "plain maximum", "chosen when memes are left out", "ms a meme"):
        assert word in shown


def test_search_chooses_anew_and_the_model_follows(run):
    found = json.loads(
        call("search", run, "--method", "all", "--voting", "soft", "--objective", "macro_f1", "--json").stdout
    )
    for one in found["ensembles"].values():
        assert (one["method"], one["voting"], one["objective"]) == ("all", "soft", "macro_f1")
        assert len(one["members"]) == 6
    assert MemeClassifier.load(run).choices_["mood"].voting == "soft"
    report = json.loads((run / "report.json").read_text())
    assert len(report["label_tasks"]["mood"]["members"]["members"]) == 6
    again = json.loads(call("search", run, "--method", "best_single", "--shared", "--json").stdout)
    assert len({tuple(one["members"]) for one in again["ensembles"].values()}) == 1


def test_a_budget_keeps_to_what_members_cost(run):
    costs = Run.load(run).costs
    cheapest = min(costs, key=lambda name: costs[name].milliseconds)
    limit = costs[cheapest].milliseconds
    found = json.loads(
        call("search", run, "--method", "exhaustive", "--per-label-task", "--budget-ms", limit, "--json").stdout
    )
    assert all(one["members"] == [cheapest] for one in found["ensembles"].values())
    assert "the cheapest" in call("search", run, "--budget-ms", limit / 2, code=1).stderr
    call("search", run, "--budget-ms", 0)


def test_one_from_outside_joins_and_wins_but_is_not_served(run, perfect):
    call("search", run, "--per-label-task")  # whatever another test chose by
    found = json.loads(call("add", run, perfect, "--name", "an-oracle", "--label-task", "mood", "--json").stdout)
    assert found["outside"] == ["an-oracle"]
    call("search", run, "--method", "best_single", "--per-label-task", "--objective", "weighted_f1")
    shown = json.loads(call("show", run, "--json").stdout)
    assert shown["ensembles"]["mood"]["score"] == 1
    assert shown["ensembles"]["mood"]["members"] == ["an-oracle"]
    assert "an-oracle" not in MemeClassifier.load(run).members_
    report = json.loads((run / "report.json").read_text())
    assert report["label_tasks"]["mood"]["candidates"]["an-oracle"]["weighted_f1"] == 1
    assert "an-oracle" not in report["label_tasks"]["level"]["candidates"]


def test_rules_are_fitted_for_what_is_served(run, perfect):
    call("search", run, "--per-label-task")  # whatever another test chose by
    call("add", run, perfect, "--name", "an-oracle", "--label-task", "mood")
    call("search", run, "--method", "best_single", "--per-label-task", "--set", "decisions.thresholds=macro_f1")
    found = Run.load(run)
    choice, prior = found.chosen.served["mood"], np.array([0.5, 0.5])
    assert choice.members != found.chosen.ensembles["mood"].members == ("an-oracle",)
    served = combine([found.tables[name]["mood"].of_splits(found.roles.select) for name in choice.members], choice)
    rule = fit_rule(served, DecisionSettings(thresholds="macro_f1"), prior)
    assert found.chosen.served_rules["mood"].class_weights == rule.class_weights
    assert MemeClassifier.load(run).rules_["mood"].class_weights == rule.class_weights
    call("search", run, "--method", "best_single", "--set", "decisions.thresholds=none")


def test_the_card_is_of_what_is_served_and_the_report_of_what_was_chosen(run, perfect):
    call("search", run, "--per-label-task")
    rows = pd.read_csv(perfect)
    wrong = rows["split"] == "test"
    columns = ["probability_bad", "probability_good"]
    rows.loc[wrong, columns] = 1 - rows.loc[wrong, columns].to_numpy()
    rows.to_csv(perfect, index=False)
    call("add", run, perfect, "--name", "an-oracle", "--label-task", "mood")
    call("search", run, "--method", "best_single")
    report = json.loads((run / "report.json").read_text())
    assert report["label_tasks"]["mood"]["ensemble"]["weighted_f1"] == 0
    assert MemeClassifier.load(run).scores_["label_tasks"]["mood"]["weighted_f1"] > 0


def test_a_pool_that_can_not_be_met_is_left_out_and_said(run, perfect):
    call("search", run, "--per-label-task")  # whatever another test chose by
    call("add", run, perfect, "--name", "an-oracle", "--label-task", "mood")
    pools = "ensemble.pools={theirs=['an-oracle'],ours=['tfidf-0']}"
    call("search", run, "--method", "exhaustive", "--per-label-task", "--set", pools)
    report = json.loads((run / "report.json").read_text())
    (note,) = [note for note in report["notes"] if "Pool" in note]
    assert "'theirs' is left out" in note
    assert "level" in note
    assert "can be offered" in call("search", run, "--set", "ensemble.pool=theirs", code=1).stderr


def test_refusals_are_sentences(run, perfect, tmp_path):
    assert "holds no finished run" in call("show", tmp_path, code=1).stderr
    assert "one of the run's own" in call("add", run, perfect, "--name", "text-0", code=1).stderr
    assert "one of the run's own" in call("add", run, perfect, "--name", "best_constant", code=1).stderr
    assert "several label tasks" in call("add", run, perfect, code=1).stderr
    assert "ensemble.method" in call("search", run, "--method", "guess", code=1).stderr
    assert "ensemble.objective" in call("search", run, "--objective", "luck", code=1).stderr
