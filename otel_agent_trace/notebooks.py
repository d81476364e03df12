"""Let what readers return show itself in notebooks: by what is above, and is imported by name when it is asked for."""

from __future__ import annotations

import importlib
from html import escape
from typing import Any

HTML, TEXT = "text/html", "text/plain"
_VIEW, _DOCUMENT = "otel_agent_trace.views.notebook", "otel_agent_trace.viewer.html_file"


class ShownInNotebooks:
    """Show an object in notebooks, as HTML that also a notebook shows which is not trusted, and as text."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        html: str = importlib.import_module(_VIEW).html_of(self)
        return html

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        text: str = importlib.import_module(_VIEW).text_of(self)
        return {TEXT: text, HTML: self._repr_html_()}


class Framed:
    """Hold a document that a notebook shows in a frame, which can reach neither the notebook nor the network.

    Args:
        document: the HTML.
        height_px: the height of the frame in pixels.
    """

    def __init__(self, document: str, height_px: int) -> None:
        self.document, self.height_px = document, height_px

    def _repr_html_(self) -> str:
        source = escape(self.document, quote=True)
        style = f"width:100%;height:{self.height_px}px;border:1px solid #8886"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{source}"></iframe>'


def framed(run: Any, height_px: int) -> Framed:
    """Return a run as a document in a frame."""
    return Framed(importlib.import_module(_DOCUMENT).document_of(run), height_px)
