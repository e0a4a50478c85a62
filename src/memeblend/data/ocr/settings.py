"""What is read of an image, and what of that is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from memeblend.data.images import ImageLimits

WATERMARKS = (
    *("imgflip.com", "imgflip", "memegenerator.net", "memegenerator", "quickmeme.com", "quickmeme", "memecenter.com"),
    *(
        "memecrunch.com",
        "makeameme.org",
        "diylol.com",
        "diylol",
        "9gag.com",
        "9gag",
        "ifunny.co",
        "ifunny",
        "ifunny.mobi",
    ),
    *("kapwing.com", "kapwing", "mematic.net", "mematic", "memedroid.com", "memedroid", "memeful.com", "troll.me"),
    *("cheezburger.com", "weknowmemes.com", "memebase.com", "ragestache.com", "funnyjunk.com", "lolsnaps.com"),
    *(
        "memes.com",
        "reddit.com",
        "imgur.com",
        "facebook.com",
        "instagram.com",
        "tumblr.com",
        "twitter.com",
        "pinterest.com",
    ),
)
"""Names that sites print onto memes. Words that memes are about as well (reddit) stand with their domain only."""


@dataclass(frozen=True)
class OcrSettings:
    """How text is read.

    What an engine finds is cached as it is; `min_confidence`, `drop_watermarks` and `watermarks` choose among it
    afterwards, so changing them reads nothing anew.

    Attributes:
        min_confidence: lines that the engine is less sure of are left out, from 0 to 1.
        drop_watermarks: whether lines that hold nothing but a site's name are left out ("imgflip.com", "made with
            mematic"). A sentence that names a site stays.
        watermarks: these names; letter case and a blank around the dot do not matter.
        languages: what Tesseract reads, as it names them; those that are not installed are left out.
        threads: cores that one reading uses.
        time_limit_s: seconds after which Tesseract is stopped. RapidOCR runs inside the process and can't be stopped;
            the size of what it looks at and the number of lines are limited instead.
        image_limits: what an image file may be before it is decoded.

    Raises:
        ValueError: a confidence outside 0 to 1, no language, or a limit that is not positive.
    """

    min_confidence: float = 0.5
    drop_watermarks: bool = True
    watermarks: tuple[str, ...] = WATERMARKS
    languages: tuple[str, ...] = ("eng", "hin")
    threads: int = 1
    time_limit_s: float = 30.0
    image_limits: ImageLimits = field(default_factory=ImageLimits)

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is {self.min_confidence}, expected 0 to 1")
        if not self.languages or not all(name.replace("_", "").isalnum() for name in self.languages):
            raise ValueError(f"languages are {self.languages}, expected names like eng or hin")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}, expected at least 1")
        if not 0 < self.time_limit_s < math.inf:
            raise ValueError(f"time_limit_s is {self.time_limit_s}, expected a positive number of seconds")
