"""The course of a search with a made-up objective: what is drawn, stopped, repeated and gone on with."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_helpers import made_up, search_settings

from memeblend.errors import OutputError
from memeblend.recipe.search import Search
from memeblend.tuning.drawing import make_drawer
from memeblend.tuning.halving import Race, cutoffs
from memeblend.tuning.searching import Course, run_here
from memeblend.tuning.trials import Trial, ranked


def course(folder, **values):
    found = search_settings(**values)
    return Course(found, found.space, 5, folder)


def all_values(of):
    return [dict(of.trials[number].values) for number in sorted(of.trials)]


def run_with_workers(of, num_workers, make=made_up):
    """As workers of different speed would: of those under way the last begun ends first."""
    under_way = []
    while not of.is_over:
        while len(under_way) < num_workers and (asked := of.next()) is not None:
            under_way.append(asked)
        of.tell(make(under_way.pop()))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_seed_draws_the_same_trials_with_any_number_of_workers(sampler, tmp_path):
    alone = course(tmp_path / "alone", sampler=sampler, num_trials=14)
    run_here(alone, made_up, lambda: None)
    for num_workers in (1, 3, 9):
        many = course(tmp_path / str(num_workers), sampler=sampler, num_trials=14)
        run_with_workers(many, num_workers)
        assert all_values(many) == all_values(alone)
        assert [many.trials[n].value for n in range(14)] == [alone.trials[n].value for n in range(14)]
    other = Course(alone.settings, alone.settings.space, 6, tmp_path / "other")
    run_here(other, made_up, lambda: None)
    assert all_values(other) != all_values(alone)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_was_killed_goes_on_to_the_same_trials(sampler, tmp_path):
    whole = course(tmp_path / "whole", sampler=sampler, num_trials=11)
    run_here(whole, made_up, lambda: None)
    first = course(tmp_path / "killed", sampler=sampler, num_trials=11)
    for _ in range(6):
        first.tell(made_up(first.next()))
    again = course(tmp_path / "killed", sampler=sampler, num_trials=11)
    made = []
    run_here(again, lambda asked: made.append(asked.number) or made_up(asked), lambda: None)
    assert made == [6, 7, 8, 9, 10]
    assert all_values(again) == all_values(whole)


def test_more_trials_later_begin_with_the_same(tmp_path):
    few = course(tmp_path / "grown", sampler="tpe", num_trials=6)
    run_here(few, made_up, lambda: None)
    grown = course(tmp_path / "grown", sampler="tpe", num_trials=12)
    run_here(grown, made_up, lambda: None)
    whole = course(tmp_path / "whole", sampler="tpe", num_trials=12)
    run_here(whole, made_up, lambda: None)
    assert all_values(grown) == all_values(whole)


def test_tpe_learns_what_random_does_not(tmp_path):
    means = {}
    for sampler in ("random", "tpe"):
        of = course(tmp_path / sampler, sampler=sampler, num_trials=40, space={"x": {"uniform": [0.0, 1.0]}})
        run_here(of, made_up, lambda: None)
        means[sampler] = np.mean([of.trials[number].value for number in range(20, 40)])
    assert means["tpe"] > means["random"] + 0.05


def test_values_that_were_tried_are_not_tried_again(tmp_path):
    of = course(tmp_path, sampler="random", num_trials=12, space={"x": {"choice": [0.1, 0.7]}})
    made = []
    run_here(of, lambda asked: made.append(asked.values["x"]) or made_up(asked), lambda: None)
    assert sorted(made) == [0.1, 0.7]
    assert len(of.trials) == 12
    assert {trial.state for trial in of.trials.values()} == {"finished", "repeated"}
    assert len({trial.value for trial in of.trials.values() if trial.values["x"] == 0.7}) == 1
    assert [trial.values["x"] for trial in ranked(list(of.trials.values()))] == [0.7, 0.1]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_failed_trial_does_not_stop_the_rest(sampler, tmp_path):
    def make(asked):
        if asked.number % 3 == 1:
            return Trial(asked.number, asked.values, "failed", error="no")
        return made_up(asked)

    of = course(tmp_path, sampler=sampler, num_trials=9)
    run_here(of, make, lambda: None)
    assert [n for n in range(9) if of.trials[n].state == "failed"] == [1, 4, 7]
    assert len(ranked(list(of.trials.values()))) == 6


def test_a_result_file_that_is_broken_is_refused(tmp_path):
    of = course(tmp_path, num_trials=1)
    run_here(of, made_up, lambda: None)
    for content in ("", "{", '{"number": 1}', "[]", '{"nonsense": 1}'):
        (tmp_path / "000" / "result.json").write_text(content)
        with pytest.raises(OutputError, match="could not be read"):
            course(tmp_path, num_trials=1)


def test_a_trial_survives_its_file(tmp_path):
    trial = Trial(3, {"a": {"b": [1, 2.5]}}, "stopped", 0.1 + 0.2, {"joint": [0.1, 0.3]}, 2.5, "why")
    trial.write(tmp_path)
    assert Trial.read(tmp_path) == trial
    assert Trial.read(tmp_path / "none") is None


def trial_of(number, curve, state="finished"):
    return Trial(number, {"x": number}, state, max(curve), {"joint": curve})


def test_a_loss_is_made_least(tmp_path):
    made = {"joint": [3.0, 2.0]}
    trials = [Trial(n, {"x": n}, "finished", value, made, metric="loss") for n, value in enumerate((2.0, 1.0, 3.0))]
    assert [trial.number for trial in ranked(trials)] == [1, 0, 2]
    curves = ([3.0, 2.0], [1.0, 4.0], [5.0, 5.0])
    raced = [Trial(n, {}, "finished", 1.0, {"joint": curve}, metric="loss") for n, curve in enumerate(curves)]
    # The best so far after 2 epochs are 2, 1 and 5: who goes on is at the median 2 or below.
    assert cutoffs(raced, grace=2, reduction=2) == {"joint": {2: -2.0}}


def test_tpe_learns_where_a_loss_is_least(tmp_path):
    means = {}
    for metric in ("loss", "weighted_f1"):
        of = course(
            tmp_path / metric, sampler="tpe", num_trials=40, metric=metric, space={"x": {"uniform": [0.0, 1.0]}}
        )
        assert of.trials[0].metric == metric
        run_here(of, lambda asked, metric=metric: replace(made_up(asked), metric=metric), lambda: None)
        means[metric] = np.mean([of.trials[number].value for number in range(20, 40)])
    assert means["loss"] < 0.5 < means["weighted_f1"]


def test_a_model_that_fell_behind_stays_so():
    race = Race({"joint": {2: 0.5}})
    assert race.falls_behind("joint", 2, 0.4)
    assert race.falls_behind("joint", 3, 0.9)  # as after a kill, when earlier epochs are told again
    assert race.stopped


def test_cutoffs_by_hand():
    earlier = [
        trial_of(0, [0.1, 0.5, 0.4, 0.6]),
        trial_of(1, [0.2, 0.2, 0.2, 0.9]),
        trial_of(2, [0.3, 0.1], "stopped"),
        trial_of(3, [0.8], "stopped"),
        trial_of(4, [9.0, 9.0, 9.0], "failed"),
    ]
    found = cutoffs(earlier, grace=2, reduction=2)
    # After 2 epochs the best so far are .5, .2, .3: their median is .3. After 4: .6 and .9. Nobody reached 8.
    assert found == {"joint": {2: pytest.approx(0.3), 4: pytest.approx(0.75)}}
    # With reduction 3 the quantile 2/3 of .2, .3, .5 lies a third of the way from .3 to .5.
    assert cutoffs(earlier, grace=2, reduction=3)["joint"][2] == pytest.approx(0.3 + 0.2 / 3)
    assert cutoffs([], 2, 3) == {}


def test_a_race_is_lost_at_a_rung_by_the_best_so_far():
    race = Race({"joint": {2: 0.5}})
    assert not race.falls_behind("joint", 1, 0.1)
    assert race.falls_behind("joint", 2, 0.2)
    assert race.stopped
    race = Race({"joint": {2: 0.5}})
    assert not race.falls_behind("joint", 1, 0.6)
    assert not race.falls_behind("joint", 2, 0.2)
    assert not race.falls_behind("other", 2, 0.0)
    assert not race.stopped


def test_the_first_batch_sets_the_limits_of_the_second(tmp_path):
    of = course(tmp_path, sampler="random", num_trials=8, batch_size=4, grace=1, reduction=2)
    limits = []

    def make(asked):
        limits.append(asked.limits)
        return made_up(asked)

    run_here(of, make, lambda: None)
    assert limits[:4] == [{}] * 4
    first = [of.trials[n].curves["joint"][0] for n in range(4)]
    assert limits[4]["joint"][1] == pytest.approx(np.median(first))
    unstopped = course(tmp_path / "none", scheduler="none", sampler="random", num_trials=8)
    assert not unstopped.next().limits


SPACES = st.one_of(
    st.lists(st.one_of(st.integers(), st.text(max_size=5), st.booleans()), min_size=1, max_size=4).map(
        lambda values: {"choice": values}
    ),
    st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3)).map(lambda p: {"uniform": [p[0], p[0] + p[1]]}),
    st.tuples(st.floats(1e-8, 1e3), st.floats(1.01, 1e4)).map(lambda p: {"loguniform": [p[0], p[0] * p[1]]}),
    st.tuples(st.integers(-100, 100), st.integers(1, 50)).map(lambda p: {"randint": [p[0], p[0] + p[1]]}),
)


@given(space=SPACES, sampler=st.sampled_from(["random", "tpe"]), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_every_draw_lies_in_its_space(space, sampler, seed):
    found = Search.model_validate({"space": {"x": space}}).space
    for values in make_drawer(sampler, found, seed, 2).draw(5):
        value = values["x"]
        json.dumps(value)
        if "choice" in space:
            assert value in space["choice"]
        elif "randint" in space:
            assert isinstance(value, int)
            assert space["randint"][0] <= value < space["randint"][1]
        else:
            low, high = next(iter(space.values()))
            assert low <= value <= high


def test_loguniform_draws_orders_of_magnitude_evenly():
    found = Search.model_validate({"space": {"x": {"loguniform": [1e-6, 1e-2]}}}).space
    logs = [math.log10(values["x"]) for values in make_drawer("random", found, 0, 4).draw(400)]
    assert np.histogram(logs, bins=4, range=(-6, -2))[0].min() > 70
