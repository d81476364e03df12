"""A model behind an OpenAI-compatible API on this machine, and a clean environment."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import otel_agent_trace
from tests.support.http_servers import serving
from tests.support.waiting import DEADLOCK_S

ROOT = Path(otel_agent_trace.__file__).parents[1]
FOREIGN = ("OPENAI_", "OTEL_")
Reply = tuple[int, dict[str, str], bytes]


class ScriptedModel:
    """Answers one request after the other as it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self._replies: list[Reply] = []
        self._calls = 0

    def will_call(self, tool: str, arguments: dict[str, Any] | str) -> None:
        """Ask for a tool next; arguments that are text are sent as they are."""
        self._calls += 1
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        call = {"id": f"call_{self._calls}", "type": "function", "function": {"name": tool, "arguments": text}}
        self._will_complete({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")

    def will_say(self, text: str) -> None:
        """Answer next."""
        self._will_complete({"role": "assistant", "content": text}, "stop")

    def will_send(self, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Send just this next."""
        self._replies.append((status, {"content_type": "application/json", **headers}, body))

    def answer(self, body: bytes) -> Reply:
        """What was told first and is not said yet; the last is said again and again."""
        self.requests.append(json.loads(body))
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def _will_complete(self, message: dict[str, Any], reason: str) -> None:
        completion = {
            "id": f"chatcmpl-{len(self._replies)}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "scripted-1-2026",
            "choices": [{"index": 0, "finish_reason": reason, "message": message}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        }
        self.will_send(json.dumps(completion).encode())


class Collector:
    """Takes what is sent in OTLP over HTTP."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.requests: list[bytes] = []

    def answer(self, body: bytes) -> Reply:
        """Keep a request; an empty answer means that all is well."""
        self.requests.append(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
        return 200, {"content_type": "application/x-protobuf"}, b""


@contextmanager
def served(answer: Callable[[bytes], Reply]) -> Iterator[str]:
    """The address of a server that answers POST requests so."""
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(answer))) as port:
        yield f"http://127.0.0.1:{port}"


def _handler_for(answer: Callable[[bytes], Reply]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing on stderr."""

    return Handler


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model and no tracing but what a test sets up, whoever runs it."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Iterator[ScriptedModel]:
    """A model that the environment names, on a port of its own."""
    scripted = ScriptedModel()
    with served(scripted.answer) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{endpoint}/v1")
        monkeypatch.setenv("OPENAI_MODEL", "scripted-1")
        yield scripted


@pytest.fixture
def collector(clean_environment: None) -> Iterator[Collector]:
    """A collector on a port of its own."""
    keeping = Collector()
    with served(keeping.answer) as keeping.endpoint:
        yield keeping


@pytest.fixture
def run_example(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs an example as its docstring says, in an empty folder."""

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(ROOT / "examples" / name), *arguments]
        # The package may be run from a checkout that is not installed.
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment}
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, encoding="utf-8", timeout=DEADLOCK_S
        )

    return run
