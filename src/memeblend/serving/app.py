"""The API: which path does what. `create_app` makes an application that any ASGI server can run."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from memeblend import __version__
from memeblend.labels import with_derived
from memeblend.serving import requests, schemas
from memeblend.serving.callers import ApiCors, Callers
from memeblend.serving.describing import describe
from memeblend.serving.explaining import Explainer
from memeblend.serving.logs import log
from memeblend.serving.memes import Upload
from memeblend.serving.metrics import CONTENT_TYPE
from memeblend.serving.moderation import INPUTS, Category, make_categories, moderate
from memeblend.serving.page import PAGE, add_page, page_files
from memeblend.serving.policies import Policies
from memeblend.serving.refusals import Refusal, error_response
from memeblend.serving.review import ReviewFolder
from memeblend.serving.served import ServedModel
from memeblend.serving.service import Service
from memeblend.serving.settings import ServerSettings
from memeblend.serving.wires import BODY, CLIENT_GONE, GONE_STATUS, Bodies, KeyCheck, Telemetry, notes_of

PREDICT, EXPLAIN, MODERATIONS, MODEL = "/v1/predict", "/v1/explain", "/v1/moderations", "/v1/model"
HEALTH, READY, METRICS, OPENAPI = "/healthz", "/readyz", "/metrics", "/openapi.json"
PATHS = (PAGE, PREDICT, EXPLAIN, MODERATIONS, MODEL, HEALTH, READY, METRICS, OPENAPI)
_READ_AT_ONCE = 64 * 1024
_T = TypeVar("_T")


def create_app(model: ServedModel, settings: ServerSettings) -> FastAPI:
    """An application that serves a model.

    Args:
        model: what is served; it stays in memory, whatever happens to its folder.
        settings: limits, key, thresholds, policy.

    Raises:
        PolicyError: the policy can't be read or used with this model.
        ModelError: a threshold or flag for a category that the model does not have.
        DataError: the review folder holds something else.
        OutputError: the review folder can't be made or read.
    """
    categories = make_categories(model.classifier, settings)
    service = Service(model, settings)
    explainer = Explainer(service)
    review = ReviewFolder(settings.review_folder, model.classifier.label_tasks_) if settings.review_folder else None
    files = page_files()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
            log(logging.INFO, "ready", model=model.name)
            yield
        finally:
            await explainer.stop()
            await service.stop()
            log(logging.INFO, "stop")

    app = FastAPI(
        title="memeblend",
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(service, tuple(files)),
        openapi_url=OPENAPI,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.policies = service.policies
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    _add_model_routes(app, service, categories)
    _add_explain_route(app, service, explainer)
    _add_state_routes(app, service)
    add_page(app, service, explainer, review, files)
    describe(app, settings, PREDICT, MODERATIONS, EXPLAIN, needs_image=model.needs_image)
    return app


def _middleware(service: Service, open_files: tuple[str, ...]) -> list[Middleware]:
    settings = service.settings
    wires = [
        Middleware(Telemetry, metrics=service.metrics, settings=settings, paths=PATHS),
        Middleware(Callers, settings=settings, open_paths=(HEALTH, READY)),
    ]
    if settings.cors_origins:
        wires.append(Middleware(ApiCors, origins=settings.cors_origins))
    if settings.api_key:
        wires.append(Middleware(KeyCheck, key=settings.api_key, open_paths=(HEALTH, READY, *open_files)))
    return [*wires, Middleware(Bodies, settings=settings)]


def _add_model_routes(app: FastAPI, service: Service, categories: tuple[Category, ...]) -> None:
    model, settings = service.model, service.settings

    @app.post(PREDICT, response_model=schemas.PredictAnswer, operation_id="predict")
    async def predict(request: Request) -> Response:
        """Classify one meme or many: class, probabilities and members' votes for each label task."""
        uploads = await _predict_uploads(request, service)
        records = await _unless_gone(request, service.classify(uploads))
        memes = [
            schemas.MemeOut(
                meme_id=upload.meme_id,
                label_tasks=record["label_tasks"],
                policy=None if said is None else schemas.MemeVerdict(**said),
                ocr_text=record.get("ocr_text"),
                ocr=record.get("ocr"),
            )
            for upload, record, said in zip(uploads, records, service.policies.said_of(records), strict=True)
        ]
        return _json(schemas.PredictAnswer(model=model.name, memes=memes))

    @app.post(MODERATIONS, response_model=schemas.ModerationAnswer, operation_id="moderate")
    async def moderations(request: Request) -> Response:
        """Moderate texts, or a meme of text and image, in the shape of the OpenAI moderation API."""
        if not categories:
            raise Refusal(
                422,
                "no_categories",
                f"None of the model's label tasks is binary or has intensity levels; use {PREDICT} instead.",
            )
        _check_media_type(request, "application/json")
        body = request.scope[BODY]
        uploads = await _read(service, body, partial(requests.moderation_json, body, settings))
        _write_down(request, uploads)
        records = await _unless_gone(request, service.classify(uploads))
        results = [
            moderate(record, categories, [what for what in INPUTS if _has(upload, what)], said)
            for upload, record, said in zip(uploads, records, service.policies.said_of(records), strict=True)
        ]
        return _json(schemas.ModerationAnswer(id=f"modr-{uuid.uuid4().hex}", model=model.name, results=results))

    @app.get(MODEL, operation_id="model")
    async def served_model() -> schemas.ModelAnswer:
        """The model that is served: label tasks, classes, members, categories, limits, scores, card."""
        return await service.in_decoder(lambda: _model_answer(service, categories))


