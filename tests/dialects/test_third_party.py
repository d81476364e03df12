"""Dialects that other packages bring, by entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.waiting import DEADLOCK_S

MODULE = """
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.model import StepKind


def read(span):
    what = span.attributes.get("acme.what")
    if what != "job":
        return None
    return SpanFacts(kind=StepKind.AGENT, dialect="acme", name="named by acme")
"""
PROGRAM = """
from otel_agent_trace import SpanRecord, runs_from_spans

attributes = {"acme.what": "job", "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "named by genai"}
(run,) = runs_from_spans([SpanRecord("1" * 32, "2" * 16, None, "job", 1, 2, attributes)])
print(run.agent_name, "/", run.dialect)
"""


def test_a_dialect_of_another_package_is_asked_first(tmp_path: Path) -> None:
    """A package with an entry point is installed, and nothing else is done for it."""
    (tmp_path / "acme_traces.py").write_text(MODULE)
    described = tmp_path / "acme_traces-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-traces\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[otel_agent_trace.dialects]\nacme = acme_traces:read\n")
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=DEADLOCK_S
    )
    assert (done.stdout, done.stderr) == ("named by acme / acme\n", "")


def test_a_dialect_that_cannot_be_imported_costs_no_run(tmp_path: Path) -> None:
    """It is reported, and the other dialects read."""
    described = tmp_path / "acme_traces-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-traces\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[otel_agent_trace.dialects]\nacme = acme_traces:read\n")
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=DEADLOCK_S
    )
    assert done.stdout == "named by genai / genai\n"
    assert "acme" in done.stderr
    assert "Traceback" not in done.stderr
