"""The commands, each a few lines over a public function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from memeblend.cli.ensemble import ensemble_app
from memeblend.cli.guard import guarded
from memeblend.cli.ocr import ocr as ocr_command
from memeblend.cli.options import AddressOption, ColumnOption, JsonOption, OutsideOption, ReaderOption, WorkersOption
from memeblend.cli.policy import policy as policy_command
from memeblend.cli.precedents import precedents_app
from memeblend.cli.prepare import prepare, stats
from memeblend.cli.pretrain import pretrain
from memeblend.cli.push import push
from memeblend.cli.redteam import redteam
from memeblend.cli.reproduce import reproduce
from memeblend.cli.serve import serve
from memeblend.cli.translate import translate
from memeblend.cli.tune import tune

app = typer.Typer(
    name="memeblend",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, judge and use multi-modal meme classifiers: image and text in, a class for each label task out.",
)

app.add_typer(ensemble_app, name="ensemble")
app.add_typer(precedents_app, name="precedents")

DataArgument = Annotated[Path, typer.Argument(help="A table (.csv, .tsv, .jsonl, .parquet) or a data-set folder.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run; the same command goes on in it.")]


@app.command()
def demo(
    out: OutOption = Path("demo-run"),
    num_memes: Annotated[int, typer.Option("--num-memes", min=60, help="Memes to draw.")] = 1200,
    json_output: JsonOption = False,
) -> None:
    """Draw the embedded sample of synthetic memes, train on it, and show what multi-modal models are for."""
    from memeblend.cli.work import run_demo

    guarded(lambda: run_demo(out, num_memes, json_output))


@app.command()
def doctor(
    data: DataArgument,
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006 (Typer copies it)
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Examine a data set: counts, balance, duplicates, leaks between splits, constants' scores, a verdict."""
    from memeblend.cli.work import run_doctor

    guarded(lambda: run_doctor(data, reader, column, allow_outside, json_output))


@app.command()
def fit(
    data: DataArgument,
    out: OutOption,
    recipe: Annotated[str, typer.Option("--recipe", help="Name of a shipped recipe or a TOML file.")] = "tiny",
    settings: Annotated[
        list[str], typer.Option("--set", help="Override of the recipe: dotted.key=value. May be repeated.")
    ] = [],  # noqa: B006
    label_task: Annotated[
        list[str], typer.Option("--label-task", help="Train this label task only. May be repeated.")
    ] = [],  # noqa: B006
    budget_ms: Annotated[
        float, typer.Option("--budget-ms", min=0, help="Most milliseconds a meme for an ensemble; 0 sets no limit.")
    ] = 0,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Use a stratified part of so many memes; 0 uses all.")
    ] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Drop bad rows and list them with reasons in RUN/rejected.csv.")
    ] = False,
    num_workers: WorkersOption = 0,
    address: AddressOption = "",
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Train the recipe's candidates, choose an ensemble for each label task, write report and model."""
    from memeblend.cli.work import FitRequest, run_fit

    settings = [*settings, *([f"ensemble.budget_ms={budget_ms}"] if budget_ms else [])]
    request = FitRequest(
        data, out, recipe, settings, label_task, limit, skip_bad, reader, column, allow_outside, num_workers, address
    )
    guarded(lambda: run_fit(request, json_output))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    data: DataArgument,
    split: Annotated[
        str, typer.Option("--split", help='A split, or "all". Default: the split that reported in training.')
    ] = "",
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Score a model on labelled memes, beside baselines and intervals."""
    from memeblend.cli.work import run_evaluate

    guarded(lambda: run_evaluate(model, data, split, reader, column, allow_outside, json_output))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT...", help="Images, a folder, or a table.")
    ] = None,
    text: Annotated[list[str], typer.Option("--text", help="The text of each image, in order.")] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write to this .csv, .jsonl or .parquet file, or for any number of memes into this folder."
        ),
    ] = None,
    num_workers: WorkersOption = 0,
    address: AddressOption = "",
    piece_rows: Annotated[
        int, typer.Option("--piece-rows", min=1, help="Memes of a part file, where --out is a folder.")
    ] = 2000,
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006
    allow_outside: OutsideOption = False,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Say what this policy does about each meme (`memeblend policy`).")
    ] = None,
    ocr: Annotated[
        str, typer.Option("--ocr", help="Read memes that come without text: auto, none, rapidocr or tesseract.")
    ] = "auto",
    json_output: JsonOption = False,
) -> None:
    """Classify memes: class, probabilities and the members' votes for each label task."""
    from memeblend.cli.scale import ScoreRequest, is_for_folder, run_score
    from memeblend.cli.work import run_predict

    if is_for_folder(out, num_workers, address):
        request = ScoreRequest(
            model,
            inputs or [],
            text,
            out,
            num_workers,
            address,
            piece_rows,
            reader,
            column,
            allow_outside,
            policy,
            ocr,
        )
        guarded(lambda: run_score(request, json_output))
        return
    guarded(
        lambda: run_predict(model, inputs or [], text, out, reader, column, allow_outside, policy, ocr, json_output)
    )


