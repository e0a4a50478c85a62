"""`memeblend export`: a model as ONNX graphs, which predict without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memeblend.errors import MemeblendError

FORMATS = ("onnx",)


@dataclass(frozen=True)
class ExportRequest:
    """Options of `memeblend export`.

    Attributes:
        model: a model folder or a run.
        out: folder of the export.
        format: one of `FORMATS`.
        int8: whether weights become 8-bit integers.
        data: memes to check the export with; None takes random ones.
    """

    model: Path
    out: Path
    format: str = "onnx"
    int8: bool = False
    data: Path | None = None


def run_export(request: ExportRequest, json_output: bool) -> None:
    """`memeblend export`.

    Raises:
        MemeblendError: no such format; see `export_onnx` for more.
        DataError: the memes to check with can't be read.
    """
    if request.format not in FORMATS:
        raise MemeblendError(f"There is no format '{request.format}'; expected {', '.join(FORMATS)}.")
    from memeblend.cli.output import Bars, print_json, quiet_libraries
    from memeblend.cli.reading import read_inputs
    from memeblend.onnx_engine.exporting import export_onnx

    memes = None if request.data is None else read_inputs([request.data], [])
    with quiet_libraries(), Bars() as bars:
        found = export_onnx(request.model, request.out, int8=request.int8, memes=memes, progress=bars)
    if json_output:
        print_json(found | {"out": str(request.out)})
    else:
        _show(found, request.out)


def _show(found: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    from memeblend.cli.output import results

    check = found["check"]
    int8 = check.get("int8")
    table = Table("member", "largest difference", "same classes")
    for name, of_member in (int8 or check)["members"].items():
        table.add_row(name, f"{of_member['largest_difference']:.1e}", f"{of_member['agreement']:.1%}")
    memes = f"{check['num_memes']} {check['memes']} memes"
    if int8 is not None:
        results.print(
            f"In full precision the export says what the model says on {memes} (largest difference "
            f"{check['largest_difference']:.1e}). With 8-bit weights {int8['agreement']:.1%} of the ensembles' classes "
            f"agree and probabilities differ by up to {int8['largest_difference']:.1e}:",
            markup=False,
        )
    else:
        results.print(f"The export says what the model says on {memes}:", markup=False)
    results.print(table)
    results.print(f"Wrote {found['num_bytes'] / 1e6:.1f} MB of graphs to {out}", soft_wrap=True, markup=False)
