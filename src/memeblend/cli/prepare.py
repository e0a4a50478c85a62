"""`memeblend prepare` and `memeblend stats`: raw data sets become manifests; the paper's tables 1 and 2 of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import JsonOption, OutsideOption
from memeblend.data.sets import COMPOSITE_NAMES, READER_NAMES

if TYPE_CHECKING:
    from rich.table import Table

    from memeblend.data.manifest import Manifest
    from memeblend.data.preparing import Prepared
    from memeblend.data.statistics import ClassCounts, Sizes

_SPLITS = {"train": "training", "test": "test", "validation": "development"}


@dataclass(frozen=True)
class PrepareRequest:
    """Options of `memeblend prepare`.

    Attributes:
        dataset: name of a reader or composite.
        raw: raw data sets.
        out: the manifest to write.
        against: further sets that a composite must not leak into.
        keep_leaks: whether memes that leak stay.
        skip_bad: whether bad rows are dropped and listed.
        allow_outside: whether image paths may leave the data root.
    """

    dataset: str
    raw: Sequence[Path]
    out: Path
    against: Sequence[Path] = ()
    keep_leaks: bool = False
    skip_bad: bool = False
    allow_outside: bool = False


def run_prepare(request: PrepareRequest, json_output: bool) -> None:
    """`memeblend prepare`.

    Raises:
        DataError: see `data.preparing.prepare`.
    """
    from memeblend.cli.output import Bars, messages, print_json
    from memeblend.data.preparing import prepare

    with Bars() as bars:
        begun = False

        def advance(num_done: int, total: int) -> None:
            nonlocal begun
            if not begun:
                bars.start("Hashing images", total)
                begun = True
            bars.advance(num_done)

        made = prepare(
            request.dataset,
            request.raw,
            request.out,
            against=request.against,
            keep_leaks=request.keep_leaks,
            skip_bad=request.skip_bad,
            allow_outside=request.allow_outside,
            progress=advance,
            notify=lambda line: messages.print(line, markup=False, soft_wrap=True),
        )
    if json_output:
        print_json({"manifest": str(request.out), **made.to_dict()})
        return
    _show_prepared(made)
    messages.print(f"Wrote {len(made.manifest)} meme(s) to {request.out}", markup=False, soft_wrap=True)
    for path in made.lists:
        messages.print(f"what did not come along is listed in {path}", markup=False, soft_wrap=True)


def run_stats(paths: Sequence[Path], allow_outside: bool, json_output: bool) -> None:
    """`memeblend stats`.

    Raises:
        DataError: a manifest can't be read at all.
    """
    from memeblend.cli.output import print_json, results
    from memeblend.data.statistics import classes_of

    manifests = {path: _read(path, allow_outside) for path in paths}
    sizes = [size for path, manifest in manifests.items() for size in _sizes(path, manifest)]
    classes = [found for manifest in manifests.values() for found in classes_of(manifest)]
    if json_output:
        print_json({"table_1": [size.to_dict() for size in sizes], "table_2": [found.to_dict() for found in classes]})
        return
    results.print(sizes_table(sizes))
    for table in class_tables(classes):
        results.print(table)


def _read(path: Path, allow_outside: bool) -> Manifest:
    """A manifest without its bad rows, which are counted."""
    import tempfile

    from memeblend.cli.output import messages
    from memeblend.data.manifest import Manifest

    with tempfile.TemporaryDirectory() as folder:
        rejected = Path(folder) / "rejected.csv"

        def tell(line: str) -> None:
            if str(rejected) in line:  # gone when this command ends
                line = f"{path}: {line.partition(';')[0]} (`memeblend doctor` says why)"
            messages.print(line, markup=False, soft_wrap=True)

        return Manifest.read(path, skip_bad=True, rejected_to=rejected, allow_outside=allow_outside, notify=tell)


def _sizes(path: Path, manifest: Manifest) -> list[Sizes]:
    """A manifest of several sets is a row by its file's name."""
    from memeblend.data.statistics import sizes_of

    several = len(set(manifest.table["source"].tolist())) > 1
    return sizes_of(manifest, path.stem if several or path.stem in COMPOSITE_NAMES else "")


