"""What a traced program imports: nothing of reading, of sending, of the commands, and nothing slow of Python's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import DEADLOCK_S

EMITTING = """
import json, sys
from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, configure

def traced(tracer):
    @tracer.tool
    def search(query):
        return [{"title": query}]

    with tracer.run(agent_name="agent", user_input="question", session_id="s", metadata={"tenant": "acme"}) as run:
        search("weather")
        with run.step("lookup", {"key": 1}) as step:
            step.output = {"value": 2}
        try:
            with run.step("fails", {}):
                raise TimeoutError("too slow")
        except TimeoutError:
            pass
        with run.model_call("model", [{"role": "user", "content": "question"}]) as call:
            call.output = "answer"
        run.final_output = "answer"

traced(AgentTracer(backend=InMemoryBackend()))
traced(AgentTracer(backend=FileBackend("backend.jsonl")))
traced(AgentTracer(tracer_provider=configure(file="configured.jsonl")))
print(json.dumps(sorted(sys.modules)))
"""
NOT_NEEDED = (
    *("click", "google.protobuf", "grpc", "httpx", "rich"),
    *(() if sys.version_info < (3, 11) else ("ssl",)),  # asyncio imports it, which before has a TimeoutError of its own
    *("otel_agent_trace.dialects", "otel_agent_trace.otlp", "otel_agent_trace.reading", "otel_agent_trace.runs"),
    *("otel_agent_trace.sources", "otel_agent_trace.tracing.endpoints"),
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The modules of a program that has traced runs into memory and into files."""
    folder = tmp_path_factory.mktemp("emitting")
    result = subprocess.run(
        [sys.executable, "-c", EMITTING],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLOCK_S,
    )
    assert _lines_of(folder / "backend.jsonl") == _lines_of(folder / "configured.jsonl") == 5
    return frozenset(json.loads(result.stdout))


def _lines_of(file: Path) -> int:
    return len(file.read_bytes().splitlines())


@pytest.mark.parametrize("module", NOT_NEEDED)
def test_emitting_does_not_import(module: str, imported: frozenset[str]) -> None:
    assert module not in imported


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has a TimeoutError of its own before 3.11")
def test_emitting_does_not_import_asyncio(imported: frozenset[str]) -> None:
    assert "asyncio" not in imported


def test_what_emits_is_imported(imported: frozenset[str]) -> None:
    """The program ran in this package: the modules above would have been seen."""
    assert {"otel_agent_trace.tracing.tracer", "otel_agent_trace.backends.file"} <= imported


def test_importing_the_package_imports_next_to_nothing() -> None:
    program = (
        "import sys, otel_agent_trace; print(*(name for name in sys.modules if name.startswith('otel_agent_trace')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=DEADLOCK_S
    )
    assert result.stdout.split() == ["otel_agent_trace.version", "otel_agent_trace"]
