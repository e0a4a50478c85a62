"""Texts through a chain of languages: each distinct text once, what is known from the cache, failures tried again."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from memeblend.data.rows import Notify, log_line
from memeblend.data.sqlite_cache import SqliteCache
from memeblend.errors import TranslationError
from memeblend.files import digest
from memeblend.translation.engines import AUTO, EMPTY, Engine, Failure, Hop, ServiceError
from memeblend.translation.pace import Pace

CACHE_FILE = "translations.sqlite"
"""Name of the cache's file in a cache folder."""

_FORMAT = 1

Progress = Callable[[Hop, int, int, str], None]
"""Takes the hop, the number of texts done in it, the number of all that it needs, and a note."""


def translation_cache(path: str | Path, notify: Notify = log_line) -> SqliteCache:
    """The cache of translations in a file; where it can't be used nothing is translated, lest it be paid for twice.

    Raises:
        OutputError: the file can't be used.
    """
    return SqliteCache(path, "translation cache", ("translations", "key", "translation"), without="", notify=notify)


@dataclass(frozen=True)
class Translations:
    """What became of texts.

    Attributes:
        found: text -> its translation, or why there is none.
        num_requests: requests that were sent, those after a failure included.
        num_cached: texts that needed no request.
    """

    found: dict[str, str | Failure]
    num_requests: int
    num_cached: int


