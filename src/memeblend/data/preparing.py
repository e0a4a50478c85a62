"""From raw data sets to a manifest on disk, with lists of all that did not come along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memeblend.data import storage
from memeblend.data.cache import Progress
from memeblend.data.composites import compose
from memeblend.data.duplicates import hash_images
from memeblend.data.leakage import LeakCount
from memeblend.data.manifest import Manifest
from memeblend.data.readers import recognise
from memeblend.data.rejecting import write_rejected
from memeblend.data.rows import Notify, log_line
from memeblend.data.sets import COMPOSITE_NAMES, READER_NAMES, SETS
from memeblend.data.statistics import Sizes, sizes_of
from memeblend.errors import DataError


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `prepare` made.

    Attributes:
        manifest: what was written.
        sizes: of the data set, or of the composite and then of its sets, before leaks were taken out.
        left_out: why memes were left out of a composite -> how many.
        leaks: how many memes to train on are also in a split that judges.
        num_leaking: how many memes that is.
        excluded: whether they were taken out.
        lists: files that list what did not come along, with reasons.
    """

    manifest: Manifest
    sizes: tuple[Sizes, ...]
    left_out: dict[str, int]
    leaks: tuple[LeakCount, ...]
    num_leaking: int
    excluded: bool
    lists: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        splits = self.manifest.splits
        return {
            "num_memes": len(self.manifest),
            "splits": {name: int((splits == name).sum()) for name in self.manifest.split_names},
            "label_tasks": [task.name for task in self.manifest.label_tasks],
            "fingerprint": self.manifest.fingerprint,
            "sizes": [size.to_dict() for size in self.sizes],
            "left_out": self.left_out,
            "leaks": [leak.to_dict() for leak in self.leaks],
            "num_leaking": self.num_leaking,
            "leaks_excluded": self.excluded,
            "lists": [str(path) for path in self.lists],
        }


@dataclass(frozen=True)
class _Reading:
    """How sets are read, and where what does not come along is listed: in files beside `out`, written anew."""

    out: Path
    skip_bad: bool
    allow_outside: bool
    notify: Notify
    lists: list[Path] = field(default_factory=list)

    def read(self, path: Path, reader: str | None, name: str) -> Manifest:
        return Manifest.read(
            path,
            reader=reader,
            skip_bad=self.skip_bad,
            rejected_to=self.list_file(name, "rejected"),
            listed_to=self.list_file(name, "listed"),
            allow_outside=self.allow_outside,
            notify=self.notify,
        )

    def list_file(self, name: str, kind: str) -> Path:
        middle = f".{name}" if name else ""
        path = self.out.with_name(f"{self.out.stem}{middle}.{kind}.csv")
        number = 2
        while path in self.lists:  # two folders of one name, in different places
            path = self.out.with_name(f"{self.out.stem}{middle}-{number}.{kind}.csv")
            number += 1
        path.unlink(missing_ok=True)
        self.lists.append(path)
        return path


def prepare(
    dataset: str,
    raw: Sequence[str | Path],
    out: str | Path,
    *,
    against: Sequence[str | Path] = (),
    keep_leaks: bool = False,
    skip_bad: bool = False,
    allow_outside: bool = False,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    notify: Notify = log_line,
) -> Prepared:
    """Read raw data sets, write their manifest, and list what did not come along.

    Beside MANIFEST.parquet lie, where there is something to list, MANIFEST.listed.csv (what the reader left out or
    could not decide), MANIFEST.rejected.csv (bad rows) and MANIFEST.leaks.csv; for a composite the first two for each
    of its sets, MANIFEST.SET.listed.csv.

    Args:
        dataset: the name of a reader, or of a composite.
        raw: folders or tables; a composite also takes one folder that holds a folder for each set, named as its reader.
        out: the manifest to write; its suffix says how.
        against: further sets, no part of a composite, that it must not leak into.
        keep_leaks: leave memes of a composite that leak where they are.
        skip_bad: drop bad rows and list them.
        allow_outside: let image paths leave the data root.
        cache_dir: where image hashes are kept; None takes `data.cache.default_cache_dir()`.
        progress: told of images hashed.
        notify: takes a line of text for everything inferred, skipped or dropped.

    Raises:
        DataError: no such data set, or one that can't be used; see `Manifest.read` and `compose`.
        OutputError: the manifest could not be written.
    """
    target = Path(out)
    if target.suffix.lower() not in storage.SUFFIXES:
        raise DataError(f"'{target}' should end in {', '.join(storage.SUFFIXES)}; its suffix says how it is written.")
    if dataset not in (*READER_NAMES, *COMPOSITE_NAMES):
        known = f"Data sets are {', '.join(READER_NAMES)}; composites are {', '.join(COMPOSITE_NAMES)}."
        raise DataError(f"There is no data set '{dataset}'.", fix=known)
    reading = _Reading(target, skip_bad, allow_outside, notify)
    if dataset in COMPOSITE_NAMES:
        made = _composite(dataset, raw, against, keep_leaks, reading, cache_dir, progress)
    else:
        if len(raw) != 1 or against or keep_leaks:
            raise DataError(
                f"'{dataset}' is one data set, so it takes one folder, and leaks are not looked for.",
                fix=f"Composites are {', '.join(COMPOSITE_NAMES)}.",
            )
        manifest = reading.read(Path(raw[0]), dataset, "")
        made = Prepared(manifest, tuple(sizes_of(manifest)), {}, (), 0, False, ())
    made.manifest.write(target)
    return replace(made, lists=tuple(path for path in reading.lists if path.is_file()))


def raw_sets(raw: Sequence[str | Path]) -> list[tuple[Path, str]]:
    """Each raw data set with its reader; a folder that holds folders named as readers stands for those.

    Raises:
        DataError: nothing there, or no known layout.
    """
    found: list[tuple[Path, str]] = []
    for path in map(Path, raw):
        inside = [(path / name, name) for name in SETS if (path / name).is_dir()]
        if inside:
            found += inside
        elif path.exists():
            found.append((path, recognise(path)))
        else:
            raise DataError(f"There is no file or folder '{path}'.", fix="Check the path.")
    return found


def _composite(
    name: str,
    raw: Sequence[str | Path],
    against: Sequence[str | Path],
    keep_leaks: bool,
    reading: _Reading,
    cache_dir: str | Path | None,
    progress: Progress | None,
) -> Prepared:
    sets = [reading.read(path, reader, path.stem) for path, reader in raw_sets(raw)]
    judges = [reading.read(path, reader, path.stem) for path, reader in raw_sets(against)]
    composite = compose(name, sets, judges)
    if composite.absent:
        reading.notify(f"{name}: not given, so not in it: {', '.join(composite.absent)}")
    for why, number in composite.left_out.items():
        reading.notify(f"{name}: {number} meme(s) left out: {why}")
    hashes, problems = hash_images(composite.memes, cache_dir=cache_dir, progress=progress)
    if problems:
        reading.notify(f"{name}: {len(problems)} image(s) can't be decoded, so they are compared byte for byte only")
    leaks = composite.leaks(hashes)
    listed = reading.list_file("", "leaks")
    if leaks.problems:
        write_rejected(listed, [(problem, "") for problem in leaks.problems])
    manifest = composite.without(leaks.rows & (not keep_leaks))
    return Prepared(
        manifest,
        (composite.sizes, *composite.members),
        composite.left_out,
        leaks.counts,
        int(leaks.rows.sum()),
        not keep_leaks,
        (),
    )
