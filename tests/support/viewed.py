"""The page of a source, served by a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.processes import environment
from tests.support.waiting import DEADLOCK_S

SERVER_COMMAND = [sys.executable, "-X", "faulthandler", "-m", "otel_agent_trace.cli", "view"]


class Viewed:
    """A server that is running: its address, a client of it, and what it wrote when it has ended."""

    def __init__(self, *words: object, env: dict[str, str | None] | None = None, cwd: Path | None = None) -> None:
        command = [*SERVER_COMMAND, *map(str, words)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment(**(env or {})), cwd=cwd, **pipes)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.url = self.first_line.strip()
        self.client = httpx.Client(base_url=self.url.partition("#")[0], timeout=DEADLOCK_S, trust_env=False)

    @property
    def port(self) -> int:
        """Its port."""
        return urlsplit(self.url).port or 0

    @property
    def token(self) -> str:
        """The token in its address."""
        return urlsplit(self.url).fragment.removeprefix("token=")

    def json(self, path: str, code: int = 200, /, **parameters: Any) -> Any:
        """Ask for data, and return it."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == code, answer.text
        return answer.json()

    def send(self, request: bytes, host: str = "127.0.0.1") -> tuple[int, bytes]:
        """Send bytes as they are, and return the status and all that comes back until the server closes."""
        with socket.create_connection((host, self.port), timeout=DEADLOCK_S) as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        return int(answer.split(b" ", 2)[1]), answer

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal, and return its exit status and what else it wrote."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Wait for its end, and return its exit status and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=DEADLOCK_S)
        self.client.close()
        return self.process.returncode, errors


@contextmanager
def viewing(*words: object, **options: Any) -> Iterator[Viewed]:
    """Serve the page for the time of a block."""
    viewed = Viewed(*words, **options)
    try:
        yield viewed
    finally:
        if viewed.process.poll() is None:
            viewed.process.kill()
        viewed.wait()


def events_in(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream: id, name and data."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name in ("id", "event"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)
        elif not line and "data" in event:
            yield event
            event = {}
