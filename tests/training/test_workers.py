"""Several workers take the step of one: the same loss, the same gradients, the same encoder."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gloo_workers import CASES, step
from memeblend.training.contrastive.work import pretrain, read_facts
from memeblend.training.workers import ALONE
from pair_memes import memes, small

SCRIPT = Path(__file__).parents[1] / "gloo_workers.py"


def work(what, size, folder):
    command = [sys.executable, str(SCRIPT), what, str(size), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_loss_and_gradients_are_those_of_one_worker_with_the_whole_batch(tmp_path, size):
    manifest = memes(tmp_path)
    found = work("steps", size, tmp_path)
    for number, case in enumerate(CASES):
        loss, gradients = step(manifest, ALONE, *case)
        for of_worker in found:
            assert abs(of_worker[number][0] - loss) < 1e-5, case
            assert of_worker[number][1].keys() == gradients.keys()
            for name, value in gradients.items():
                torch.testing.assert_close(
                    of_worker[number][1][name], value, rtol=1e-4, atol=1e-5, msg=f"{case} {name}"
                )
        assert all(
            of_worker[number][1][name].equal(found[0][number][1][name]) for of_worker in found for name in gradients
        )


def test_rows_are_gathered_and_gradients_summed(tmp_path):
    memes(tmp_path)
    for rank, (gathered, counts, first, error) in enumerate(work("gather", 2, tmp_path)):
        rows, gradient = gathered
        assert rows.tolist() == [[1, 1], [2, 2], [2, 2]]
        assert gradient.tolist() == [[3, 3]] * (rank + 1)  # of losses 1 sum and 2 sum
        assert counts == (0, 1)
        assert first == 0
        assert error == "of the first"


def test_alone_nothing_is_gathered():
    values = torch.ones(2, 3)
    assert ALONE.gather(values) is values
    assert ALONE.counts(7) == (7,)
    assert ALONE.parts([1, 2, 3]) == [[1, 2, 3]]
    assert ALONE.from_first(lambda: 5) == 5


@pytest.mark.slow
def test_two_workers_make_the_encoder_of_one_and_others_go_on(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alone = pretrain([memes(tmp_path / "one")], tmp_path / "one" / "encoder", small("hard_share=0.25"))
    manifest = memes(tmp_path / "two")
    together, of_second = work("pretrain", 2, tmp_path / "two")
    assert together == of_second == read_facts(tmp_path / "two" / "encoder")
    assert together["held_back"]["after"] == pytest.approx(alone["held_back"]["after"], abs=1e-4)
    assert together["fingerprint"] == alone["fingerprint"]
    assert pretrain([manifest], tmp_path / "two" / "encoder", small("hard_share=0.25")) == together
