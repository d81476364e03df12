"""Agents of real frameworks, traced by their own instrumentations into our file, their tools steps of ours: read back.

Each program runs in a process of its own, since what instruments a framework changes it for good. Its model is the same
for all: a server on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import otel_agent_trace
from otel_agent_trace import AgentRun, AgentStep, StepKind, load_runs, open_source
from otel_agent_trace.cli import main
from otel_agent_trace.model import StepError, Usage
from tests.support.requirements import need_package
from tests.support.scripted_model import MODEL, Calls, Refuses, Says, scripted_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-ai and LangChain need Python 3.11"),
]
PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(otel_agent_trace.__file__).parents[1]
OF_OTHERS = ("OTEL_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_", "TRACELOOP_", "OPENINFERENCE_")
SCRIPT = {
    "Rain in Lyon?": [Calls("forecast", {"city": "Lyon"}, 100, 11), Says("Yes.", 120, 12)],
    "Rain in Atlantis?": [Calls("forecast", {"city": "Atlantis"}, 130, 13), Says("Who knows?", 140, 14)],
    "Rain on Mars?": [Refuses(429, "too many questions")],
    "Plan a day in Lyon.": [
        Calls("ask_meteorologist", {"question": "Rain in Lyon?"}, 200, 21),
        Says("Visit a museum.", 220, 22),
    ],
    "Host, rain in Lyon?": [Calls("forecast", {"city": "Lyon"}, 300, 31), Says("It does rain.", 320, 32)],
}
HANDOFF = {
    "Dear concierge, rain?": [
        Calls("transfer_to_meteorologist", {}, 400, 41),
        Calls("forecast", {"city": "Lyon"}, 420, 42),
        Says("Take an umbrella.", 440, 44),
    ],
}
IN_LYON = ("tool", "forecast", {"city": "Lyon"}, {"sky": "rain", "wind": "north"})
IN_ATLANTIS = ("tool", "forecast", {"city": "Atlantis"}, "failed: no city Atlantis")


class Instrumentation(NamedTuple):
    """Who traces which program, and what it does not tell, or tells beside."""

    program: str
    module: str
    packages: tuple[str, ...]
    dialect: str
    session: str | None = "holiday"
    goes_on_after_a_tool_failed: bool = False
    asked_where_the_model_failed: str | None = "Rain on Mars?"
    model_where_it_failed: str = MODEL
    agents_stand_below_tools: bool = True
    """Whether the span of an agent that a tool asked has the tool's span as its parent."""
    handoff: tuple[Any, ...] | None = None
    """The steps that are the handoff; None where the framework knows none."""

    def __str__(self) -> str:
        return f"{self.program}, {self.dialect}"


OPENAI_AGENTS = {
    "session": None,
    "goes_on_after_a_tool_failed": True,
    "asked_where_the_model_failed": None,
}
INSTRUMENTATIONS = [
    Instrumentation("pydantic_ai_agents", "pydantic_ai", ("pydantic-ai-slim",), "pydantic_ai"),
    Instrumentation(
        "openai_agents",
        "openinference.instrumentation.openai_agents",
        ("openai-agents", "openinference-instrumentation-openai-agents"),
        "openinference",
        **OPENAI_AGENTS,
        model_where_it_failed="response",
        handoff=(("tool", "handoff to meteorologist", "concierge", "meteorologist"),),
    ),
    Instrumentation(
        "openai_agents",
        "opentelemetry.instrumentation.openai_agents",
        ("openai-agents", "opentelemetry-instrumentation-openai-agents"),
        "traceloop",
        **OPENAI_AGENTS,
        model_where_it_failed="openai.response",
        agents_stand_below_tools=False,
        handoff=(),
    ),
    Instrumentation(
        "langgraph_agents",
        "openinference.instrumentation.langchain",
        ("langchain", "langchain-openai", "openinference-instrumentation-langchain"),
        "openinference",
    ),
    Instrumentation(
        "langgraph_agents",
        "opentelemetry.instrumentation.langchain",
        ("langchain", "langchain-openai", "opentelemetry-instrumentation-langchain"),
        "traceloop",
    ),
]


# ── what the runs must be ────────────────────────────────────────────────────────────────────────────────────────────


class Told(NamedTuple):
    """A run as this file writes it down."""

    agent: str
    dialect: str
    asked: Any
    answered: Any
    status: str
    session: str | None
    tokens: tuple[int | None, int | None] | None
    steps: list[tuple[Any, ...]]


def told(run: AgentRun) -> Told:
    """A run as it was read."""
    return Told(
        agent=str(run.agent_name),
        dialect=str(run.dialect).partition(" + ")[0],  # our own tool speaks another
        asked=run.user_input,
        answered=f"failed: {cause(run.error)}" if run.error else run.final_output,
        status=run.status.value,
        session=run.session_id,
        tokens=counted(run.usage),
        steps=[step_told(step, run.steps) for step in run.steps if step.parent_step_id is None],
    )


def step_told(step: AgentStep, steps: tuple[AgentStep, ...]) -> tuple[Any, ...]:
    """A step, and those below it."""
    below = [step_told(child, steps) for child in steps if child.parent_step_id == step.step_id]
    if step.run is not None:
        assert not below
        return ("agent", step.name, told(step.run))
    facts: tuple[Any, ...] = (step.kind.value, step.name)
    if step.kind is StepKind.MODEL:
        facts += (f"failed: {cause(step.error)}" if step.error else counted(step.usage),)
    else:
        facts += (step.input, f"failed: {cause(step.error)}" if step.error else step.output)
    return (*facts, *below)


