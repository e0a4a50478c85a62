"""The page: plain files of the package at `/` and below `/ui/`, and the few routes that only the page asks.

The files are HTML, CSS and ES modules as they were written: nothing is built, and nothing is loaded from elsewhere, to
which browsers are held by a strict `Content-Security-Policy`. They are open to everyone, since they hold no data; the
page asks for the server's key when a route wants it.
"""

from __future__ import annotations

import base64
import io
import logging
import random
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response

from memeblend.data.sample import MIN_NUM_MEMES, sample_memes
from memeblend.data.sample_drawing import draw
from memeblend.errors import ImageError, MemeblendError, Problem
from memeblend.serving import requests
from memeblend.serving.explaining import Explainer
from memeblend.serving.logs import log
from memeblend.serving.refusals import Refusal
from memeblend.serving.review import ReviewFolder, called
from memeblend.serving.schemas import FittedOut, MemeIn
from memeblend.serving.service import Service
from memeblend.serving.tuning import add_tuning
from memeblend.serving.wires import BODY

PAGE, _BELOW = "/", "/ui/"
_FOLDER = "static"
_INDEX = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_NUM_SAMPLES = 8
_SAMPLE_SEED = 6
_JPEG_QUALITY = 88


class ReviewRequest(MemeIn):
    """A meme and the classes that somebody gave it; without any, it is forgotten again."""

    labels: dict[str, str]


class Sample(BaseModel):
    """A drawn meme to try the page with."""

    name: str
    text: str
    image: str
    """A `data:` URI."""


class Reviewed(BaseModel):
    """A meme that is in the review folder."""

    meme_id: str
    text: str
    labels: dict[str, str]


class LineOut(BaseModel):
    """A line of text in an image."""

    text: str
    confidence: float


class ReadOut(BaseModel):
    """The text in an image."""

    text: str
    lines: list[LineOut]


class PageState(BaseModel):
    """What this server can do beyond predicting."""

    explain: bool
    gradients: bool
    """Whether integrated gradients are to be had."""
    fitted: FittedOut
    ocr: bool
    """Whether the text in images is read."""
    review_folder: bool
    """Whether labels are kept on the server."""


def page_files() -> Mapping[str, tuple[bytes, str]]:
    """Path -> content and media type of every file of the page."""
    found = {}
    for file in resources.files("memeblend.serving").joinpath(_FOLDER).iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in _MEDIA_TYPES:
            path = PAGE if file.name == _INDEX else _BELOW + file.name
            found[path] = (file.read_bytes(), _MEDIA_TYPES[suffix])
    return found


def add_page(
    app: FastAPI, service: Service, explainer: Explainer, review: ReviewFolder | None, files: Mapping[str, Any]
) -> None:
    """Let an application serve the page.

    Args:
        app: the application.
        service: whose model and limits the page shows.
        explainer: explains memes.
        review: where labels are kept; None leaves that to the person at the page.
        files: see `page_files`.
    """
    router = APIRouter(include_in_schema=False)
    for path, (content, media_type) in files.items():
        router.add_api_route(path, _sender(content, media_type), methods=["GET"], response_class=Response)
    transform = service.model.classifier.preprocessor_.transform

    @router.get("/ui/state")
    async def state() -> PageState:
        return PageState(
            explain=explainer.available,
            gradients=explainer.gradients,
            fitted=FittedOut(**transform.to_dict()),
            ocr=service.texts.engine is not None,
            review_folder=review is not None,
        )

    @router.get("/ui/samples")
    async def samples() -> list[Sample]:
        return await service.in_decoder(_samples)

    _add_reading(router, service)
    add_tuning(router, service)
    if review is not None:
        _add_review(router, service, review)
    app.include_router(router)


def _add_reading(router: APIRouter, service: Service) -> None:
    @router.post("/ui/read-text")
    async def read_text(request: Request) -> ReadOut:
        requests.check_json(request)
        _, upload = requests.meme_json(MemeIn, request.scope[BODY], service.settings)
        found = None if upload.image is None else await service.read_text(upload)
        if found is None:
            raise Refusal(501, "no_ocr", "This server reads no text from images; it lacks the extra `ocr`.")
        lines = [LineOut(text=line.text, confidence=round(line.confidence, 4)) for line in found.lines]
        return ReadOut(text=found.text, lines=lines)


def _add_review(router: APIRouter, service: Service, review: ReviewFolder) -> None:
    @router.get("/ui/review")
    async def reviewed() -> list[Reviewed]:
        try:
            rows = await service.in_decoder(review.rows)
        except MemeblendError as error:
            raise _not_kept(error) from error
        tasks = review.label_tasks
        return [
            Reviewed(meme_id=called(row), text=row["text"], labels={name: row[name] for name in tasks if row[name]})
            for row in rows
        ]

    @router.post("/ui/review")
    async def keep(request: Request) -> dict[str, bool]:
        settings = service.settings
        requests.check_json(request)
        asked, upload = requests.meme_json(ReviewRequest, request.scope[BODY], settings)
        problems = review.problems_of(asked.labels)
        if problems:
            raise Refusal(422, "bad_labels", "The labels can't be kept.", problems=problems)
        try:
            row = await service.in_decoder(
                lambda: review.save(upload.meme_id, upload.text, upload.image, asked.labels, settings.image_limits)
            )
        except ImageError as error:
            bad = [Problem(upload.where, error.message)]
            raise Refusal(422, "bad_image", "The image can't be read.", problems=bad) from error
        except MemeblendError as error:
            raise _not_kept(error) from error
        return {"kept": row is not None}


def _not_kept(error: MemeblendError) -> Refusal:
    """A refusal without the names of the server's folders."""
    log(logging.ERROR, "the review folder can't be used", error)
    return Refusal(
        500, "not_kept", "The server can't use its review folder, so the label is not kept; its log says why."
    )


def _sender(content: bytes, media_type: str) -> Any:
    async def send() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return send


@cache
def _samples() -> list[Sample]:
    """A few memes of the embedded sample, drawn anew; the same on every server."""
    found = []
    for meme, _ in zip(sample_memes(MIN_NUM_MEMES, _SAMPLE_SEED), range(_NUM_SAMPLES), strict=False):
        stream = io.BytesIO()
        draw(meme.facts, meme.lines, random.Random(meme.name)).save(stream, "JPEG", quality=_JPEG_QUALITY)
        data = base64.b64encode(stream.getvalue()).decode()
        found.append(Sample(name=meme.name, text=" ".join(meme.lines), image=f"data:image/jpeg;base64,{data}"))
    return found
