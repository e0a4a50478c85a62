"""`memeblend serve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memeblend.cli.guard import guarded
from memeblend.cli.policy import NOT_OF_THIS_MODEL
from memeblend.errors import MemeblendError, MissingExtraError

if TYPE_CHECKING:
    from memeblend.serving.served import Engine

_PACKAGES = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")
_LOOPBACK = ("127.", "::1", "localhost")


@dataclass(frozen=True)
class ServeRequest:
    """Options of `memeblend serve`.

    Attributes:
        model: a model folder or a run.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        max_batch: most memes that the model reads at once.
        max_wait_ms: how long the first meme of a batch waits for others.
        max_queue: most memes that are taken in and not answered yet.
        max_memes: memes of one request.
        max_megabytes: size of one request.
        deadline: seconds that a request may take.
        engine: "torch", "onnx", or "auto" for what the folder is for.
        streams: batches that the model reads at a time; 0 takes two where there are the cores for it.
        threads: threads of the model for each of them; 0 shares the cores out.
        threshold: NAME=SCORE of a category of /v1/moderations.
        policy: a policy file that verdicts follow; None leaves all to the model's decisions.
        flag: categories that make an input flagged; none takes all.
        cors_origin: origins whose pages a browser lets ask the API and read its answers.
        allow_host: names that the server goes by beside addresses, localhost and `host`, where there is no key.
        review_folder: where labels given on the page are kept; None leaves them to the person at the page.
        ocr: engine that reads memes without text.
        log_content: whether logs hold the memes' texts.
    """

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 32
    max_wait_ms: float = 5.0
    max_queue: int = 256
    max_memes: int = 64
    max_megabytes: float = 32.0
    deadline: float = 30.0
    engine: str = "auto"
    streams: int = 0
    threads: int = 0
    threshold: Sequence[str] = ()
    policy: Path | None = None
    flag: Sequence[str] = ()
    cors_origin: Sequence[str] = ()
    allow_host: Sequence[str] = ()
    review_folder: Path | None = None
    ocr: str = "auto"
    log_content: bool = False


def run_serve(request: ServeRequest) -> None:
    """`memeblend serve`: load the model, listen, serve until told to stop.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        ModelError: the model can't be used, or has no such category.
        MemeblendError: an option makes no sense, or the address can't be had.
    """
    try:
        from memeblend.serving.app import create_app
        from memeblend.serving.running import listen, serve
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise MissingExtraError(
            f"`memeblend serve` needs the package {error.name}, which is not installed.",
            fix='Install the extra: pip install "memeblend[serve]"',
        ) from error
    from memeblend.cli.output import messages, quiet_libraries
    from memeblend.onnx_engine.folder import is_export
    from memeblend.serving.served import ServedModel
    from memeblend.serving.settings import API_KEY_VARIABLE, ServerSettings, api_key_from_environment

    engine = _engine(request.engine)
    thresholds = _thresholds(request.threshold)
    try:
        settings = ServerSettings(
            max_batch=request.max_batch,
            max_wait_s=request.max_wait_ms / 1000,
            max_queue=request.max_queue,
            max_memes=request.max_memes,
            max_body_bytes=int(request.max_megabytes * 1_000_000),
            deadline_s=request.deadline,
            num_streams=request.streams,
            num_threads=request.threads,
            thresholds=thresholds,
            policy="" if request.policy is None else str(request.policy),
            flagging=tuple(request.flag),
            cors_origins=tuple(request.cors_origin),
            allowed_hosts=(request.host, *request.allow_host),
            review_folder="" if request.review_folder is None else str(request.review_folder),
            ocr=request.ocr,
            log_content=request.log_content,
            api_key=api_key_from_environment(),
        )
    except ValueError as error:
        raise MemeblendError(f"These options can't be: {error}.") from error
    shown = f"[{request.host}]" if ":" in request.host else request.host
    quiet = quiet_libraries(transformers=not is_export(request.model))
    with listen(request.host, request.port, settings) as listener, quiet:
        messages.print(f"Loading the model of '{request.model}' ...", markup=False, soft_wrap=True)
        model = ServedModel.load(request.model, engine, num_threads=settings.streams.num_threads)
        app = create_app(model, settings)
        if not app.state.policies.fits:
            messages.print(NOT_OF_THIS_MODEL, markup=False, soft_wrap=True)
        messages.print(f"Serving at http://{shown}:{listener.getsockname()[1]} (Ctrl+C stops)", markup=False)
        if not settings.api_key and not request.host.startswith(_LOOPBACK):
            messages.print(f"Anyone who reaches {request.host} may ask: {API_KEY_VARIABLE} is not set.", markup=False)
        serve(app, listener, settings)


def _engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        MemeblendError: there is none.
    """
    from typing import get_args

    from memeblend.serving.served import Engine

    engines: tuple[Engine, ...] = get_args(Engine)
    for engine in engines:
        if engine == name:
            return engine
    raise MemeblendError(f"There is no engine '{name}'; expected one of {', '.join(engines)}.")