def _show_prepared(made: Prepared) -> None:
    from rich.table import Table

    from memeblend.cli.output import results

    results.print(sizes_table(made.sizes))
    if not made.leaks:
        return
    table = Table("trains", "judges")
    for name in ("identical image", "near image", "same text", "same template"):
        table.add_column(name, justify="right")
    for leak in made.leaks:
        counts = (leak.identical, leak.near, leak.repeated_text, leak.templates)
        table.add_row(leak.training, leak.judging, *(f"{count:,}" for count in counts))
    results.print(table)
    done = "taken out" if made.excluded else "kept (--keep-leaks)"
    results.print(f"{made.num_leaking:,} meme(s) that train are also among those that judge: {done}", markup=False)


def sizes_table(sizes: Sequence[Sizes]) -> Table:
    """The paper's table 1, each number with what the paper says where it says something else."""
    from rich.markup import escape
    from rich.table import Table

    others = list(dict.fromkeys(name for size in sizes for name in size.counts if name not in _SPLITS))
    table = Table(title="Table 1: memes", title_justify="left")
    table.add_column("data set")
    for name in (*_SPLITS.values(), *others):
        table.add_column(escape(name), justify="right")
    table.add_column("the paper's size?")
    for size in sizes:
        cells = []
        for split in (*_SPLITS, *others):
            there = f"{size.counts[split]:,}" if size.counts.get(split) else "-"
            off = size.differences.get(split, 0)
            cells.append(f"{there} [dim](paper {size.paper[split]:,})[/]" if off else there)
        told = "not in the paper" if not size.paper else "yes" if size.whole else f"no, {_off(size)}"
        table.add_row(escape(size.title), *cells, told)
    return table


def _off(size: Sizes) -> str:
    here, paper = (sum(counts.get(split, 0) for split in size.paper) for counts in (size.counts, size.paper))
    return f"{here / paper:.1%} of it" if here != paper else "split otherwise"


def class_tables(classes: Sequence[ClassCounts]) -> list[Table]:
    """The paper's table 2, a table for each label task of each set."""
    from rich.markup import escape
    from rich.table import Table

    tables: dict[tuple[str, str], Table] = {}
    for found in classes:
        key = (found.name, found.label_task.name)
        if key not in tables:
            table = Table(title=escape(f"Table 2: {found.name}, {found.label_task.name}"), title_justify="left")
            table.add_column("split")
            for name in found.label_task.classes:
                table.add_column(escape(name), justify="right")
            tables[key] = table
        paper = found.paper or found.counts
        cells = [
            f"{count:,}" if count == there else f"{count:,} [dim](paper {there:,})[/]"
            for count, there in zip(found.counts, paper, strict=True)
        ]
        tables[key].add_row(escape(found.split), *cells)
    return list(tables.values())


def prepare(
    dataset: Annotated[
        str,
        typer.Argument(help=f"A data set ({', '.join(READER_NAMES)}) or a composite ({', '.join(COMPOSITE_NAMES)})."),
    ],
    raw: Annotated[
        list[Path],
        typer.Argument(
            metavar="RAW...",
            help="The data set's folder. Of a composite: those of its sets, or one that holds them by their names.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write: .parquet, .csv, .tsv or .jsonl.")],
    against: Annotated[
        list[Path],
        typer.Option("--against", help="A set whose memes judge and must not leak into a composite. May be repeated."),
    ] = [],  # noqa: B006 (Typer copies it)
    keep_leaks: Annotated[
        bool, typer.Option("--keep-leaks", help="Leave memes of a composite in that are also in a split that judges.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Drop bad rows and list them with reasons beside the manifest.")
    ] = False,
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Read a raw data set, or several as one of the paper's composites, and write its manifest."""
    request = PrepareRequest(dataset, raw, out, against, keep_leaks, skip_bad, allow_outside)
    guarded(lambda: run_prepare(request, json_output))


def stats(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="Tables or data-set folders.")],
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Print the paper's tables 1 and 2 (memes of each split, memes of each class) for what is there."""
    guarded(lambda: run_stats(manifests, allow_outside, json_output))
