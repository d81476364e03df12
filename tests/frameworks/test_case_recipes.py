"""docs/cases.md: pydantic-evals and Inspect evaluate an agent over cases, and what pydantic-evals then writes is read."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from otel_agent_trace import Score, load_cases, load_runs
from tests.support.case_page import PAGE, prepare, run_program
from tests.support.documents import ROOT, named_files, section, shown_outputs
from tests.support.requirements import need_package

RECIPES = {"pydantic-evals": "pydantic-evals", "Inspect": "inspect-ai"}
LOGFIRE = """
import logfire
from opentelemetry import trace

from otel_agent_trace import AgentSpanProcessor, AgentTracer, FileBackend

processor = AgentSpanProcessor(FileBackend("evaluated.jsonl"))
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[processor])
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-evals and Inspect need Python 3.11"),
]


@pytest.mark.parametrize("title", RECIPES)
def test_cases_are_evaluated(title: str, tmp_path: Path) -> None:
    need_package(RECIPES[title], "frameworks")
    prepare(tmp_path)
    recipe = section(PAGE, title)
    (name,) = named_files(recipe)
    assert run_program(name, tmp_path) == shown_outputs(recipe)[0]
    asked = [run.user_input for run in load_runs(tmp_path / "traces.jsonl")]
    assert sorted(set(asked)) == ["The weather in Lyon?", "The weather in Nantes?"]
    assert len(asked) > len(load_cases(tmp_path / "cases.jsonl"))


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_installs_a_package_that_the_tests_have(title: str) -> None:
    (requirement,) = re.findall(r'^`pip install "(.*)"`$', section(PAGE, title), re.MULTILINE)
    assert f'"{requirement};' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_results_of_pydantic_evals_are_scores_of_the_runs_that_were_evaluated(tmp_path: Path) -> None:
    """Its spans, which Logfire writes, are around the runs of all cases: each run has the results of its own."""
    need_package("pydantic-evals", "frameworks")
    need_package("logfire", "frameworks")
    prepare(tmp_path)
    weather = (tmp_path / "weather.py").read_text()
    ours = 'AgentTracer(backend=FileBackend("traces.jsonl"))'
    assert weather.count(ours) == 1
    traced = weather.replace(ours, "AgentTracer(tracer_provider=trace.get_tracer_provider())")
    (tmp_path / "weather.py").write_text(LOGFIRE + traced)
    run_program("evals.py", tmp_path)
    lyon, nantes = sorted(load_runs(tmp_path / "evaluated.jsonl"), key=lambda run: run.user_input)
    (score,) = lyon.scores
    verdict = Score(name="EqualsExpected", value=True, label="pass", source="EqualsExpected", at_ns=score.at_ns)
    assert (lyon.final_output, score) == ("rain", verdict)
    assert (nantes.final_output, nantes.scores) == ("sun", ())