def cause(error: StepError) -> str:
    """The cause in a message; frameworks write around it."""
    known = ("too many questions", "no city Atlantis")
    return next((words for words in known if words in error.message), error.message)


def counted(usage: Usage | None) -> tuple[int | None, int | None] | None:
    """Tokens in and out."""
    return None if usage is None else (usage.input_tokens, usage.output_tokens)


def asked_model(input_tokens: int, output_tokens: int) -> tuple[Any, ...]:
    """A call of the model."""
    return ("model", MODEL, (input_tokens, output_tokens))


def expected(by: Instrumentation) -> dict[str, Told]:
    """The runs as they were, by question."""

    def meteorologist(asked: str | None, answered: str, tokens: Any, *steps: tuple[Any, ...]) -> Told:
        status = "error" if answered.startswith("failed") else "success"
        return Told("meteorologist", by.dialect, asked, answered, status, by.session, tokens, list(steps))

    def helped(agent: str, asked: str, answered: str, tokens: Any, *steps: tuple[Any, ...]) -> Told:
        return Told(agent, by.dialect, asked, answered, "success", by.session, tokens, list(steps))

    in_lyon = meteorologist("Rain in Lyon?", "Yes.", (220, 23), asked_model(100, 11), IN_LYON, asked_model(120, 12))
    guest = meteorologist(
        "Host, rain in Lyon?", "It does rain.", (620, 63), asked_model(300, 31), IN_LYON, asked_model(320, 32)
    )
    asking = ("tool", "ask_meteorologist", {"question": "Rain in Lyon?"}, "Yes.")
    helper = ("agent", "meteorologist", in_lyon)
    runs = {
        "Rain in Lyon?": in_lyon,
        "Rain in Atlantis?": meteorologist(
            "Rain in Atlantis?", "failed: no city Atlantis", (130, 13), asked_model(130, 13), IN_ATLANTIS
        ),
        "Rain on Mars?": meteorologist(
            by.asked_where_the_model_failed,
            "failed: too many questions",
            None,
            ("model", by.model_where_it_failed, "failed: too many questions"),
        ),
        "Plan a day in Lyon.": helped(
            "planner",
            "Plan a day in Lyon.",
            "Visit a museum.",
            (640, 66),
            asked_model(200, 21),
            *([(*asking, helper)] if by.agents_stand_below_tools else [asking, helper]),
            asked_model(220, 22),
        ),
        "Host, rain in Lyon?": Told(
            "host",
            "genai",
            "Host, rain in Lyon?",
            "It does rain.",
            "success",
            None,
            (620, 63),
            [("agent", "meteorologist", guest)],
        ),
    }
    if by.goes_on_after_a_tool_failed:
        runs["Rain in Atlantis?"] = meteorologist(
            "Rain in Atlantis?", "Who knows?", (270, 27), asked_model(130, 13), IN_ATLANTIS, asked_model(140, 14)
        )
    if by.handoff is not None:
        answers = "Take an umbrella."
        taken = meteorologist(
            "Dear concierge, rain?", answers, (860, 86), asked_model(420, 42), IN_LYON, asked_model(440, 44)
        )
        steps = (asked_model(400, 41), *by.handoff, ("agent", "meteorologist", taken))
        runs["Dear concierge, rain?"] = helped("concierge", "Dear concierge, rain?", answers, (1260, 127), *steps)
    return runs


# ── the test ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", INSTRUMENTATIONS, ids=str)
def test_runs_of_a_framework_are_read_as_they_were(
    by: Instrumentation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "traces.jsonl"
    script = SCRIPT if by.handoff is None else SCRIPT | HANDOFF
    run_program(by, file, script)
    runs = dict(zip(script, load_runs(file), strict=True))
    wanted = expected(by)
    for question, run in runs.items():
        assert told(run) == wanted[question]
    assert our_tool_spans(file) == sorted(tool_names([told(run) for run in runs.values()]))
    assert main(["show", str(file), runs["Plan a day in Lyon."].run_id]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("planner  success")
    for words in (
        "question  Plan a day in Lyon.",
        "640 in, 66 out",
        "agent meteorologist",
        "answer    Visit a museum.",
    ):
        assert words in shown
    assert shown.count("tool forecast") == shown.count("tool ask_meteorologist") == 1


def run_program(by: Instrumentation, file: Path, script: dict[str, Any]) -> None:
    """Ask the framework's agents all questions of a script."""
    for package in by.packages:
        need_package(package, "frameworks")
    env = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)}
    with scripted_model(script) as url:
        env |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(PROGRAMS / f"{by.program}.py"), by.module, str(file), *script]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def our_tool_spans(file: Path) -> list[str]:
    """The names of the tools in spans of our own tracer that stand below others in the file."""
    spans = {span.span_id: span for trace in open_source(file).traces(pytest.fail) for span in trace}
    ours = [span for span in spans.values() if span.scope.name == "otel_agent_trace" and "execute_tool" in span.name]
    assert all(span.parent_span_id in spans for span in ours)
    return sorted(span.name.removeprefix("execute_tool ") for span in ours)


def tool_names(found: list[Any]) -> list[str]:
    """The names of the tools in runs that were told, at any depth, without those of the framework itself."""
    names = []
    for item in found:
        if isinstance(item, tuple) and item[:1] == ("tool",) and not item[1].startswith("handoff"):
            names.append(item[1])
        if isinstance(item, tuple | list):
            names.extend(tool_names(list(item)))
    return names
