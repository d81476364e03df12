"""``otel-agent-trace run``, as a process of its own, with made-up instrumentations and modules."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pytest

from tests.support.processes import ROOT, environment
from tests.support.waiting import DEADLOCK_S

COMMAND = [sys.executable, "-m", "otel_agent_trace.cli", "run"]
INSTRUMENTOR = """
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

class Instrumentor(BaseInstrumentor):
    def instrumentation_dependencies(self):
        return {needs!r}
    def _instrument(self, **options):
        {begins}
        import client
        tracer = trace.get_tracer("of {name}", tracer_provider=options.get("tracer_provider"))
        def ask(question):
            with tracer.start_as_current_span("chat {name}", attributes={{"question": question}}):
                return question
        client.ask = ask
    def _uninstrument(self, **options):
        import client
        client.ask = client.plain
"""
"""An instrumentation of `client`."""
CLIENT = """
def plain(question):
    return question
ask = plain
"""


class Done(NamedTuple):
    """How a run of the command ended."""

    code: int
    out: str
    err: str


def _heed_signals() -> None:
    """Heed the signals that the shell of the tests ignores, as nohup does SIGHUP: programs inherit that."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Program(subprocess.Popen[str]):
    """A program that is killed, with all that it has started, where a test of it fails."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(kind, value, traceback)


class Place:
    """A folder in which the command runs: with a file for its spans, and modules that programs can import."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "t.jsonl"
        self.modules = folder / "modules"
        self.modules.mkdir()
        self.module("client", CLIENT)

    def module(self, name: str, code: str = "") -> None:
        """Add a module."""
        (self.modules / f"{name}.py").write_text(textwrap.dedent(code))

    def instrumentation(
        self, name: str, *, package: str = "", begins: str = "pass", needs: tuple[str, ...] = ()
    ) -> None:
        """Add an installed instrumentation of `client`; `begins` is what it does first."""
        module = f"instrumentation_of_{name.replace('-', '_')}"
        self.module(module, INSTRUMENTOR.format(name=name, begins=begins, needs=needs))
        metadata = self.modules / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[opentelemetry_instrumentor]\n{name} = {module}:Instrumentor\n")

    def variables(self, **changes: str | None) -> dict[str, str]:
        """The environment of the command."""
        return environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(self.modules)]), **changes)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command in a session of its own, so that signals of tests reach nobody else."""
        usual: dict[str, Any] = {"env": self.variables(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*COMMAND, "--file", str(self.file), *words]
        kept = {"cwd": self.folder, "text": True, "start_new_session": True, "preexec_fn": _heed_signals}
        return Program(command, **{**kept, **usual, **options})

    def run(self, *words: str, given: str = "", **variables: Any) -> Done:
        """Run the command to its end."""
        with self.start(*words, stdin=subprocess.PIPE, env=self.variables(**variables)) as process:
            try:
                out, err = process.communicate(given, timeout=DEADLOCK_S)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail("it hung")
        return Done(process.returncode, out, err)

    def run_code(self, code: str, **variables: Any) -> Done:
        """Run a program of Python under the command."""
        return self.run("--", sys.executable, "-c", textwrap.dedent(code), **variables)
