"""The batcher alone: who is read with whom, what is refused, what is dropped, and how it ends."""

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memeblend.serving.batching import Batcher
from memeblend.serving.memes import DecodedMeme
from memeblend.serving.refusals import Refusal


class Watch:
    def __init__(self):
        self.batches, self.failures = [], []

    def batch_done(self, num_memes, seconds, waited):
        assert len(waited) == num_memes
        self.batches.append(num_memes)

    def batch_failed(self, error):
        self.failures.append(str(error))


def echo(memes):
    return [{"said": meme.text} for meme in memes]


def meme(text="x"):
    return DecodedMeme(text, None)


def batcher(predict=echo, *, max_batch=4, max_wait_s=0.0, max_queue=100, watch=None, num_streams=1):
    made = Batcher(
        predict,
        max_batch=max_batch,
        max_wait_s=max_wait_s,
        max_queue=max_queue,
        observer=watch or Watch(),
        num_streams=num_streams,
    )
    made.start()
    return made


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), max_size=12), max_batch=st.integers(1, 5), num_streams=st.integers(1, 3))
def test_each_request_gets_its_own_records_in_order(sizes, max_batch, num_streams):
    watch = Watch()

    async def ask():
        one = batcher(max_batch=max_batch, max_wait_s=0.001, watch=watch, num_streams=num_streams)
        wanted = [[f"{number}/{position}" for position in range(size)] for number, size in enumerate(sizes)]
        found = await asyncio.gather(*(one.classify([meme(text) for text in texts]) for texts in wanted))
        await one.stop()
        assert [[record["said"] for record in records] for records in found] == wanted

    run(ask())
    assert sum(watch.batches) == sum(sizes)
    assert all(size <= max_batch for size in watch.batches)


def test_memes_that_come_while_the_model_waits_are_read_together():
    watch = Watch()

    async def ask():
        one = batcher(max_batch=3, max_wait_s=0.5, watch=watch)
        await asyncio.gather(*(one.classify([meme()]) for _ in range(3)))
        await one.stop()

    began = time.monotonic()
    run(ask())
    assert watch.batches == [3]
    assert time.monotonic() - began < 0.5  # a full batch waits no longer


def test_a_lone_meme_waits_no_longer_than_allowed():
    async def ask():
        one = batcher(max_wait_s=0.05)
        began = time.monotonic()
        await one.classify([meme()])
        waited = time.monotonic() - began
        await one.stop()
        assert 0.05 <= waited < 2

    run(ask())


def test_places_are_bounded_and_given_back():
    async def ask():
        one = batcher(max_queue=5)
        with one.places(3), one.places(2):
            with pytest.raises(Refusal, match="5 memes are waiting already and 5 may") as refused, one.places(1):
                pass
            assert (refused.value.status, refused.value.code) == (429, "queue_full")
            assert refused.value.retry_after_s >= 1
        assert one.num_places_taken == 0
        with one.places(5):
            pass
        await one.stop()
        with pytest.raises(Refusal, match="stopping"), one.places(1):
            pass
        with pytest.raises(Refusal, match="stopping"):
            await one.classify([meme()])

    run(ask())


def test_one_meme_that_the_model_can_not_bear_spoils_only_its_own_request():
    watch = Watch()

    def picky(memes):
        if any(meme.text == "poison" for meme in memes):
            raise RuntimeError("no")
        return echo(memes)

    async def ask():
        one = batcher(picky, max_wait_s=0.2, watch=watch)
        found = await asyncio.gather(
            one.classify([meme("a")]),
            one.classify([meme("b"), meme("poison")]),
            one.classify([meme("c")]),
            return_exceptions=True,
        )
        assert found[0] == [{"said": "a"}]
        assert isinstance(found[1], RuntimeError)
        assert found[2] == [{"said": "c"}]
        assert await one.classify([meme("d")]) == [{"said": "d"}]
        assert one.fault(60) == ""
        await one.stop()

    run(ask())
    assert watch.failures == ["no", "no"]


def test_a_model_that_gives_too_few_records_is_an_error():
    async def ask():
        one = batcher(lambda memes: [])
        with pytest.raises(RuntimeError, match="0 records for 1 memes"):
            await one.classify([meme()])
        await one.stop()

    run(ask())


