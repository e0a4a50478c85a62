"""What a request that can't be served is answered with: a status, a code and a sentence, in one shape everywhere.

    {"error": {"message": ..., "type": ..., "code": ..., "param": null, "problems": [{"where": ..., "what": ...}]}}

The shape is that of the OpenAI API, with the single problems beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from memeblend.errors import MemeblendError, Problem
from memeblend.serving.schemas import ErrorAnswer, ErrorBody, ProblemBody

_MAX_PROBLEMS = 50
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


class Refusal(MemeblendError):
    """A request that is not served.

    Args:
        status: HTTP status of the answer.
        code: one word for programs.
        message: one or more sentences for people.
        problems: every single problem of the request.
        retry_after_s: seconds after which to try again; 0 says nothing of it.
    """

    def __init__(
        self, status: int, code: str, message: str, *, problems: Sequence[Problem] = (), retry_after_s: int = 0
    ) -> None:
        super().__init__(message, problems=problems)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def error_response(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is not served."""
    kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    shown = refusal.problems[:_MAX_PROBLEMS]
    more = len(refusal.problems) - len(shown)
    body = ErrorBody(
        message=refusal.message + (f" ({more} more problems are not listed.)" if more else ""),
        type=kind,
        code=refusal.code,
        problems=[ProblemBody(where=problem.where, what=problem.what) for problem in shown],
    )
    own = {"retry-after": str(refusal.retry_after_s)} if refusal.retry_after_s else {}
    if refusal.status == 401:
        own["www-authenticate"] = "Bearer"
    content = ErrorAnswer(error=body).model_dump_json()
    return Response(content, refusal.status, {**own, **(headers or {})}, media_type="application/json")
