"""Programs that trace, send in the background and end, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S

END_S = 2.0
TRIES = 5
_SLACK = 4
"""So many plain ends more may an end take; one on an idle machine is a tenth of a second."""

BEGINNING = """
import atexit, json, os, signal, sys, time
from otel_agent_trace import AgentTracer, configure

@atexit.register  # before the provider's, so it runs after that
def tell() -> None:
    print(json.dumps(tracer.stats()), flush=True)

provider = configure(otlp=True)
tracer = AgentTracer(tracer_provider=provider)

def emit(number: int, name: str = "s") -> None:
    plain = provider.get_tracer("t")
    for index in range(number):
        plain.start_span(f"{name}{index}").end()
"""


class Program:
    """A program that traces, and what became of it."""

    def __init__(self, code: str, endpoint: str, protocol: str, folder: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", BEGINNING + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                **environment,
            },
        )  # fmt: skip
        self.output = self.errors = ""
        self.code = 0

    def read(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, signal_number: int | None = None) -> float:
        """Let it go on, or send it a signal; the seconds until it is over."""
        began = time.monotonic()
        if signal_number is not None:
            self._process.send_signal(signal_number)
        try:
            self.output, self.errors = self._process.communicate("", timeout=DEADLOCK_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGABRT)  # each process tells its stacks
            self.output, self.errors = self._process.communicate(timeout=DEADLOCK_S)
            pytest.fail(f"it hung\n{self.output}\n{self.errors}")
        self.code = self._process.returncode
        return time.monotonic() - began


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port at which connections are neither taken nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def ends_in_time(attempt: Callable[[], float], most_s: float = END_S) -> bool:
    """Whether an end takes so long at most, once, and on a busy machine longer as the end of any program does."""
    return any(attempt() < most_s + _SLACK * _plain_end_s() for _ in range(TRIES))


def _plain_end_s() -> float:
    """How long a program takes here and now that has nothing to send: to read a line, stop its thread and end."""
    with tempfile.TemporaryDirectory() as folder:
        program = Program(
            "print('done', flush=True); sys.stdin.read()", "http://127.0.0.1:1", "http/protobuf", Path(folder)
        )
        assert program.read() == "done\n"
        return program.end()
