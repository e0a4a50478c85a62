"""From a request's body to uploads, with every problem of it told at once."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from memeblend.errors import Problem
from memeblend.serving.forms import Part, read_parts
from memeblend.serving.memes import Upload
from memeblend.serving.refusals import Refusal
from memeblend.serving.schemas import (
    BRANCH_MARK,
    MAX_MEME_ID,
    ImagePart,
    MemeIn,
    ModerationRequest,
    PredictRequest,
    TextPart,
)
from memeblend.serving.settings import ServerSettings

_FORM_FIELDS = ("image", "text", "meme_id")
_NOT_FETCHED = "is an address; remote images are never fetched, so send the image itself in base64"
_SPARE_TOKENS, _TOKENS_A_MEME = 8_000, 16
_MARKS = (b'"', b",", b"[", b"{")
# A text that does not end takes all that is left and is never tried again, so a body is gone through once.
_JSON_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)
_Request = TypeVar("_Request", bound=BaseModel)
_Meme = TypeVar("_Meme", bound=MemeIn)


def predict_json(body: bytes, settings: ServerSettings) -> list[Upload]:
    """The memes of a JSON body of `/v1/predict`.

    Raises:
        Refusal: it is no JSON (400), or says something it can't say (422).
    """
    request = validated(PredictRequest, body, settings)
    _check_number(len(request.memes), "memes", settings)
    return _collected(
        lambda problems: [
            Upload(
                meme_id=str(position) if meme.meme_id is None else meme.meme_id,
                text=_text(meme.text or "", f"memes[{position}].text", settings, problems),
                image=None if meme.image is None else _image(meme.image, f"memes[{position}].image", problems),
                where=f"memes[{position}].image",
                has_text=meme.text is not None,
            )
            for position, meme in enumerate(request.memes)
        ]
    )


def meme_json(kind: type[_Meme], body: bytes, settings: ServerSettings) -> tuple[_Meme, Upload]:
    """A JSON body that is one meme and what is asked about it.

    Raises:
        Refusal: it is no JSON (400), or says something it can't say (422).
    """
    asked = validated(kind, body, settings)
    (upload,) = _collected(
        lambda problems: [
            Upload(
                meme_id=asked.meme_id or "",
                text=_text(asked.text or "", "text", settings, problems),
                image=None if asked.image is None else _image(asked.image, "image", problems),
                where="image",
                has_text=asked.text is not None,
            )
        ]
    )
    return asked, upload


def check_json(request: Request) -> None:
    """A page of another origin can't send JSON without asking first, so what the page's routes change takes only that.

    Raises:
        Refusal: the body is of another media type (415).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "media_type", f"The body is '{kind[:100]}', expected application/json.")


def predict_form(content_type: str, body: bytes, settings: ServerSettings) -> list[Upload]:
    """The memes of a multipart body of `/v1/predict`: files `image`, and in the same order `text` and `meme_id`.

    Raises:
        Refusal: it is not multipart (400), or says something it can't say (422).
    """
    parts = read_parts(content_type, body, len(_FORM_FIELDS) * settings.max_memes)
    problems = [
        Problem(name or "a part without a name", f"is not a field of this form; they are {', '.join(_FORM_FIELDS)}")
        for name in dict.fromkeys(part.name for part in parts)
        if name not in _FORM_FIELDS
    ]
    fields = {name: [part for part in parts if part.name == name] for name in _FORM_FIELDS}
    problems += [
        Problem(f"image[{position}]", "is text, expected a file")
        for position, part in enumerate(fields["image"])
        if not part.is_file
    ]
    images = [bytes(part.data) for part in fields["image"]]
    texts, meme_ids = (_form_texts(fields[name], name, problems) for name in ("text", "meme_id"))
    number = len(images) or len(texts)
    if not number:
        problems.append(Problem("form", "holds neither image nor text"))
    problems += [
        Problem(name, f"comes {len(values)} times for {number} memes, expected once for each or not at all")
        for name, values in (("text", texts), ("meme_id", meme_ids))
        if len(values) not in (0, number)
    ]
    problems += [
        Problem(f"meme_id[{position}]", f"has more than {MAX_MEME_ID} characters")
        for position, meme_id in enumerate(meme_ids)
        if len(meme_id) > MAX_MEME_ID
    ]
    if problems:
        raise _invalid(problems)
    _check_number(number, "image" if images else "text", settings)
    return _collected(
        lambda found: [
            Upload(
                meme_id=meme_ids[position] if meme_ids else str(position),
                text=_text(texts[position] if texts else "", f"text[{position}]", settings, found),
                image=images[position] if images else None,
                where=f"image[{position}]",
                has_text=bool(texts),
            )
            for position in range(number)
        ]
    )


