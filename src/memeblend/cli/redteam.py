"""`memeblend redteam`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import ColumnOption, JsonOption, OutsideOption, ReaderOption
from memeblend.errors import MemeblendError

if TYPE_CHECKING:
    from memeblend.labels import LabelTask
    from memeblend.policy import Policy
    from memeblend.redteam import RedTeamReport

_SHOWN_CHECKS = 10


@dataclass(frozen=True)
class RedTeamRequest:
    """Options of `memeblend redteam`.

    Attributes:
        model: a model folder or a run.
        data: memes, best labelled ones.
        split: a split, or "all"; "" takes the split that reported in training.
        limit: most memes; 0 takes all.
        budget: a policy file with a table [redteam].
        out: folder for report.json, report.md and report.html.
        seed: of all draws.
        severities: severities, joined by commas.
        only: perturbations, joined by commas; "" tries all.
        reader: layout of a data-set folder.
        column: which column is which.
        allow_outside: whether image paths may leave the data's folder.
    """

    model: Path
    data: Path
    split: str = ""
    limit: int = 500
    budget: Path | None = None
    out: Path | None = None
    seed: int = 0
    severities: str = "1,2,3"
    only: str = ""
    reader: str = ""
    column: Sequence[str] = ()
    allow_outside: bool = False


def run_redteam(request: RedTeamRequest, json_output: bool) -> None:
    """`memeblend redteam`.

    Raises:
        typer.Exit: with code 1 where a limit of the budget was failed.
        MemeblendError: options, budget or memes that can't be.
    """
    from memeblend.cli.output import Bars, messages, print_json, quiet_libraries
    from memeblend.cli.reading import load_model, read_memes
    from memeblend.redteam import Settings, choose_memes, red_team

    only = tuple(name.strip() for name in request.only.split(",") if name.strip())
    settings = Settings(_numbers(request.severities), only, request.seed)
    model = load_model(request.model)
    policy = None if request.budget is None else _policy(request.budget, model.label_tasks_)
    memes = read_memes(request.data, request.reader, request.column, request.allow_outside, model.label_tasks_)
    chosen = choose_memes(model, memes, request.split, request.limit, request.seed)
    if request.limit and len(chosen) >= request.limit:
        messages.print(f"Taking {len(chosen)} memes, a stratified part; --limit 0 takes all.")
    with quiet_libraries(), Bars() as bars:
        report = red_team(model, chosen, settings, policy, progress=bars)
    if request.out is not None:
        report.write(request.out)
    if json_output:
        print_json(report.to_dict())
    else:
        _show(report, request.out)
    if report.judgement is not None:
        sys.stderr.write(_verdict(report) + "\n")
    if not report.passed:
        raise typer.Exit(1)


def _numbers(severities: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in severities.split(",") if part.strip())
    except ValueError:
        raise MemeblendError(f"Expected --severities like 1,3, found '{severities}'.") from None


def _policy(path: Path, label_tasks: Sequence[LabelTask]) -> Policy:
    """The policy with the budget.

    Raises:
        PolicyError: it can't be used.
        MemeblendError: it has no budget.
    """
    from memeblend.policy import Policy

    policy = Policy.read(path, label_tasks)
    if policy.redteam is None:
        raise MemeblendError(
            f"'{path}' has no budget for a red team.", fix="Write, for example:\n[redteam]\nmax_flip_rate = 0.1"
        )
    return policy


def _verdict(report: RedTeamReport) -> str:
    """How the budget ended, with the checks that failed."""
    judgement = report.judgement
    assert judgement is not None, "asked for with a budget alone"
    failed = [check for check in judgement.checks if check.verdict == "fail"]
    unsure = judgement.number("unsure")
    unmeasured = sum(check.value is None for check in judgement.checks)
    of_these = f" ({unmeasured} of them: nothing was measured)" if unmeasured else ""
    head = {
        "pass": "The budget is kept.",
        "unsure": f"No limit of the budget is exceeded for sure; {unsure} check(s) can't be told with these "
        f"memes{of_these}.",
        "fail": f"The budget is not kept: {len(failed)} limit(s) exceeded"
        + (f", {unsure} can't be told{of_these}, which fails too (strict)." if judgement.strict and unsure else "."),
    }[judgement.verdict]
    lines = [
        f"  - {check.what} of {check.where}, {check.label_task}: {check.value:.3f} "
        f"[{check.interval[0]:.3f}, {check.interval[1]:.3f}], allowed {check.limit:g}"
        for check in failed[:_SHOWN_CHECKS]
    ]
    if len(failed) > _SHOWN_CHECKS:
        lines.append(f"  ... and {len(failed) - _SHOWN_CHECKS} more")
    return "\n".join([head, *lines])


def _show(report: RedTeamReport, out: Path | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from memeblend.cli.output import messages, results

    about = report.about
    if about["num_seen"]:
        messages.print(f"{about['num_seen']} of these memes trained the model or chose its members.")
    results.print(f"{about['num_memes']} memes; share of decisions that flip, and change of weighted F1", markup=False)
    table = Table("cell", "changed", *(escape(name) for name in about["label_tasks"]))
    for cell in report.cells:
        if cell.why_not:
            table.add_row(cell.cell.name, f"[dim]{cell.why_not}[/]")
            continue
        shown = []
        for name in about["label_tasks"]:
            found = cell.label_tasks[name]
            scored = found.scores.get("weighted_f1")
            change = f" {scored.change.difference:+.3f}" if scored else ""
            shown.append(f"{found.flips.value:.1%}{change}")
        table.add_row(cell.cell.name, str(cell.num_changed), *shown)
    results.print(table)
    for name, groupings in report.names.label_tasks.items() if report.names else ():
        for by, grouping in groupings.items():
            gap = grouping.gap
            results.print(
                f"names, {name} by {by}: largest gap {gap.value:.3f} [{gap.interval[0]:.3f}, {gap.interval[1]:.3f}], "
                f"{gap.highest} over {gap.lowest}; by chance up to {gap.by_chance:.3f}",
                markup=False,
                soft_wrap=True,
            )
    if out is not None:
        results.print(f"written: {out / 'report.html'}", markup=False, soft_wrap=True)


def redteam(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    data: Annotated[Path, typer.Argument(help="A table (.csv, .tsv, .jsonl, .parquet) or a data-set folder.")],
    split: Annotated[
        str, typer.Option("--split", help='A split, or "all". Default: the split that reported in training.')
    ] = RedTeamRequest.split,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Try a stratified part of so many memes; 0 tries all.")
    ] = RedTeamRequest.limit,
    budget: Annotated[
        Path | None, typer.Option("--budget", help="A policy file with a table [redteam]; exit code 1 if exceeded.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json, .md and .html.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all draws.")] = RedTeamRequest.seed,
    severities: Annotated[str, typer.Option("--severities", help="Of 1 to 3.")] = RedTeamRequest.severities,
    only: Annotated[
        str, typer.Option("--only", help="Perturbations to try, for example leetspeak,jpeg,names.")
    ] = RedTeamRequest.only,
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006 (Typer copies it)
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Change memes as OCR, misspellers, attackers and re-uploads do, and show which decisions flip."""
    request = RedTeamRequest(
        model, data, split, limit, budget, out, seed, severities, only, reader, column, allow_outside
    )
    guarded(lambda: run_redteam(request, json_output))
