"""Runs whose texts would like to be code, styles, or the end of what they stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend, Limits
from otel_agent_trace.model import Message

MARKUP = (
    "</script><script>globalThis.harmed=1</script><img src=x onerror='globalThis.harmed=1'><style>*{display:none}</style>"
    "<iframe srcdoc='<script>parent.harmed=1</script>'></iframe><a href='javascript:harmed=1'>x</a><base href=//evil.example>"
    "<svg onload=harmed=1><meta http-equiv=refresh content=0;url=//evil.example>${harmed=1}{{harmed=1}}-->]]>"
)
BIDI = "\u202ereversed\u2066\u200f"
CONTROL = "\x00\x01\x1b[31m\x1b]0;title\x07\x7f\x9b\u2028\u2029\ufeff\ufff9\ue0001"
MARKDOWN = (
    "# [click](javascript:globalThis.harmed=1) ![x](http://evil.example/x.png)\n\n```html\n<b>\n```\n**" + MARKUP + "**"
)
HOSTILE = MARKUP + BIDI + CONTROL
RUN_ID = f"{MARKUP[:80]}/../..%2f?#&="
SESSION_ID = f"{MARKUP[:80]}/../%00&"
LEVELS, ITEMS, CHARS = 120, 50_000, 10_000_000


class HarmError(Exception):
    """An error with a hostile text."""


def deep(levels: int) -> Any:
    """A value of so many levels."""
    value: Any = HOSTILE
    for level in range(levels):
        value = {HOSTILE: value} if level % 2 else [value]
    return value


def write_hostile_runs(path: Path) -> None:
    """Write a run with such texts wherever one can stand, and another one of its session."""
    limits = Limits(value_bytes=100_000_000, depth=200, error_bytes=1_000_000)
    tracer = AgentTracer(backend=FileBackend(str(path)), limits=limits)
    given: dict[str, Any] = {
        "agent_name": f"agent {HOSTILE}",
        "session_id": SESSION_ID,
        "user_id": HOSTILE,
        "tags": (HOSTILE, BIDI),
    }
    with (
        pytest.raises(HarmError),
        tracer.run(run_id=RUN_ID, user_input=HOSTILE, metadata={HOSTILE: HOSTILE}, **given) as run,
    ):
        with run.model_call(f"model {HOSTILE}") as call:
            texts = [HOSTILE, MARKDOWN, BIDI]
            call.messages = [
                Message(role=role, parts=parts(text)) for role in ("system", "user", HOSTILE) for text in texts
            ]
        with run.step(f"tool {HOSTILE}", {HOSTILE: HOSTILE, "style": "x", "__proto__": {"constructor": 1}}) as step:
            step.output = {"$media": {"type": "image/svg+xml", "digest": "../../about", "bytes": HOSTILE}}
        with run.step("deep", deep(LEVELS)) as step:
            step.output = [{"number": number, "text": HOSTILE[:9]} for number in range(ITEMS)]
        with run.step("long", HOSTILE + "\u0e01" * (CHARS // 3)) as step:
            step.output = "no space" * (CHARS // 8)
        run.score(HOSTILE[:60], True, explanation=HOSTILE)
        with run.step("failing", HOSTILE):
            raise HarmError(HOSTILE)
    with tracer.run(run_id="second", user_input=MARKDOWN, **given) as run:
        run.final_output = HOSTILE
    tracer.close()


def parts(text: str) -> tuple[dict[str, Any], ...]:
    """Parts of a message of each type, with a text."""
    return (
        {"type": "text", "content": text},
        {"type": "reasoning", "content": text},
        {"type": "tool_call", "id": text, "name": text, "arguments": {text: text}},
        {"type": "tool_call_response", "id": text, "response": text},
        {"type": "blob", "mime_type": text, "content": text},
        {"type": "uri", "uri": "javascript:harmed=1", "mime_type": "image/png"},
        {"type": text, "content": text},
    )
