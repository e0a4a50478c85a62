"""`memeblend translate`: texts of memes to another language and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.options import ColumnOption, JsonOption, OutsideOption, ReaderOption

if TYPE_CHECKING:
    from memeblend.data.manifest import Manifest
    from memeblend.data.sqlite_cache import SqliteCache
    from memeblend.translation import Engine, Hop, TranslatedMemes

_SHOWN = 5
_T = TypeVar("_T")


@dataclass(frozen=True)
class TranslateRequest:
    """Options of `memeblend translate`; None is an option that was not given.

    Attributes:
        data: a table or data-set folder.
        out: the table to write.
        engine: `identity`, `translators` or `hf`.
        chain: languages in order, separated by commas.
        source: language of the texts.
        models: of `hf`, one for each language of the chain.
        num_beams, batch_size: of `hf`.
        service: of `translators`.
        per_second, retries, timeout_s: of `translators`.
        stop_after: requests that fail in a row until all is given up.
        reader, column, allow_outside: how a table or data set is read.
    """

    data: Path
    out: Path
    engine: str
    chain: str = "hi,en"
    source: str = "auto"
    models: Sequence[str] = ()
    num_beams: int | None = None
    batch_size: int | None = None
    service: str | None = None
    per_second: float | None = None
    retries: int | None = None
    timeout_s: float | None = None
    stop_after: int = 5
    reader: str = ""
    column: Sequence[str] = ()
    allow_outside: bool = False

    @property
    def languages(self) -> list[str]:
        """The chain's languages."""
        return [language.strip() for language in self.chain.split(",")]


def run_translate(request: TranslateRequest, json_output: bool) -> None:
    """`memeblend translate`.

    Raises:
        DataError: the data can't be read, or options don't go together.
        MissingExtraError: the engine is not installed.
        ModelError: a model can't be loaded.
        TranslationError: too many requests failed in a row, or a language is unknown.
        OutputError: the cache or `out` can't be written.
    """
    from memeblend.cli.output import Bars, messages, print_json, quiet_libraries
    from memeblend.cli.reading import columns_of, read_memes
    from memeblend.data.storage import SUFFIXES
    from memeblend.errors import DataError
    from memeblend.translation import Pace, Translator, translate_memes
    from memeblend.translation.memes import raw_columns
    from memeblend.translation.translator import check_chain

    if request.out.suffix.lower() not in SUFFIXES:
        raise DataError(f"'{request.out}' should end in {', '.join(SUFFIXES)}; its suffix says how it is written.")
    check_chain(request.source, request.languages)
    _check_options(request)
    columns = raw_columns(request.data, columns_of(request.column))
    column = [f"{name}={chosen}" for name, chosen in columns.items()]
    manifest = read_memes(request.data, request.reader, column, request.allow_outside, ())
    with quiet_libraries(transformers=request.engine == "hf"):
        engine = _engine(request)
        pace = (
            Pace(_or(request.per_second, 2.0), _or(request.retries, 4)) if request.engine == "translators" else Pace()
        )
        with Bars() as bars, _cache(request.engine) as cache:
            begun: set[Hop] = set()

            def advance(hop: Hop, num_done: int, num_all: int, note: str) -> None:
                if hop not in begun:
                    begun.add(hop)
                    bars.start(f"{num_all} text(s) {hop}, {_named(engine)}", num_all)
                bars.advance(num_done, note or "none failed")

            translator = Translator(engine, request.languages, request.source, cache, pace, request.stop_after)
            made = translate_memes(manifest, translator, advance)
    listed = made.write(request.out)
    if json_output:
        print_json(_as_json(made, request, listed))
    else:
        _show(made, manifest)
    messages.print(f"Wrote {len(made.manifest)} row(s) to {request.out}", soft_wrap=True, markup=False)
    if manifest.has_images and request.out.suffix.lower() != ".parquet" and not _is_below(manifest.root, request.out):
        messages.print(f"Images lie outside the folder of {request.out.name}, so it is read with --allow-outside.")
    _tell_failed(made, listed)


def _check_options(request: TranslateRequest) -> None:
    """Refuse options that the engine has no use for, and a number of models that does not fit the chain."""
    from memeblend.errors import DataError
    from memeblend.translation import ENGINES

    if request.engine not in ENGINES:
        raise DataError(f"There is no engine '{request.engine}'.", fix=f"Engines are {', '.join(ENGINES)}.")
    of_engine: dict[str, dict[str, object]] = {
        "hf": {"--model": request.models or None, "--beams": request.num_beams, "--batch-size": request.batch_size},
        "translators": {
            "--service": request.service,
            "--per-second": request.per_second,
            "--retries": request.retries,
            "--timeout": request.timeout_s,
        },
    }
    for engine, options in of_engine.items():
        useless = [name for name, value in options.items() if value is not None]
        if engine != request.engine and useless:
            raise DataError(
                f"{', '.join(useless)} belongs to --engine {engine}; --engine {request.engine} has no use for it.",
                fix="Leave it out.",
            )
    hops = len(request.languages)
    if request.engine == "hf" and len(request.models) != hops:
        raise DataError(
            f"The chain {request.chain} needs {hops} model(s), found {len(request.models)}.",
            fix="Give a --model for each of its languages, in order; one that knows several may be named again.",
        )