@dataclass
class Translator:
    """Translates through a chain of languages. For one thread.

    Attributes:
        engine: what translates.
        chain: languages in order, as the engine calls them: ("hi", "en") is there and back.
        source: language of the texts.
        cache: from `translation_cache`; None keeps nothing.
        pace: how fast requests follow each other.
        stop_after: requests that fail in a row until all is given up.
    """

    engine: Engine
    chain: Sequence[str] = ("hi", "en")
    source: str = AUTO
    cache: SqliteCache | None = None
    pace: Pace = field(default_factory=Pace)
    stop_after: int = 5
    _in_row: int = field(default=0, init=False)
    _num_errors: int = field(default=0, init=False)
    _wait_s: float = field(default=0.0, init=False)
    _num_requests: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_chain(self.source, self.chain)
        if self.stop_after < 1:
            raise ValueError(f"stop_after is {self.stop_after}, expected at least 1")

    @property
    def hops(self) -> list[Hop]:
        """The steps of the chain."""
        sources = [self.source, *self.chain]
        return [Hop(number, sources[number], target) for number, target in enumerate(self.chain)]

    def translate(self, texts: Sequence[str], progress: Progress | None = None) -> Translations:
        """Translate texts, all of them into the first language, then all into the next.

        Args:
            texts: any texts that are not blank; equal ones are translated once.
            progress: told after each request.

        Raises:
            TranslationError: `stop_after` requests failed in a row, or a language is unknown. What was translated
                until then is in the cache.
            OutputError: the cache can't be used any more.
        """
        self._in_row = self._num_errors = self._num_requests = 0
        self._wait_s = 0.0
        current: dict[str, str | Failure] = {text: text.strip() for text in texts}
        asked: set[str] = set()
        for hop in self.hops:
            wanted = list(dict.fromkeys(value for value in current.values() if isinstance(value, str)))
            known = self._known(wanted, hop)
            missing = [text for text in wanted if text not in known]
            found = known | self._ask_all(missing, hop, progress)
            new = set(missing)
            for text, value in current.items():
                if isinstance(value, str):
                    current[text] = found[value]
                    if value in new:
                        asked.add(text)
        return Translations(current, self._num_requests, len(current) - len(asked))

    def _known(self, texts: Sequence[str], hop: Hop) -> dict[str, str | Failure]:
        if self.cache is None:
            return {}
        keys = {text: self._key(text, hop) for text in texts}
        kept = self.cache.find(keys.values())
        return {text: value for text, key in keys.items() if (value := clean(kept.get(key, "")))}

    def _key(self, text: str, hop: Hop) -> str:
        return digest(_FORMAT, self.engine.name, self.engine.version(hop), hop.source, hop.target, text)

    def _ask_all(self, texts: Sequence[str], hop: Hop, progress: Progress | None) -> dict[str, str | Failure]:
        found: dict[str, str | Failure] = {}
        num_failed = 0

        def tell(note: str = "") -> None:
            if progress is not None:
                progress(hop, len(found), len(texts), note or (f"{num_failed} failed" if num_failed else ""))

        for batch in _batches(texts, self.engine.batch_size):
            answers = self._answers(batch, hop, tell)
            good = {text: answer for text, answer in answers.items() if isinstance(answer, str)}
            if self.cache is not None and good:
                self.cache.keep({self._key(text, hop): answer for text, answer in good.items()})
            found |= answers
            num_failed += len(answers) - len(good)
            tell()
            self._count(answers, hop)
        return found

    def _answers(self, batch: Sequence[str], hop: Hop, tell: Callable[[str], None]) -> dict[str, str | Failure]:
        """Answers of one request, sent again while it fails; where others just failed for good it is sent once."""
        failure = EMPTY  # replaced by what happens
        for _ in range(1 if self._in_row else 1 + self.pace.retries):
            if self._wait_s:
                tell(f"waiting {self._wait_s:.0f} s after an error")
                self.pace.sleep(self._wait_s)
            self.pace.take_turn()
            self._num_requests += 1
            try:
                answers = self.engine.translate(batch, hop)
            except ServiceError as error:
                failure = error.failure
                self._num_errors += 1
                self._wait_s = self.pace.wait_s(self._num_errors, error.wait_s)
                continue
            self._num_errors, self._wait_s = 0, 0.0
            if len(answers) != len(batch):
                raise ValueError(f"{self.engine.name} gave {len(answers)} answers to {len(batch)} texts")
            return dict(zip(batch, map(_checked, answers), strict=True))
        return dict.fromkeys(batch, failure)

    def _count(self, answers: dict[str, str | Failure], hop: Hop) -> None:
        """Give up where requests fail in a row; texts that an engine refuses by themselves say nothing of it."""
        if any(isinstance(answer, str) for answer in answers.values()):
            self._in_row = 0
            return
        telling = [answer for answer in answers.values() if isinstance(answer, Failure) and not answer.of_text]
        if not telling:
            return
        self._in_row += 1
        if self._in_row >= self.stop_after:
            kept = "" if self.cache is None else f" What was translated before is kept in '{self.cache.path}'."
            raise TranslationError(
                f"Translating {hop} with {self.engine.name} failed {self._in_row} times in a row, so it was stopped; "
                f"the last time: {telling[-1]}.{kept}",
                fix="See that the service can be reached (or the model is the right one); then the same command "
                "goes on from here.",
            )


def check_chain(source: str, chain: Sequence[str]) -> None:
    """Refuse a chain that can't be walked.

    Raises:
        TranslationError: it is empty, or goes from a language to itself.
    """
    languages = [source, *chain]
    if not chain or not all(language.strip() for language in languages):
        raise TranslationError(
            f"The chain of languages is '{','.join(chain)}', expected at least one.", fix="Write it like hi,en"
        )
    for before, after in pairwise(languages):
        if before == after:
            raise TranslationError(f"The chain {' -> '.join(languages)} translates from '{before}' to itself.")
    if AUTO in chain:
        raise TranslationError(f"The chain {','.join(chain)} names '{AUTO}', which only the source may be.")


def clean(text: str) -> str:
    """A translation that every table can hold: no control characters but line ends, no half emoji, no blanks around."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join(" " if unicodedata.category(one) == "Cc" and one not in "\n\t" else one for one in whole).strip()


def _checked(answer: str | Failure) -> str | Failure:
    return answer if isinstance(answer, Failure) else clean(answer) or EMPTY


def _batches(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Texts in batches; where several share one they are of like length, so that little is padded."""
    ordered = sorted(texts, key=len) if size > 1 else texts
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