def test_memes_that_nobody_waits_for_any_more_are_not_read():
    gate, seen = threading.Event(), []

    def slow(memes):
        gate.wait(10)
        seen.extend(meme.text for meme in memes)
        return echo(memes)

    async def ask():
        one = batcher(slow, max_batch=1)
        first = asyncio.ensure_future(one.classify([meme("first")]))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.classify([meme("late")]), 0.05)
        last = asyncio.ensure_future(one.classify([meme("last")]))
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(first, last)
        await one.stop()

    run(ask())
    assert seen == ["first", "last"]


def test_what_was_taken_is_answered_before_the_end():
    def slow(memes):
        time.sleep(0.02)
        return echo(memes)

    async def ask():
        one = batcher(slow, max_batch=2)
        asked = [asyncio.ensure_future(one.classify([meme(str(number))])) for number in range(9)]
        await asyncio.sleep(0)
        await one.stop()
        assert [(await answer)[0]["said"] for answer in asked] == [str(number) for number in range(9)]
        assert one.fault(60) == "The server is stopping."

    run(ask())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_model_that_is_stuck_or_dead_is_noticed():
    gate = threading.Event()

    def stuck(memes):
        gate.wait(10)
        return echo(memes)

    def dies():
        raise RuntimeError("no threads")

    async def ask():
        one = batcher(stuck)
        asked = asyncio.ensure_future(one.classify([meme()]))
        await asyncio.sleep(0.1)
        assert one.fault(60) == ""
        assert "busy with one batch for more than 0.05 s" in one.fault(0.05)
        gate.set()
        await asked
        await one.stop()
        dead = Batcher(echo, max_batch=1, max_wait_s=0, max_queue=1, observer=Watch(), prepare_thread=dies)
        dead.start()
        await asyncio.sleep(0.1)
        assert dead.fault(60) == "The model's thread has ended."

    run(ask())


@pytest.mark.parametrize("where", ["at the start", "while it tells of a batch"])
def test_nobody_waits_for_a_thread_that_has_ended(where):
    class Broken(Watch):
        def batch_done(self, num_memes, seconds, waited):
            raise RuntimeError("broken")

    def prepare():
        if where == "at the start":
            raise RuntimeError("broken")

    async def ask():
        watch = Broken()
        one = Batcher(echo, max_batch=1, max_wait_s=0, max_queue=9, observer=watch, prepare_thread=prepare)
        first = asyncio.ensure_future(one.classify([meme(), meme()]))
        await asyncio.sleep(0)
        one.start()
        with pytest.raises(RuntimeError, match="broken"):
            await first
        assert one.fault(60) == "The model's thread has ended."
        with pytest.raises(Refusal, match="started again"):
            await one.classify([meme()])
        await one.stop()
        assert watch.failures == ["broken"]

    run(ask())


def test_streams_read_at_the_same_time():
    both = threading.Barrier(2, timeout=10)

    def waits_for_the_other(memes):
        both.wait()
        return echo(memes)

    async def ask():
        one = batcher(waits_for_the_other, max_batch=1, num_streams=2)
        assert await one.classify([meme("a"), meme("b")]) == [{"said": "a"}, {"said": "b"}]
        await one.stop()
        assert one.fault(60) == "The server is stopping."

    run(ask())


def test_one_stuck_stream_is_told_while_the_other_answers():
    gate = threading.Event()

    def stuck(memes):
        if memes[0].text == "stuck":
            gate.wait(10)
        return echo(memes)

    async def ask():
        one = batcher(stuck, max_batch=1, num_streams=2)
        asked = asyncio.ensure_future(one.classify([meme("stuck")]))
        await asyncio.sleep(0.1)
        assert await one.classify([meme("b")]) == [{"said": "b"}]
        assert "busy with one batch" in one.fault(0.05)
        gate.set()
        await asked
        while one.fault(0.05):  # the answer is out just before its stream is free; `run` ends what takes too long
            await asyncio.sleep(0.01)
        await one.stop()

    run(ask())