def _engine(request: TranslateRequest) -> Engine:
    from memeblend.cli.output import messages

    match request.engine:
        case "hf":
            from memeblend.translation.seq2seq import Seq2SeqEngine

            messages.print(f"Loading {', '.join(dict.fromkeys(request.models))} ...", soft_wrap=True, markup=False)
            return Seq2SeqEngine.load(
                request.models, batch_size=_or(request.batch_size, 16), num_beams=_or(request.num_beams, 4)
            )
        case "translators":
            from memeblend.translation.services import ServiceEngine

            return ServiceEngine(request.service or "google", _or(request.timeout_s, 30.0))
        case _:
            from memeblend.translation.engines import IdentityEngine

            return IdentityEngine()


def _cache(engine: str) -> Any:
    """The cache, closed afterwards; what costs nothing needs none."""
    from memeblend.cli.reading import notify
    from memeblend.data.cache import default_cache_dir
    from memeblend.translation import CACHE_FILE, translation_cache

    if engine == "identity":
        return nullcontext()
    cache: SqliteCache = translation_cache(default_cache_dir() / CACHE_FILE, notify)
    return closing(cache)


def _is_below(root: Path, out: Path) -> bool:
    """Whether a table may name images of this root by paths below its own folder."""
    return root.absolute().is_relative_to(out.absolute().parent)


def _or(value: _T | None, otherwise: _T) -> _T:
    return otherwise if value is None else value


def _named(engine: Engine) -> str:
    service = getattr(engine, "service", "")
    return f"{engine.name} ({service})" if service else engine.name


def _as_json(made: TranslatedMemes, request: TranslateRequest, listed: Path | None) -> dict[str, Any]:
    return {
        "engine": request.engine,
        "source": request.source,
        "chain": request.languages,
        "out": str(request.out),
        "num_memes": len(made.manifest),
        "num_translated": made.statuses.count("translated"),
        "num_failed": len(made.failed),
        "num_blank": made.statuses.count("blank"),
        "num_texts": made.num_texts,
        "num_cached": made.num_cached,
        "num_requests": made.num_requests,
        "reasons": dict(made.reasons),
        "failed": None if listed is None else str(listed),
    }


def _show(made: TranslatedMemes, manifest: Manifest) -> None:
    from rich.table import Table

    from memeblend.cli.output import results

    table = Table(
        "memes", "translated", "failed", "without text", "distinct texts", "of them from the cache", "requests"
    )
    counts = (
        *(len(manifest), made.statuses.count("translated"), len(made.failed), made.statuses.count("blank")),
        *(made.num_texts, made.num_cached, made.num_requests),
    )
    table.add_row(*(f"{count:,}" for count in counts))
    results.print(table)


def _tell_failed(made: TranslatedMemes, listed: Path | None) -> None:
    from memeblend.cli.output import messages

    if listed is None:
        return
    messages.print(f"{len(made.failed)} meme(s) keep their raw text; the same command tries them again:")
    for reason, count in list(made.reasons.items())[:_SHOWN]:
        messages.print(f"  {count} x {reason}", markup=False, soft_wrap=True)
    messages.print(f"each is listed in {listed}", markup=False, soft_wrap=True)


def translate(
    data: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST", help="A table (.csv, .tsv, .jsonl, .parquet) or a data-set folder."),
    ],
    engine: Annotated[
        str, typer.Option("--engine", help="translators (web services), hf (models of Hugging Face) or identity.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Write the memes to this .csv, .tsv, .jsonl or .parquet.")],
    chain: Annotated[
        str, typer.Option("--chain", help="Languages to go through, as the engine calls them.")
    ] = TranslateRequest.chain,
    source: Annotated[
        str, typer.Option("--source", help="Language of the texts; auto lets the engine find out.")
    ] = TranslateRequest.source,
    model: Annotated[
        list[str],
        typer.Option("--model", help="hf: folder or hub id of a model, one for each language of the chain, in order."),
    ] = [],  # noqa: B006 (Typer copies it)
    beams: Annotated[
        int | None, typer.Option("--beams", min=1, help="hf: beams of the search; 1 is fastest.  [default: 4]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="hf: texts at a time.  [default: 16]")
    ] = None,
    service: Annotated[
        str | None, typer.Option("--service", help="translators: the service to ask.  [default: google]")
    ] = None,
    per_second: Annotated[
        float | None,
        typer.Option("--per-second", min=0, help="translators: most requests a second; 0 sets no limit.  [default: 2]"),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option("--retries", min=0, help="translators: how often a failed request is sent again.  [default: 4]"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.1, help="translators: seconds that an answer may take.  [default: 30]"),
    ] = None,
    stop_after: Annotated[
        int, typer.Option("--stop-after", min=1, help="Give up when so many requests fail in a row.")
    ] = TranslateRequest.stop_after,
    reader: ReaderOption = "",
    column: ColumnOption = [],  # noqa: B006
    allow_outside: OutsideOption = False,
    json_output: JsonOption = False,
) -> None:
    """Translate memes' texts to another language and back, as the paper does; nothing is translated twice."""
    request = TranslateRequest(
        data=data,
        out=out,
        engine=engine,
        chain=chain,
        source=source,
        models=model,
        num_beams=beams,
        batch_size=batch_size,
        service=service,
        per_second=per_second,
        retries=retries,
        timeout_s=timeout,
        stop_after=stop_after,
        reader=reader,
        column=column,
        allow_outside=allow_outside,
    )
    guarded(lambda: run_translate(request, json_output))
