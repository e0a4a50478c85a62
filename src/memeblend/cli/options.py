"""Options that several commands take, said once."""

from __future__ import annotations

from typing import Annotated

import typer

from memeblend.data.sets import READER_NAMES

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
ReaderOption = Annotated[str, typer.Option("--reader", help=f"Layout of a data-set folder: {', '.join(READER_NAMES)}.")]
ColumnOption = Annotated[
    list[str], typer.Option("--column", help="Which column is which, for example image=img_file. May be repeated.")
]
OutsideOption = Annotated[bool, typer.Option("--allow-outside", help="Let image paths leave the folder of the data.")]
WorkersOption = Annotated[
    int, typer.Option("--num-workers", min=0, help="Processes of Ray that work (extra ray); 0 works in this one.")
]
AddressOption = Annotated[
    str, typer.Option("--address", help="A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT.")
]
