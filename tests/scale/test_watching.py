"""Progress that goes from one process to another by a file."""

import time

from memeblend.scale.watching import Followed, Written


class Heard:
    def __init__(self):
        self.told = []

    def start(self, label, total):
        self.told.append(("start", label, total))

    def advance(self, num_done, note=""):
        self.told.append(("advance", num_done, note))

    def say(self, text):
        self.told.append(("say", text))


def test_what_is_written_is_heard_in_order_and_the_last_step_of_a_piece_is_not_lost(tmp_path):
    heard, path = Heard(), tmp_path / "progress.jsonl"
    with Followed(path, heard):
        time.sleep(0.6)  # it has looked once, and there was nothing
        written = Written(path)
        written.start("text-0", 100)
        for step in range(1, 101):
            written.advance(step, "good")
        written.start("image-0", 5)
        written.say("done\nwith it: ü")
        with path.open("a", encoding="utf-8") as stream:
            stream.write('["say", "half a li')
    assert heard.told[0] == ("start", "text-0", 100)
    assert heard.told[-2:] == [("start", "image-0", 5), ("say", "done\nwith it: ü")]
    steps = heard.told[1:-2]
    assert steps[-1] == ("advance", 100, "good")
    assert len(steps) < 50  # not every step is written