app.command("ocr")(ocr_command)
app.command()(translate)
app.command()(prepare)
app.command()(stats)
app.command()(pretrain)
app.command()(reproduce)
app.command()(tune)
app.command()(push)
app.command()(policy_command)
app.command()(serve)
app.command()(redteam)


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    image: Annotated[Path | None, typer.Option("--image", help="The meme's image.")] = None,
    text: Annotated[str, typer.Option("--text", help="The words on it.")] = "",
    label_task: Annotated[str, typer.Option("--label-task", help="Explain this label task alone.")] = "",
    class_name: Annotated[str, typer.Option("--class", help="Explain this class, not the one decided for.")] = "",
    background: Annotated[
        Path | None, typer.Option("--background", help="Memes that stand in for what is taken away: a table or folder.")
    ] = None,
    num_background: Annotated[int, typer.Option("--num-background", min=1, help="Most memes of it.")] = 32,
    cheap: Annotated[bool, typer.Option("--cheap", help="Leave out integrated gradients (the extra explain).")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write a .html page or a .json file.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Show why a model decides on a meme as it does: words, patches, modalities, votes, precedents."""
    from memeblend.cli.explain import ExplainRequest, run_explain

    request = ExplainRequest(model, image, text, label_task, class_name, background, num_background, cheap, out)
    guarded(lambda: run_explain(request, json_output))


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the export; predict, evaluate and serve read it.")],
    format: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Keep weights as 8-bit integers; how far classes then agree is told.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Check with these memes, a table or folder, not with random ones.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Export a model to ONNX graphs that predict without torch, checked against the model."""
    from memeblend.cli.export import ExportRequest, run_export

    guarded(lambda: run_export(ExportRequest(model, out, format, int8, data), json_output))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run that has finished.")], json_output: JsonOption = False
) -> None:
    """Write a finished run's report anew from its prediction tables and show it."""
    from memeblend.cli.work import run_report

    guarded(lambda: run_report(run, json_output))


@app.command()
def regions(
    manifest: DataArgument,
    out: Annotated[Path, typer.Option("--out", help="The region file to write, NAME.npz; the same command goes on.")],
    engine: Annotated[
        str, typer.Option("--engine", help="grid (an image encoder's patch states) or detector (objects with tags).")
    ] = "grid",
    model: Annotated[
        str, typer.Option("--model", help="Folder or hub id of a CLIP or SigLIP (grid) or of an object detector.")
    ] = "",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 8,
    max_regions: Annotated[int, typer.Option("--max-regions", min=1, help="Most regions an image.")] = 50,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Least score of a detected object; grid has no scores.")
    ] = 0.2,
    json_output: JsonOption = False,
) -> None:
    """Write region features of a data set's images once, for the candidate kind oscar."""
    from memeblend.cli.regions import run_regions

    guarded(lambda: run_regions(manifest, engine, model, out, batch_size, max_regions, threshold, json_output))


@app.command()
def recipes(
    name: Annotated[str, typer.Argument(help="Print this recipe, resolved, as TOML.")] = "",
    json_output: JsonOption = False,
) -> None:
    """List the shipped recipes, or print one with every field."""
    from memeblend.cli.work import run_recipes

    guarded(lambda: run_recipes(name, json_output))


def main(args: list[str] | None = None) -> Any:
    """Entry point of the command `memeblend`."""
    # Threads that spin while they wait make torch many times slower as soon as another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return app(args=args, prog_name="memeblend")
