"""Which pages of a browser may ask: what keeps a server on somebody's own machine from pages of the web.

A page of the web can have its visitor's browser ask any address that the browser reaches. What stands against it:

- Names. A page whose name is made to lead to this server after it was loaded counts as the server's own (DNS
  rebinding). So a server without a key answers only where it is asked for by an address, as localhost, or by a name
  that it was told.
- Origins. Forms of other pages can be sent without asking first, and would fill the queue. So what is sent by a page
  has to be sent by the server's own, or by one that was named.

Programs send no origin, and are asked for nothing but the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from memeblend.serving.refusals import Refusal
from memeblend.serving.settings import ServerSettings
from memeblend.serving.wires import refuse

API = "/v1/"
"""Paths that pages of other origins may be let in to; everything else is for the server's own page and for programs."""
ANY = "*"
_READING = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = ("same-origin", "none")
_SHOWN = 100


class Callers:
    """Lets in who asks for this server by its name, and sends from its own page, a named one, or no page at all.

    Args:
        app: what answers.
        settings: the names and origins; whether there is a key, which no page of the web has.
        open_paths: paths that can be asked for by any name.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, open_paths: Sequence[str]) -> None:
        self.app = app
        self.names = frozenset(name.lower() for name in settings.allowed_hosts)
        self.any_name = bool(settings.api_key) or ANY in self.names
        self.origins = frozenset(settings.cors_origins)
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        refusal = self._refusal(scope, Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await refuse(refusal, scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        if not self.any_name and scope["path"] not in self.open_paths:
            for host in headers.getlist("host"):
                if not self._is_ours(host):
                    message = f"This server does not go by the name '{_name(host)[:_SHOWN]}'."
                    return Refusal(421, "unknown_host", f"{message} Ask by address, or start it with --allow-host.")
        if scope["method"] not in _READING and self._is_foreign(scope["path"], headers):
            message = "A page of another origin may not send this; --cors-origin names those that may ask the API."
            return Refusal(403, "other_origin", message)
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        if name == "localhost" or name in self.names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def _is_foreign(self, path: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if path.startswith(API) and (origin in self.origins or (origin is not None and ANY in self.origins)):
            return False
        site = headers.get("sec-fetch-site")  # browsers alone set it, and pages can't
        if site is not None:
            return site not in _OWN_SITE
        if origin is None:
            return False
        own = urlsplit(origin).netloc.lower()
        return own != headers.get("host", "").lower() and _name(own) not in self.names


class ApiCors:
    """Starlette's CORS for the API alone: a page that may read predictions need not read labels nor set policies.

    Args:
        app: what answers.
        origins: origins whose pages may read the answers.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app = app
        self.with_cors = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        in_api = scope["type"] == "http" and scope["path"].startswith(API)
        await (self.with_cors if in_api else self.app)(scope, receive, send)


def _name(host: str) -> str:
    """The name in a `Host`, without its port, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0].removesuffix(".") if ":" in name else name.removesuffix(".")
