"""`memeblend ensemble`: look at a run's ensembles, choose them anew, take in candidates from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from memeblend.cli.guard import guarded
from memeblend.cli.options import JsonOption
from memeblend.cli.output import Bars, messages, print_json, quiet_libraries, results

ensemble_app = typer.Typer(
    no_args_is_help=True, help="A finished run's ensembles: show, choose anew, add a candidate. Nothing is trained."
)
RunArgument = Annotated[Path, typer.Argument(help="A run that has finished.")]


@ensemble_app.command()
def show(run: RunArgument, json_output: JsonOption = False) -> None:
    """Show the chosen members, the score that chose them and the score to expect of them."""

    def work() -> None:
        from memeblend.run import Run

        with quiet_libraries():
            found = _facts(Run.load(run))
        _show(found, json_output)

    guarded(work)


@ensemble_app.command()
def search(
    run: RunArgument,
    objective: Annotated[str, typer.Option("--objective", help="weighted_f1, macro_f1, accuracy, ...")] = "",
    method: Annotated[str, typer.Option("--method", help="exhaustive, greedy, top_k, best_single or all.")] = "",
    voting: Annotated[str, typer.Option("--voting", help="majority, soft, weighted or rank.")] = "",
    rule: Annotated[str, typer.Option("--rule", help="maximum or one_standard_error.")] = "",
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", help="Most milliseconds a meme, as measured; 0 sets no limit.")
    ] = None,
    shared: Annotated[
        bool | None, typer.Option("--shared/--per-label-task", help="One member list for all label tasks, or one each.")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="Override of the recipe: dotted.key=value. May be repeated.")
    ] = [],  # noqa: B006 (Typer copies it)
    json_output: JsonOption = False,
) -> None:
    """Choose the members anew from the prediction tables, and write report and model with them."""
    given: dict[str, Any] = {
        "objective": objective,
        "method": method,
        "voting": voting,
        "rule": rule,
        "budget_ms": budget_ms,
        "shared": shared,
    }
    overrides = [f"ensemble.{key}={json.dumps(value)}" for key, value in given.items() if value not in ("", None)]

    def chosen_again(bars: Bars) -> Any:
        from memeblend.run import choose_again

        return choose_again(run, [*overrides, *settings], bars)

    guarded(lambda: _rejudged(chosen_again, json_output))


@ensemble_app.command()
def add(
    run: RunArgument,
    predictions: Annotated[
        Path, typer.Argument(help="A table with meme_id and probability_CLASS or LABELTASK_p_CLASS columns.")
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the candidate. Default: the file's.")] = "",
    label_task: Annotated[str, typer.Option("--label-task", help="Label task of probability_CLASS columns.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Take anyone's probabilities in as a candidate, choose the members anew, and write report and model."""

    def with_theirs(bars: Bars) -> Any:
        from memeblend.run import add_outside

        return add_outside(run, predictions, name or predictions.stem, label_task, bars.say, bars)

    guarded(lambda: _rejudged(with_theirs, json_output))


def _rejudged(chosen: Callable[[Bars], Any], json_output: bool) -> None:
    from memeblend.model import MemeClassifier

    with quiet_libraries(), Bars() as bars:
        run = chosen(bars)
        MemeClassifier.from_run(run, progress=bars)
    _show(_facts(run), json_output)
    if not json_output:
        results.print(f"report: {run.folder / 'report.html'}\nmodel:  {run.folder / 'model'}", soft_wrap=True)


def _facts(run: Any) -> dict[str, Any]:
    """A run's choices as plain JSON types."""
    ensembles = {}
    for task, choice in run.chosen.ensembles.items():
        expected = run.chosen.expected[task]
        known = [run.costs[name].milliseconds for name in choice.members if name in run.costs]
        ensembles[task] = choice.to_dict() | {
            "expected": expected,
            "milliseconds": round(sum(known), 3) if len(known) == len(choice.members) else None,
        }
    pools = {
        name: {task: choice.to_dict() for task, choice in choices.items()} for name, choices in run.chosen.pools.items()
    }
    return {
        "run": str(run.folder),
        "candidates": list(run.tables),
        "outside": list(run.outside),
        "ensembles": ensembles,
        "pools": pools,
    }


def _show(found: dict[str, Any], json_output: bool) -> None:
    if json_output:
        print_json(found)
        return
    for task, one in found["ensembles"].items():
        where, expected = ", ".join(one["selected_on"]), one["expected"]
        ways = f"{one['method']}, {one['voting']} vote, {one['rule'].replace('_', ' ')}"
        results.print(f"\n[bold]{escape(task)}[/]: {escape(', '.join(one['members']))}")
        results.print(f"  {ways}; {one['num_subsets']:,} tried on '{where}', {one['num_memes']} memes", markup=False)
        if one["milliseconds"] is not None:
            results.print(f"  {one['milliseconds']:.2f} ms a meme, as measured in the run", markup=False)
        results.print(_expected_table(one["objective"], expected))
        chosen_share = expected["chosen"]["chosen_share"]
        shares = sorted(((share, name) for name, share in chosen_share.items() if share), reverse=True)
        often = ", ".join(f"{name} {share:.0%}" for share, name in shares)
        results.print(f"  chosen when memes are left out: {often}", markup=False)
        if expected["chosen"]["note"]:
            messages.print(f"  {expected['chosen']['note']}", markup=False)
    for pool, choices in found["pools"].items():
        results.print(f"\n[bold]{escape(pool)}[/]")
        for task, choice in choices.items():
            results.print(f"  {task}: {', '.join(choice['members'])} ({choice['score']:.3f})", markup=False)


def _expected_table(objective: str, expected: dict[str, Any]) -> Table:
    """A row for each way to choose: its score where it chose, and the score to expect of it."""
    table = Table(box=None, pad_edge=True)
    for name in ("way to choose", f"{objective} where it chose", "to expect", "95 % interval", "optimism"):
        table.add_column(name, justify="left" if name == "way to choose" else "right")
    for name, one in expected.items():
        if name == "gain":
            continue
        known = one["expected"] is not None
        table.add_row(
            name,
            f"{one['selected_on']:.3f}",
            f"{one['expected']:.3f}" if known else "-",
            f"[{one['interval'][0]:.3f}, {one['interval'][1]:.3f}]" if known else "-",
            f"{one['optimism']:+.3f}" if known else "-",
        )
    return table
