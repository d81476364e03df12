"""Write runs as documents of one file each, which show a run like the viewer does, without a server and offline.

A browser loads no modules for a page of ``file://``, but runs an inline one whose digest the policy of the page names.
So the viewer's modules are joined to one script, and what they would ask a server for stands in blocks of the document.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import Any

from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.views.bare import without_content
from otel_agent_trace.views.escape import escaped
from otel_agent_trace.views.run_page import RunPage, Spans

BLOCK_STEPS = 200
"""Steps in a block, which is unpacked as a whole; `file_api.js` counts with it."""
MODULES = ("h.js", "list.js", "conversation.js", "step.js", "run.js", "file_api.js")
"""Modules of a document, in the order in which they are joined: what runs when it is loaded comes last."""
_IMPORT = re.compile(r"^import [^;]+;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)
_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src blob:; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<script type="module">{script}</script>
</body>
</html>
"""


def document_of(
    run: AgentRun, prices: Prices | None = None, spans: Spans | None = None, *, has_content: bool = True
) -> str:
    """Return the document of a run.

    Args:
        run: the run.
        prices: what model calls cost; by default what is published, if that is installed.
        spans: returns the spans that the run was read from; without it, where facts were read is known only for runs
            that this library recorded.
        has_content: whether it has more than names, times, tokens and classes of errors.
    """
    known = Prices.of(None) if prices is None else prices
    if not has_content:
        return run_document(RunPage(without_content(run), known))
    if spans is None and run.is_lossless:
        spans = functools.partial(run_to_spans, run)
    return run_document(RunPage(run, known, spans))


def run_document(page: RunPage) -> str:
    """Return the document of a run."""
    outline = page.outline(ids=True)
    shown = [*_steps(page), *_conversation(page)]
    blocks = [("run", outline), *shown, ("markdown", page.copy("markdown")), *_further(page, shown)]
    title = f"{outline['head']['agent'] or 'run'} · {outline['head']['status']}"
    return document(title, "\n".join(_block(name, data) for name, data in blocks), joined_modules())


def document(title: str, body: str, script: str) -> str:
    """Return a page under a policy that lets only its own script run, and nothing be loaded."""
    style = asset("style.css")
    policy = _POLICY.format(script=_digest(script), style=_digest(style))
    return _DOCUMENT.format(policy=policy, title=escape(escaped(title)), style=style, body=body, script=script)


def joined_modules() -> str:
    """Return the modules as one script: without their imports, as all their names are in one scope."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", asset(name))) for name in MODULES)


def asset(name: str) -> str:
    """Return the text of a file of the page."""
    return (resources.files("otel_agent_trace.viewer") / "assets" / name).read_text(encoding="utf-8")


def _steps(page: RunPage) -> Iterator[tuple[str, Any]]:
    for start in range(0, page.count, BLOCK_STEPS):
        end = min(start + BLOCK_STEPS, page.count)
        steps = [page.step(number) for number in range(start, end)]
        yield f"steps-{start // BLOCK_STEPS}", {"rows": page.rows(start, end), "steps": steps}


def _conversation(page: RunPage) -> Iterator[tuple[str, Any]]:
    start: int | None = 0
    while start is not None:
        part = page.conversation(0, start)
        yield f"conversation-{start}", part
        start = part["next"]


def _further(page: RunPage, shown: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield what is shown when it is asked for: values of which steps have only the beginning, and pictures."""
    found: dict[str, Any] = {}
    for name, data in shown:
        steps = data.get("steps", [data])
        for number, step in enumerate(steps, _first_of(name)):
            for part in _parts_in(step):
                if "digest" in part:
                    found.setdefault(f"media-{part['digest']}", lambda digest=part["digest"]: _media(page, digest))
                else:
                    path = part["path"] if part["path"].startswith("@") else f"@{number}.{part['path']}"
                    found.setdefault(f"value-{path}", lambda path=path: page.value(0, path))
    yield from ((name, value) for name, read in found.items() if (value := read()) is not None)


def _first_of(name: str) -> int:
    """Return the number of the first step of a block."""
    kind, _, number = name.partition("-")
    return int(number) * BLOCK_STEPS if kind == "steps" else 0


def _parts_in(data: Any) -> Iterator[dict[str, Any]]:
    """Yield what stands for media and for values that are cut, however deep; only the former is in recorded JSON."""
    pending = [(data, False)]
    while pending:
        each, is_recorded = pending.pop()
        if isinstance(each, dict):
            if isinstance(each.get("digest"), str) or ("path" in each and not is_recorded):
                yield each
            pending += [(item, is_recorded or key == "json") for key, item in each.items()]
        elif isinstance(each, list):
            pending += [(item, is_recorded) for item in each]


def _media(page: RunPage, digest: str) -> dict[str, str] | None:
    media = page.media(digest)
    if media is None:
        return None
    return {"type": media.media_type, "data": base64.b64encode(media.content).decode()}


def _block(name: str, data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    packed = gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)
    content = base64.b64encode(packed).decode()
    return f'<script type="application/octet-stream" id="block-{escape(name)}">{content}</script>'


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
