"""The OpenAPI document: request bodies with their limits and examples, refusals, and the key.

The routes read their bodies themselves, within limits of time and size, so FastAPI can't know what is in them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from memeblend.serving import schemas
from memeblend.serving.settings import ServerSettings

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mNsaGhgwAaYGHCAwSkBADAXAZDUexXGAAAAAElFTkSuQmCC"
"""A PNG of 8 x 8 grey pixels."""
_REFERENCE = "#/components/schemas/{model}"
_REFUSALS = {
    "400": "The body is not what its content type says.",
    "401": "The key is missing or wrong.",
    "403": "A page of another origin may not send this.",
    "404": "There is no such path.",
    "405": "The path does not know this method.",
    "408": "The body took too long to arrive.",
    "413": "The body is too large.",
    "415": "The content type is not one that is read.",
    "421": "The server does not go by the name that it was asked for by.",
    "422": "The request says something that can't be served; every problem is listed.",
    "429": "The queue is full; `Retry-After` says when to come back.",
    "500": "Something unforeseen; the server's log knows more.",
    "501": "What was asked is not to be had from this server's engine.",
    "503": "The server is stopping, or its model is stuck.",
    "504": "The deadline passed.",
}
_OF_TEXTS = "texts"
"""Name of the example without an image."""
_OF_READING = ("400", "403", "408", "413", "415", "422", "429", "500", "504")
_RETRY = {"Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}}


def describe(
    app: FastAPI,
    settings: ServerSettings,
    predict_path: str,
    moderations_path: str,
    explain_path: str,
    *,
    needs_image: bool,
) -> None:
    """Make the application's OpenAPI document say what its routes read and refuse.

    Args:
        app: the application.
        settings: whose limits are written into the schemas.
        predict_path: path of predictions.
        moderations_path: path of moderations.
        explain_path: path of explanations.
        needs_image: whether the model can't do without images; examples are such as it can answer.
    """
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = _completed(made(), settings, predict_path, moderations_path, explain_path)
            if needs_image:
                content = document["paths"][moderations_path]["post"]["requestBody"]["content"]["application/json"]
                del content["examples"][_OF_TEXTS]
            app.openapi_schema = document
        return app.openapi_schema

    # FastAPI asks this method anew for each request, so it is replaced, as its documentation has it.
    app.openapi = openapi  # type: ignore[method-assign]


def _completed(
    made: Mapping[str, Any], settings: ServerSettings, predict: str, moderations: str, explain: str
) -> dict[str, Any]:
    document = copy.deepcopy(dict(made))
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (schemas.PredictRequest, schemas.ExplainRequest, schemas.ModerationRequest, schemas.ErrorAnswer):
        components.update(_definitions(model))
    _limit(components, settings)
    paths = document["paths"]
    paths[predict]["post"]["requestBody"] = _body(
        {
            "application/json": (_reference("PredictRequest"), _predict_examples()),
            "multipart/form-data": (_form(settings), None),
        }
    )
    paths[moderations]["post"]["requestBody"] = _body(
        {"application/json": (_reference("ModerationRequest"), _moderation_examples())}
    )
    paths[explain]["post"]["requestBody"] = _body(
        {"application/json": (_reference("ExplainRequest"), _explain_examples())}
    )
    for path, operations in paths.items():
        for method, operation in operations.items():
            statuses = (
                (*_OF_READING, "503", *(["501"] if path == explain else [])) if method == "post" else ("500", "503")
            )
            _add_refusals(operation, [*statuses, "401" if settings.api_key else "421"])
            if settings.api_key and path.startswith(("/v1/", "/metrics")):
                operation["security"] = [{"key": []}]
    paths["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    if settings.api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _definitions(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema and those that it refers to, by their names."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _limit(components: dict[str, Any], settings: ServerSettings) -> None:
    """Write this server's limits into the schemas."""
    components["PredictRequest"]["properties"]["memes"]["maxItems"] = settings.max_memes
    text, forms = {"type": "string", "maxLength": settings.max_text_characters}, []
    for form in components["ModerationRequest"]["properties"]["input"]["oneOf"]:
        if form.get("type") == "array":
            items = text if form["items"].get("type") == "string" else form["items"]
            forms.append({**form, "items": items, "maxItems": settings.max_memes})
        else:
            forms.append({**form, **text})
    components["ModerationRequest"]["properties"]["input"]["oneOf"] = forms
    for meme in ("MemeIn", "ExplainRequest"):
        components[meme]["properties"]["text"]["anyOf"] = [text, {"type": "null"}]
    components["TextPart"]["properties"]["text"]["maxLength"] = settings.max_text_characters
    components["ImageAddress"]["properties"]["url"]["pattern"] = "^[dD][aA][tT][aA]:"


def _form(settings: ServerSettings) -> dict[str, Any]:
    def several(item: Mapping[str, Any], description: str) -> dict[str, Any]:
        return {"type": "array", "items": item, "maxItems": settings.max_memes, "description": description}

    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "image": several({"type": "string", "format": "binary"}, "Image files, one for each meme."),
            "text": several(
                {"type": "string", "maxLength": settings.max_text_characters},
                "The text of each meme, in the same order; all of them or none.",
            ),
            "meme_id": several({"type": "string"}, "What to call each meme, in the same order; all of them or none."),
        },
    }


def _body(content: Mapping[str, tuple[dict[str, Any], dict[str, Any] | None]]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            media_type: {"schema": schema, **({"examples": examples} if examples else {})}
            for media_type, (schema, examples) in content.items()
        },
    }


def _predict_examples() -> dict[str, Any]:
    one = {"meme_id": "monday", "text": "when the alarm rings", "image": _PIXEL}
    return {
        "one": {"summary": "One meme", "value": {"memes": [one]}},
        "many": {
            "summary": "Several memes; a data: URI; no text",
            "value": {"memes": [one, {"image": f"data:image/png;base64,{_PIXEL}"}]},
        },
    }


def _explain_examples() -> dict[str, Any]:
    one = {"text": "when the alarm rings", "image": _PIXEL, "cheap": True}
    return {"quick": {"summary": "One meme, without integrated gradients", "value": one}}


def _moderation_examples() -> dict[str, Any]:
    address = {"url": f"data:image/png;base64,{_PIXEL}"}
    parts = [{"type": "text", "text": "when the alarm rings"}, {"type": "image_url", "image_url": address}]
    return {
        "meme": {"summary": "A meme of text and image: one result", "value": {"input": parts}},
        _OF_TEXTS: {"summary": "Texts, a result for each", "value": {"input": ["so happy", "so sad"]}},
    }


def _add_refusals(operation: dict[str, Any], statuses: Any) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for status in sorted({*statuses}):
        content = {"application/json": {"schema": _reference("ErrorAnswer")}}
        responses[status] = {"description": _REFUSALS[status], "content": content}
        if status in ("429", "503", "504"):
            responses[status]["headers"] = _RETRY


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(model=name)}
