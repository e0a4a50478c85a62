"""The texts of a manifest's memes, translated there and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memeblend.data import storage
from memeblend.data.manifest import Manifest
from memeblend.data.rejecting import write_rejected
from memeblend.data.tables import TABLE_SUFFIXES, read_table
from memeblend.errors import DataError, Problem
from memeblend.translation.engines import Failure
from memeblend.translation.translator import Progress, Translator

RAW_TEXT = "raw_text"
"""Column of the text as it was before; `--column ocr_text=raw_text` reads it."""

STATUS = "translation_status"
"""Column that says what became of a text: `TRANSLATED`, `FAILED` or `BLANK`."""

TRANSLATED, FAILED, BLANK = "translated", "failed", "blank"


@dataclass(frozen=True, eq=False)
class TranslatedMemes:
    """Memes with translated texts.

    Attributes:
        manifest: the memes; their ocr_text is the translation, the raw text where that failed.
        raw_texts: the texts before [num_memes].
        statuses: `TRANSLATED`, `FAILED`, or `BLANK` where there was nothing to translate [num_memes].
        failed: a problem for each meme whose text has no translation.
        reasons: memes that failed, by reason, the most frequent first.
        num_texts: distinct texts that are not blank.
        num_cached: those of them that needed no request.
        num_requests: requests that were sent.
    """

    manifest: Manifest
    raw_texts: tuple[str, ...]
    statuses: tuple[str, ...]
    failed: tuple[Problem, ...]
    reasons: Mapping[str, int]
    num_texts: int
    num_cached: int
    num_requests: int

    def write(self, out: str | Path) -> Path | None:
        """Write the memes with the columns `RAW_TEXT` and `STATUS`, and beside them OUT.failed.csv if any failed.

        Returns:
            The list of those that failed, None where none did.

        Raises:
            ValueError: the suffix is none that a manifest is written in.
            OutputError: a file could not be written.
        """
        out = Path(out)
        table = self.manifest.table.assign(**{RAW_TEXT: list(self.raw_texts), STATUS: list(self.statuses)})
        storage.write(out, table, self.manifest.label_tasks, self.manifest.root)
        listed = out.with_suffix(".failed.csv")
        if not self.failed:
            listed.unlink(missing_ok=True)  # of an earlier call, whose failures are mended now
            return None
        images = dict(zip(self.manifest.meme_ids.tolist(), self.manifest.table["image"].tolist(), strict=True))
        write_rejected(listed, [(problem, images[problem.meme_id] or "") for problem in self.failed])
        return listed


def translate_memes(manifest: Manifest, translator: Translator, progress: Progress | None = None) -> TranslatedMemes:
    """Translate the text of every meme that has one. Equal texts are translated once.

    Args:
        manifest: memes with their raw texts.
        translator: what translates; with a cache, a call that was cut short goes on where it was.
        progress: told after each request.

    Raises:
        DataError: no meme has a text.
        TranslationError: too many requests failed in a row, or a language is unknown.
        OutputError: the cache can't be used any more.
    """
    if not manifest.has_texts:
        raise DataError("These memes have no texts to translate.", fix="Read them from the images: memeblend ocr")
    raw, ids = manifest.texts, manifest.meme_ids.tolist()
    made = translator.translate(list(dict.fromkeys(text for text in raw if text.strip())), progress)
    texts, statuses, failed = list(raw), [BLANK] * len(raw), []
    reasons: Counter[str] = Counter()
    for row, text in enumerate(raw):
        found = made.found.get(text)
        if isinstance(found, Failure):
            statuses[row] = FAILED
            reasons[found.reason] += 1
            failed.append(Problem(f"meme {ids[row]}", str(found), ids[row]))
        elif found is not None:
            statuses[row], texts[row] = TRANSLATED, found
    changed = Manifest(manifest.table.assign(ocr_text=texts), manifest.label_tasks, manifest.root)
    return TranslatedMemes(
        changed,
        tuple(raw),
        tuple(statuses),
        tuple(failed),
        dict(reasons.most_common()),
        len(made.found),
        made.num_cached,
        made.num_requests,
    )


def raw_columns(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """A column mapping that reads raw texts where a table holds translations already, so that none is made of them.

    Args:
        path: a table or a data-set folder.
        columns: the mapping that the user gave, whose ocr_text stays.

    Raises:
        DataError: the table can't be read.
    """
    if "ocr_text" in columns:
        return dict(columns)
    tables = [path / f"memes{suffix}" for suffix in TABLE_SUFFIXES] if path.is_dir() else [path]
    for table in tables:
        if table.is_file() and table.suffix.lower() in TABLE_SUFFIXES:
            names = read_table(table, lambda line: None).columns
            if RAW_TEXT in names and STATUS in names:
                return {**columns, "ocr_text": RAW_TEXT}
    return dict(columns)
