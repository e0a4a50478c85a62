"""`memeblend tune`: fields of a recipe searched, the best becoming candidates or a stage's values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import AddressOption, ColumnOption, JsonOption, OutsideOption, ReaderOption

if TYPE_CHECKING:
    from rich.table import Table

    from memeblend.tuning import Found, Trial, TuneSettings

_SHOWN = 12
_OWN = re.compile(r"^(pretraining\.[^.]+\.)?(candidates\.[^.]+\.)?")  # what the fields of one stage begin with


@dataclass(frozen=True)
class _Request:
    """Options of `tune`, as the command line has them."""

    data: Path
    out: Path
    recipe: str
    settings: Sequence[str]
    space: Sequence[str]
    same: Mapping[str, Any]
    how: TuneSettings
    reader: str
    column: Sequence[str]
    allow_outside: bool


def tune(
    data: Annotated[Path, typer.Argument(help="A table (.csv, .tsv, .jsonl, .parquet) or a data-set folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; `fit` with what was found goes on in it.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Name of a shipped recipe or a TOML file.")] = "tiny",
    settings: Annotated[
        list[str], typer.Option("--set", help="Override of the recipe: dotted.key=value. May be repeated.")
    ] = [],  # noqa: B006 (Typer copies it)
    search: Annotated[
        list[str],
        typer.Option(
            "--search",
            help="A field to search in place of the recipe's, such as "
            "candidates.fusion.training.learning_rate={loguniform=[1e-5,1e-2]} or "
            "pretraining.NAME.settings.learning_rate={loguniform=[1e-5,1e-3]}. May be repeated.",
        ),
    ] = [],  # noqa: B006
    stage: Annotated[
        str,
        typer.Option(
            "--stage",
            help="Search this stage alone: a candidate such as fusion; pretraining.NAME; pretraining.NAME.text for a "
            "candidate of a pre-training stage; candidates or pretraining for all of these; otherwise all that have "
            "fields.",
        ),
    ] = "",
    num_trials: Annotated[
        int | None, typer.Option("--num-trials", min=1, help="Trials of each stage; otherwise the recipe's.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            help="What to make best: weighted_f1, macro_f1 or accuracy; of a contrastive stage loss, which is made "
            "least, or a recall such as image_recall@10. Otherwise the recipe's.",
        ),
    ] = "",
    sampler: Annotated[str, typer.Option("--sampler", help="tpe or random; otherwise the recipe's.")] = "",
    scheduler: Annotated[str, typer.Option("--scheduler", help="asha or none; otherwise the recipe's.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the folder.")] = False,
    num_workers: Annotated[
        int, typer.Option("--num-workers", min=0, help="Trials at a time, on Ray; 0 makes them here, one by one.")
    ] = 0,
    address: AddressOption = "",
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Search fields of a recipe's candidates and pre-training stages.

    The best two trials of a candidate become its copies "0" and "1"; a pre-training stage gets the best trial's values.
    """
    from memeblend.tuning import TuneSettings

    given = {"num_trials": num_trials, "sampler": sampler, "scheduler": scheduler}
    how = TuneSettings(stage, resume, num_workers, address, metric)
    same = {name: value for name, value in given.items() if value}
    request = _Request(data, out, recipe, settings, search, same, how, reader, column, allow_outside)
    guarded(lambda: _run(request, json_output))


def _run(request: _Request, json_output: bool) -> None:
    from memeblend.cli.output import Bars, messages, print_json, quiet_libraries
    from memeblend.cli.reading import columns_of
    from memeblend.data.cache import default_cache_dir
    from memeblend.recipe import load_recipe
    from memeblend.run import read_labelled
    from memeblend.tuning import tune as carry_out

    same = [f"search.{name}={value}" for name, value in request.same.items()]
    recipe = load_recipe(request.recipe, [*request.settings, *same, *_space(request.space)])
    recipe = recipe.model_copy(update={"search": recipe.search.alike(request.same)})  # the command line goes before
    manifest = read_labelled(
        request.data,
        recipe,
        reader=request.reader or None,
        columns=columns_of(request.column),
        allow_outside=request.allow_outside,
        notify=lambda line: messages.print(line, markup=False, soft_wrap=True),
    )
    with quiet_libraries(), Bars() as bars, _LiveTable(bars) as table:
        found = carry_out(
            manifest, recipe, request.out, request.how, cache_dir=default_cache_dir(), progress=bars, watch=table
        )
    if json_output:
        print_json(_plain(found))
    else:
        _show(found, request)


