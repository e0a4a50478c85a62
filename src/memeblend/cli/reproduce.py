"""`memeblend reproduce`: a paper's tables from the raw data sets, beside the paper's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from memeblend.reproduce import Reproduction


def reproduce(
    name: Annotated[str, typer.Argument(metavar="PAPER", help="What to reproduce: memotion3.")],
    data: Annotated[
        Path, typer.Option("--data", help="Folder that holds a folder for each raw data set, named as its reader.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the same command goes on in it.")],
    encoder: Annotated[
        str, typer.Option("--encoder", help="Start from these encoders (folder or hub id) or from tiny.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Use a stratified part of so many memes of each set; 0 uses all.")
    ] = 0,
    settings: Annotated[
        list[str], typer.Option("--set", help="Override of the recipe: dotted.key=value. May be repeated.")
    ] = [],  # noqa: B006 (Typer copies it)
    recipe: Annotated[
        str, typer.Option("--recipe", help="Another recipe than the paper's, for example memotion3-as-released.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Prepare the paper's data sets, train all its stages, show its tables beside ours, and write the submission."""
    guarded(lambda: _run(name, data, out, encoder, limit, settings, recipe, json_output))


def _run(
    name: str,
    data: Path,
    out: Path,
    encoder: str,
    limit: int,
    settings: list[str],
    recipe: str,
    json_output: bool,
) -> None:
    from memeblend.cli.output import Bars, print_json, quiet_libraries
    from memeblend.reproduce import reproduce as carry_out

    with quiet_libraries(), Bars() as bars:
        found = carry_out(
            name, data, out, encoder=encoder, limit=limit, settings=settings, recipe=recipe, progress=bars
        )
    if json_output:
        print_json(found.to_dict())
    else:
        _show(found)


def _show(found: Reproduction) -> None:
    from memeblend.cli.output import results
    from memeblend.cli.prepare import class_tables, sizes_table

    results.print(sizes_table(found.sizes))
    for table in class_tables(found.classes):
        results.print(table)
    four = found.table_4
    chose, reports = "+".join(four["chose"]), "+".join(four["reports"])
    numbers = four["num_memes"]
    results.print(
        f"Table 4: weighted F1 on '{chose}' ({numbers['chose']} memes), which chose epochs and members as the paper's "
        f"did; beside it on '{reports}' ({numbers['reports']} memes), which chose nothing.",
        markup=False,
    )
    for name in four["best_constant"]:
        results.print(_scores(name, four, reports))
    results.print(_challenge(found.challenge, reports))
    note = found.submission["note"]
    if found.submission["zip"]:
        answers = f"submission: {found.submission['zip']} ({found.submission['num_memes']} memes, checked)"
        results.print(answers, markup=False, soft_wrap=True)
    if note:
        results.print(note, markup=False, soft_wrap=True)
    if found.limit:
        results.print(f"Of each set at most {found.limit} memes were used (--limit): no reproduction of the paper.")
    results.print(f"all of it: {found.run / 'reproduction.json'}\nreport: {found.run / 'report.html'}", soft_wrap=True)


def _scores(name: str, four: Any, reports: str) -> Table:
    """Table 4 of a label task: the paper's number, ours with its interval, the constants, and the memes apart."""
    from rich.markup import escape
    from rich.table import Table

    expected = four["expected"][name]
    told = "" if expected is None else f" (chosen ensemble: {expected:.4f} to expect)"
    table = Table(title=escape(f"Table 4: {name}{told}"), title_justify="left")
    table.add_column("model")
    for column in ("paper", "ours", "95 % interval", "best constant", escape(f"on {reports}")):
        table.add_column(column, justify="right")
    table.add_column("told from a constant?")
    for row in four["rows"]:
        cell = row["label_tasks"][name]
        if cell["ours"] is None:
            table.add_row(escape(row["title"]), f"{cell['paper']:.4f}", *["-"] * 5)
            continue
        low, high = cell["interval"]
        table.add_row(
            escape(row["title"]),
            f"{cell['paper']:.4f}",
            f"{cell['ours']:.4f}",
            f"[{low:.4f}, {high:.4f}]".replace("[", r"\["),
            f"{cell['best_constant']:.4f}",
            f"{cell['reports']:.4f}",
            "yes" if cell["told_from_constant"] else "no",
        )
    constant = four["best_constant"][name]
    ours = "-" if constant["ours"] is None else f"{constant['ours']:.4f}"
    table.add_row("best constant", f"{constant['paper']:.4f}", ours, "", "", "", "", style="dim")
    return table


def _challenge(challenge: Any, reports: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="The challenge's tasks: weighted F1 of the chosen ensembles", title_justify="left")
    for name in ("task", "paper, on test", "rank", "ours, on test", escape(f"on {reports}")):
        table.add_column(name, justify="left" if name == "task" else "right")
    for task, found in challenge.items():
        ours, apart = (f"{value:.4f}" if value is not None else "-" for value in (found["ours"], found["reports"]))
        table.add_row(task, f"{found['paper']:.4f}", str(found["rank"]), ours, apart)
    return table
