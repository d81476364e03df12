"""Serve the files of the page: one document at several addresses, and its scripts, by exact names."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.viewer.replies import compressed, error_reply

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DOCUMENT = "index.html"
_PREFIX = b"{{prefix}}"


class _Asset(NamedTuple):
    """Hold a file: its type, its content, and what names this content."""

    media_type: str
    content: bytes
    etag: str


class Pages:
    """Hold the files of the page, as they were when the server began."""

    def __init__(self) -> None:
        folder = resources.files("otel_agent_trace.viewer") / "assets"
        contents = {file.name: file.read_bytes() for file in folder.iterdir() if _suffix(file.name) in _TYPES}
        document = contents.pop(_DOCUMENT)
        self._assets = {name: _asset(name, content) for name, content in contents.items()}
        # relative to the address, so that a proxy may put the page anywhere
        self._documents = {prefix: _asset(_DOCUMENT, document.replace(_PREFIX, prefix)) for prefix in (b"", b"../")}

    def document(self, request: Request) -> Response:
        """Return the document of every page."""
        is_below = request.scope["path"].count("/") > 1
        return _reply(request, self._documents[b"../" if is_below else b""])

    def asset(self, request: Request) -> Response:
        """Return a script, a style sheet or a picture; 404 for any other name."""
        asset = self._assets.get(request.path_params["name"])
        return error_reply(404, "no such file") if asset is None else _reply(request, asset)


def _reply(request: Request, asset: _Asset) -> Response:
    headers = {"etag": asset.etag, "cache-control": "no-cache"}  # asked for again with each page, and rarely sent
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return compressed(request, Response(asset.content, media_type=asset.media_type, headers=headers))


def _asset(name: str, content: bytes) -> _Asset:
    return _Asset(_TYPES[_suffix(name)], content, f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