def _add_explain_route(app: FastAPI, service: Service, explainer: Explainer) -> None:
    @app.post(EXPLAIN, operation_id="explain")
    async def explain(request: Request) -> schemas.ExplainAnswer:
        """Explain what the model decides on a meme: words and patches, text against image, votes, precedents."""
        _check_media_type(request, "application/json")
        body = request.scope[BODY]
        read = partial(requests.meme_json, schemas.ExplainRequest, body, service.settings)
        asked, upload = await _read(service, body, read)
        _write_down(request, [upload])
        return await _unless_gone(request, explainer.explain(asked, upload))


def _add_state_routes(app: FastAPI, service: Service) -> None:
    @app.get(HEALTH, operation_id="health")
    async def healthz() -> schemas.Health:
        """Whether the process is up."""
        return schemas.Health()

    @app.get(READY, operation_id="ready")
    async def readyz() -> schemas.Health:
        """Whether memes would be answered now."""
        fault = service.fault()
        if fault:
            raise Refusal(503, "not_ready", fault, retry_after_s=1)
        return schemas.Health()

    @app.get(METRICS, operation_id="metrics", response_class=Response)
    async def metrics() -> Response:
        """Everything counted, in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


async def _predict_uploads(request: Request, service: Service) -> list[Upload]:
    body, settings = request.scope[BODY], service.settings
    kind = _check_media_type(request, "application/json", "multipart/form-data")
    if kind == "application/json":
        read = partial(requests.predict_json, body, settings)
    else:
        read = partial(requests.predict_form, request.headers["content-type"], body, settings)
    uploads = await _read(service, body, read)
    _write_down(request, uploads)
    return uploads


async def _read(service: Service, body: bytes, read: Callable[[], _T]) -> _T:
    """Read a body, in another thread where it is so large that the event loop would stand still meanwhile."""
    return read() if len(body) <= _READ_AT_ONCE else await service.in_decoder(read)


def _check_media_type(request: Request, *allowed: str) -> str:
    """The request's media type, in lower case and without parameters.

    Raises:
        Refusal: it is none of those allowed, or the body is compressed (415).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if kind not in allowed:
        raise Refusal(415, "media_type", f"The body is '{kind[:100]}', expected {' or '.join(allowed)}.")
    if coding != "identity":
        raise Refusal(415, "content_encoding", "The body is compressed; send it as it is.")
    return kind


def _write_down(request: Request, uploads: list[Upload]) -> None:
    notes = notes_of(request.scope)
    notes.num_memes = len(uploads)
    notes.texts = [upload.text for upload in uploads]


async def _unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """The work's result; it is dropped when the client hangs up first.

    Raises:
        Refusal: the client has gone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refusal(GONE_STATUS, CLIENT_GONE, "The client has gone.")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    """Returns when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _has(upload: Upload, what: str) -> bool:
    return bool(upload.text.strip()) if what == "text" else upload.image is not None


def _json(answer: schemas.PredictAnswer | schemas.ModerationAnswer) -> Response:
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def _model_answer(service: Service, categories: tuple[Category, ...]) -> schemas.ModelAnswer:
    model, settings = service.model, service.settings
    classifier = model.classifier
    trained = {task.name for task in classifier.label_tasks_}
    return schemas.ModelAnswer(
        model=model.name,
        memeblend=__version__,
        label_tasks=[
            schemas.LabelTaskOut(
                name=task.name,
                kind=task.kind,
                classes=list(task.classes),
                derived=task.name not in trained,
                members=list(classifier.choices_[task.name].members) if task.name in trained else [],
            )
            for task in with_derived(classifier.label_tasks_)
        ],
        members=[
            schemas.MemberOut(name=name, reads=[what for what in INPUTS if what in read])
            for name, read in classifier.reads_.items()
        ],
        categories=[schemas.CategoryOut(name=one.name, threshold=one.threshold, flags=one.flags) for one in categories],
        policy=_policy_out(service.policies),
        limits=schemas.LimitsOut(
            max_memes=settings.max_memes,
            max_body_bytes=settings.max_body_bytes,
            max_text_characters=settings.max_text_characters,
            max_image_bytes=settings.image_limits.max_bytes,
            max_image_pixels=settings.image_limits.max_pixels,
            deadline_s=settings.deadline_s,
        ),
        ocr=service.texts.engine,
        scores=classifier.scores_,
        data=classifier.data_,
        card=model.card,
        folder_changed=model.folder_changed,
    )


def _policy_out(policies: Policies) -> schemas.PolicyOut | None:
    current = policies.current
    if current is None:
        return None
    limits = {name: category.limits for name, category in current.categories.items()}
    return schemas.PolicyOut(fits=policies.fits, limits=limits, content=current.to_dict())


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal), "registered for refusals alone"
    notes_of(request.scope).reason = error.code
    return error_response(error)


async def _not_found(request: Request, error: Exception) -> Response:
    """Paths and methods that there are not, in the shape of all other refusals."""
    assert isinstance(error, HTTPException), "registered for these alone"
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_")
    notes_of(request.scope).reason = code
    known = ", ".join(PATHS)
    refusal = Refusal(error.status_code, code, f"{phrase}. The paths are {known}.")
    return error_response(refusal, error.headers)
