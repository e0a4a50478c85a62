"""What a server may take, how long it may take for it, and who may ask."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from memeblend.data.images import ImageLimits
from memeblend.serving.streams import Streams

API_KEY_VARIABLE = "MEMEBLEND_API_KEY"
"""Environment variable that holds the key clients have to send; unset or empty, everyone may ask."""


@dataclass(frozen=True)
class ServerSettings:
    """Limits and habits of a server. Sizes are checked before anything is decoded.

    Attributes:
        max_batch: most memes that the model reads at once.
        max_wait_s: how long the first meme of a batch waits for others to join it, in seconds.
        max_queue: most memes that are taken in and not answered yet; more are refused with 429.
        deadline_s: how long a request may take once it has arrived, in seconds; then it is answered with 504.
        body_timeout_s: how long a client may take to send its headers, then its body, then to take its answer.
        max_body_bytes: size of one request's body.
        max_buffered_bytes: size of all bodies held at one time.
        max_memes: memes of one request.
        max_text_characters: characters of one meme's text.
        image_limits: what an image may be before it is decoded.
        num_streams: batches that the model reads at a time; 0 takes two where there are the cores for it.
        num_threads: threads of the model for each of them; 0 shares the cores out.
        api_key: key that clients have to send; "" asks for none.
        cors_origins: origins whose pages a browser lets ask the API and read its answers; none by default.
        allowed_hosts: names that the server goes by, beside addresses and localhost, where there is no key; "*" takes
            every name, which lets pages of the web in that have theirs lead here.
        thresholds: category -> score from which `/v1/moderations` says yes; others follow the model's decision.
        policy: policy file that verdicts follow and that a page may rewrite; "" leaves all to the model's decisions.
        flagging: categories that make `/v1/moderations` say `flagged`; empty takes all.
        review_folder: where labels given on the page are kept; "" leaves them to the person at the page.
        ocr: engine that reads the images of memes without text: `auto`, `none`, or a name of `memeblend.data.ocr`.
        log_content: whether logs hold the memes' texts and the messages of unforeseen errors.

    Raises:
        ValueError: a value that makes no sense; all of them listed.
    """

    max_batch: int = 32
    max_wait_s: float = 0.005
    max_queue: int = 256
    deadline_s: float = 30.0
    body_timeout_s: float = 10.0
    max_body_bytes: int = 32 * 2**20
    max_buffered_bytes: int = 512 * 2**20
    max_memes: int = 64
    max_text_characters: int = 20_000
    image_limits: ImageLimits = ImageLimits(max_bytes=16 * 2**20, max_pixels=25_000_000)  # noqa: RUF009 (frozen)
    num_streams: int = 0
    num_threads: int = 0
    api_key: str = field(default="", repr=False)
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    policy: str = ""
    flagging: tuple[str, ...] = ()
    review_folder: str = ""
    ocr: str = "none"
    log_content: bool = False

    @property
    def streams(self) -> Streams:
        """Batches read at a time and the threads of each, with what was not asked for filled in."""
        return Streams.of(self.num_streams, self.num_threads)

    def __post_init__(self) -> None:
        positive = (
            *("max_batch", "max_queue", "deadline_s", "body_timeout_s", "max_body_bytes", "max_buffered_bytes"),
            *("max_memes", "max_text_characters"),
        )
        problems = [
            f"{name} is {getattr(self, name)}, expected above 0" for name in positive if getattr(self, name) <= 0
        ]
        problems += [
            f"{name} is {getattr(self, name)}, expected 0 or above"
            for name in ("max_wait_s", "num_streams", "num_threads")
            if getattr(self, name) < 0
        ]
        if self.max_memes > self.max_queue:
            problems.append(f"max_memes is {self.max_memes}, more than the {self.max_queue} of max_queue")
        problems += [
            f"the threshold of '{name}' is {value}, expected between 0 and 1"
            for name, value in self.thresholds.items()
            if not 0 <= value <= 1
        ]
        if self.policy and self.thresholds:
            problems.append("there are both thresholds and a policy, expected one of them")
        if problems:
            raise ValueError("; ".join(problems))


def api_key_from_environment() -> str:
    """The key that clients have to send, "" for none."""
    return os.environ.get(API_KEY_VARIABLE, "").strip()