def _thresholds(options: Sequence[str]) -> dict[str, float]:
    """Scores by category from options NAME=SCORE.

    Raises:
        MemeblendError: options of another form; all of them listed.
    """
    found, wrong = {}, []
    for option in options:
        name, equals, value = option.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            wrong.append(option)
            continue
        if not equals or not name:
            wrong.append(option)
    if wrong:
        raise MemeblendError(f"Expected --threshold NAME=SCORE, found {', '.join(wrong)}.")
    return found


def serve(
    model: Annotated[Path, typer.Argument(help="A model folder or a run.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = ServeRequest.host,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = ServeRequest.port,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, help="Most memes that the model reads at once.")
    ] = ServeRequest.max_batch,
    max_wait_ms: Annotated[
        float, typer.Option("--max-wait-ms", min=0, help="How long the first meme of a batch waits for others.")
    ] = ServeRequest.max_wait_ms,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=1, help="Most memes taken in and not answered yet; more get 429.")
    ] = ServeRequest.max_queue,
    max_memes: Annotated[
        int, typer.Option("--max-memes", min=1, help="Most memes of one request.")
    ] = ServeRequest.max_memes,
    max_megabytes: Annotated[
        float, typer.Option("--max-megabytes", min=0.001, help="Size of one request.")
    ] = ServeRequest.max_megabytes,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.1, help="Seconds that a request may take; then it gets 504.")
    ] = ServeRequest.deadline,
    engine: Annotated[
        str, typer.Option("--engine", help="torch, onnx (exported models), or auto for what the folder is for.")
    ] = ServeRequest.engine,
    streams: Annotated[
        int, typer.Option("--streams", min=0, help="Batches that the model reads at a time; 0 takes two.")
    ] = ServeRequest.streams,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Threads of the model for each of them; 0 shares the cores out.")
    ] = ServeRequest.threads,
    threshold: Annotated[
        list[str],
        typer.Option("--threshold", help="NAME=SCORE from which /v1/moderations gives a category. May be repeated."),
    ] = [],  # noqa: B006 (Typer copies it)
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Give verdicts as this policy says (`memeblend policy`).")
    ] = None,
    flag: Annotated[
        list[str], typer.Option("--flag", help="Only these categories make an input flagged. May be repeated.")
    ] = [],  # noqa: B006
    cors_origin: Annotated[
        list[str], typer.Option("--cors-origin", help="Let pages of this origin ask the API. May be repeated.")
    ] = [],  # noqa: B006
    allow_host: Annotated[
        list[str],
        typer.Option("--allow-host", help="A name that this server goes by; of use without a key. May be repeated."),
    ] = [],  # noqa: B006
    review_folder: Annotated[
        Path | None, typer.Option("--review-folder", help="Keep labels given on the page here, as a table fit reads.")
    ] = None,
    ocr: Annotated[
        str, typer.Option("--ocr", help="Read memes that come without text: auto, none, rapidocr or tesseract.")
    ] = ServeRequest.ocr,
    log_content: Annotated[bool, typer.Option("--log-content", help="Let logs hold the memes' texts.")] = False,
) -> None:
    """Serve a model over HTTP: a page, predictions, explanations, moderation, metrics.

    MEMEBLEND_API_KEY sets a key that clients need."""
    request = ServeRequest(
        model=model,
        host=host,
        port=port,
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        max_queue=max_queue,
        max_memes=max_memes,
        max_megabytes=max_megabytes,
        deadline=deadline,
        engine=engine,
        streams=streams,
        threads=threads,
        threshold=threshold,
        policy=policy,
        flag=flag,
        cors_origin=cors_origin,
        allow_host=allow_host,
        review_folder=review_folder,
        ocr=ocr,
        log_content=log_content,
    )
    guarded(lambda: run_serve(request))