def _form_texts(parts: Sequence[Part], name: str, problems: list[Problem]) -> list[str]:
    texts = []
    for position, part in enumerate(parts):
        try:
            texts.append(part.data.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append("")
            problems.append(Problem(f"{name}[{position}]", "is not UTF-8"))
    return texts


def moderation_json(body: bytes, settings: ServerSettings) -> list[Upload]:
    """The inputs of a body of `/v1/moderations`: one upload for each result.

    Raises:
        Refusal: it is no JSON (400), or says something it can't say (422).
    """
    given = validated(ModerationRequest, body, settings).input
    if isinstance(given, str):
        given = [given]
    _check_number(len(given), "input", settings)
    texts = [one for one in given if isinstance(one, str)]
    if texts:
        return _collected(
            lambda problems: [
                Upload(str(position), _text(text, f"input[{position}]", settings, problems), None, f"input[{position}]")
                for position, text in enumerate(texts)
            ]
        )
    parts = [one for one in given if not isinstance(one, str)]
    return _collected(lambda problems: [_of_parts(parts, settings, problems)])


def _of_parts(parts: Sequence[TextPart | ImagePart], settings: ServerSettings, problems: list[Problem]) -> Upload:
    """The one meme that the parts of a moderation's input make."""
    text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    image = None
    places = [position for position, part in enumerate(parts) if isinstance(part, ImagePart)]
    problems += [Problem(f"input[{position}]", "is a second image, expected one at most") for position in places[1:]]
    for position in places[:1]:
        part = parts[position]
        assert isinstance(part, ImagePart), "places are those of image parts"
        where = f"input[{position}].image_url.url"
        if part.image_url.url[:5].lower() == "data:":
            image = _image(part.image_url.url, where, problems)
        else:
            problems.append(Problem(where, f"{_NOT_FETCHED}, as a data: URI"))
    has_text = any(isinstance(part, TextPart) for part in parts)
    return Upload("0", _text(text, "input", settings, problems), image, "input", has_text)


def validated(kind: type[_Request], body: bytes, settings: ServerSettings) -> _Request:
    """A JSON body as a model of what is asked.

    Raises:
        Refusal: it is no JSON (400), or says something it can't say (422).
    """
    _check_values(body, settings)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise Refusal(400, "bad_json", f"The body is not JSON: {faults[0]['msg']}.") from error
        raise _invalid([Problem(_place(fault["loc"]), fault["msg"]) for fault in faults]) from error


def _check_values(body: bytes, settings: ServerSettings) -> None:
    """Millions of tiny values in one body would be as many Python objects, or faults to tell of: minutes, gigabytes.

    Raises:
        Refusal: there are more than any request needs (422).
    """
    most = _SPARE_TOKENS + _TOKENS_A_MEME * settings.max_memes
    if sum(body.count(mark) for mark in _MARKS) <= most:
        return  # the marks in texts, too
    if len(list(islice(_JSON_TOKEN.finditer(body), most + 1))) > most:
        what = f"holds far more values than a request of the {settings.max_memes} memes that are allowed needs"
        raise _invalid([Problem("body", what)])


def _place(location: Sequence[int | str]) -> str:
    """`memes[3].image` from ("memes", 3, "image"); the names of a union's branches are left out."""
    place = ""
    in_parts = False
    for position, part in enumerate(location):
        if isinstance(part, str) and part.startswith(BRANCH_MARK):
            in_parts = True
        elif in_parts and position and isinstance(location[position - 1], int):
            continue  # which kind of part it was taken for
        elif isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return place or "body"


def _collected(read: Callable[[list[Problem]], list[Upload]]) -> list[Upload]:
    """Uploads, read by something that notes problems; refused when there are any, or when one holds nothing."""
    problems: list[Problem] = []
    uploads = read(problems)
    if problems:
        raise _invalid(problems)
    empty = [
        Problem(upload.where.removesuffix(".image"), "holds neither text nor image")
        for upload in uploads
        if upload.image is None and not upload.text.strip()
    ]
    if empty:
        raise _invalid(empty)
    return uploads


def _invalid(problems: Sequence[Problem]) -> Refusal:
    return Refusal(422, "invalid_request", "The request can't be served as it is.", problems=problems)


def _check_number(number: int, where: str, settings: ServerSettings) -> None:
    if number > settings.max_memes:
        raise _invalid([Problem(where, f"holds {number} items, more than the {settings.max_memes} of one request")])


def _text(text: str, where: str, settings: ServerSettings, problems: list[Problem]) -> str:
    if len(text) > settings.max_text_characters:
        allowed = f"{settings.max_text_characters:,}"
        problems.append(Problem(where, f"has {len(text):,} characters, more than the {allowed} that are allowed"))
    return text


def _image(value: str, where: str, problems: list[Problem]) -> bytes:
    """The bytes of an image in base64, bare or as a data: URI; b"" and a problem where it is neither."""
    start = value[:8].lower()
    if start.startswith("data:"):
        head, comma, value = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            problems.append(Problem(where, "is a data: URI without base64, expected data:image/...;base64,..."))
            return b""
    elif start.startswith(("http:", "https:", "file:", "ftp:")):
        problems.append(Problem(where, _NOT_FETCHED))
        return b""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        problems.append(Problem(where, "is not base64"))
        return b""
