"""`memeblend pretrain`: an encoder pre-trained on pairs of image and text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import AddressOption, JsonOption, OutsideOption, ReaderOption, WorkersOption


def pretrain(
    data: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="Tables or data-set folders with images and texts.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the encoder; the same command goes on in it.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help='Start from this folder or hub id of a CLIP, SigLIP or dual encoder, or from "pair".'
        ),
    ] = "",
    recipe: Annotated[Path | None, typer.Option("--recipe", help="TOML file with settings.")] = None,
    settings: Annotated[list[str], typer.Option("--set", help="One setting: dotted.key=value. May be repeated.")] = [],  # noqa: B006 (Typer copies it)
    reader: ReaderOption = "",
    num_workers: WorkersOption = 0,
    address: AddressOption = "",
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Pre-train an encoder on pairs of image and text, for `fit --set encoder.source=ENCODER`."""
    if source:
        settings = [*settings, f"encoder.source={json.dumps(source)}"]
    guarded(lambda: _run(data, out, recipe, settings, reader, num_workers, address, allow_outside, json_output))


def _run(
    data: Sequence[Path],
    out: Path,
    recipe: Path | None,
    settings: Sequence[str],
    reader: str,
    num_workers: int,
    address: str,
    allow_outside: bool,
    json_output: bool,
) -> None:
    from memeblend.cli.output import Bars, messages, print_json, quiet_libraries
    from memeblend.data.manifest import Manifest
    from memeblend.recipe import load_pretraining

    chosen = load_pretraining(recipe, settings)
    messages.print("Reading the memes ...")
    listed = out.parent / f"{out.name}-skipped"
    manifests = [
        Manifest.read(
            path,
            reader=reader or None,
            label_tasks=None,
            skip_bad=True,
            rejected_to=listed / f"{number}-{path.stem}.csv",
            allow_outside=allow_outside,
            notify=lambda line: messages.print(line, markup=False, soft_wrap=True),
        )
        for number, path in enumerate(data)
    ]
    from memeblend.cli.scale import carry_out_pretraining

    with quiet_libraries(), Bars() as bars:
        facts = carry_out_pretraining(manifests, out, chosen, num_workers, address, bars)
    if json_output:
        print_json(facts | {"encoder_folder": str(out)})
    else:
        _show(facts, out)


def _show(facts: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    from memeblend.cli.output import results

    data, held_back = facts["data"], facts["held_back"]
    results.print(
        f"{data['num_fit']:,} pairs with {data['num_images']:,} distinct images; {data['num_held_back']:,} pairs "
        f"held back ({held_back['num_texts']:,} texts, {held_back['num_images']:,} images)",
        soft_wrap=True,
    )
    for reason, count in data["skipped"].items():
        results.print(f"left out, {reason}: {count:,}", markup=False)
    if facts["steps_without_negatives"]:
        results.print(f"steps with nothing to tell apart: {facts['steps_without_negatives']:,}")
    table = Table("on held-back pairs", "chance", "before", "after")
    for name in held_back["after"]:
        values = [held_back[when].get(name) for when in ("chance", "before", "after")]
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values))
    results.print(table)
    results.print(
        f"encoder: {out}  (memeblend fit DATA --out RUN --set encoder.source={out})", markup=False, soft_wrap=True
    )