def _space(fields: Sequence[str]) -> list[str]:
    """The setting that makes these the recipe's search space."""
    from memeblend.errors import RecipeError

    pairs = [field.partition("=") for field in fields]
    wrong = [
        field for field, (key, _, space) in zip(fields, pairs, strict=True) if not key.strip() or not space.strip()
    ]
    if wrong:
        raise RecipeError(
            f"--search {wrong[0]} is not of the form FIELD=SPACE.",
            fix="Write it like candidates.fusion.training.learning_rate={loguniform=[1e-5,1e-2]}",
        )
    entries = ", ".join(f"{json.dumps(key.strip())} = {space.strip()}" for key, _, space in pairs)
    return [f"search.space={{{entries}}}"] if fields else []


class _LiveTable:
    """The trials of a stage, drawn anew as they change; a line for each that ends where nobody looks on."""

    def __init__(self, bars: Any) -> None:
        from rich.live import Live

        from memeblend.cli.output import messages

        self._bars = bars
        self._console = messages
        self._live: Live | None = None
        self._stage = ""
        self._told: set[int] = set()

    def __enter__(self) -> _LiveTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def trials(self, stage: str, trials: Sequence[Trial], total: int) -> None:
        """The trials of a stage so far, whenever one of them has changed."""
        from rich.live import Live

        if stage != self._stage:
            self._stop()
            self._bars.pause()
            self._stage, self._told = stage, set()
        over = len(trials) == total and all(trial.state != "running" for trial in trials)
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4)
                self._live.start()
            self._live.update(_table(stage, trials, total), refresh=over)
            if over:
                self._stop()
            return
        for trial in trials:
            if trial.state != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                self._console.print(
                    f"{stage} trial {trial.number + 1}/{total}: {_outcome(trial)} ({_values(trial)})",
                    markup=False,
                    soft_wrap=True,
                )


def _table(stage: str, trials: Sequence[Trial], total: int, adopted: Sequence[Trial] = ()) -> Table:
    """The trials under way and the last and best ones of a stage."""
    from rich.markup import escape
    from rich.table import Table

    from memeblend.recipe.search import PAIR_METRICS
    from memeblend.tuning import called

    metric = next((one.metric for one in trials if one.metric), "score")
    judged = "held-back pairs" if metric in PAIR_METRICS else "select"
    table = Table(
        title=f"{stage}: {sum(one.state != 'running' for one in trials)} of {total} trials", title_justify="left"
    )
    for name in ("trial", "values", "epochs", f"{metric} on {judged}", "outcome", "seconds"):
        table.add_column(name, justify="left" if name in ("values", "outcome") else "right")
    best = max((one.merit for one in trials if one.merit is not None), default=None)
    places = {one.number: called(stage, place) for place, one in enumerate(adopted)}
    shown = (
        trials
        if len(trials) <= _SHOWN
        else [
            one for one in trials if one.state == "running" or one.merit == best or one.number >= len(trials) - _SHOWN
        ]
    )
    for trial in shown:
        latest = (
            trial.value
            if trial.value is not None
            else max((curve[-1] for curve in trial.curves.values() if curve), default=None)
        )
        style = (
            "bold" if trial.merit is not None and trial.merit == best else "dim" if trial.state == "failed" else None
        )
        what = trial.error.splitlines()[0] if trial.error else trial.state
        table.add_row(
            str(trial.number),
            escape(_values(trial)),
            str(trial.num_epochs or ""),
            "" if latest is None else f"{latest:.4f}",
            escape(", ".join(filter(None, [what, _became(places.get(trial.number, ""))]))),
            f"{trial.seconds:.0f}" if trial.seconds else "",
            style=style,
        )
    return table


def _became(place: str) -> str:
    return place if place.startswith("second best") else f"becomes {place}" if place else ""


def _values(trial: Trial) -> str:
    return ", ".join(f"{_OWN.sub('', key)}={_short(value)}" for key, value in trial.values.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)


def _outcome(trial: Trial) -> str:
    if trial.error:
        return f"{trial.state}: {trial.error.splitlines()[0]}"
    return f"{trial.state}, {trial.value:.4f} after {trial.num_epochs} epochs, {trial.seconds:.0f} s"


def _plain(found: Found) -> dict[str, Any]:
    from dataclasses import asdict

    from memeblend.tuning import called

    return {
        "recipe": str(found.path),
        "trials": {stage: [asdict(trial) for trial in trials] for stage, trials in found.trials.items()},
        "candidates": {
            called(stage, place): trial.number
            for stage, trials in found.adopted.items()
            for place, trial in enumerate(trials)
        },
    }


def _show(found: Found, request: _Request) -> None:
    from memeblend.cli.output import results

    for stage, trials in found.trials.items():
        results.print(_table(stage, trials, len(trials), found.adopted[stage]))
    results.print(
        f"recipe: {found.path}  (memeblend fit {request.data} --recipe {found.path} --out {request.out})",
        markup=False,
        soft_wrap=True,
    )
