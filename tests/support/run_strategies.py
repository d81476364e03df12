"""Runs as they are compared: few names and arguments, so that calls come again, any values, and sub-agents."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace.model import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind, Usage
from tests.support.strategies import values

BEGAN_NS = 1_795_475_000_000_000_000
STEP_NS = 1_000_000
_KINDS = (StepKind.TOOL, StepKind.TOOL, StepKind.MODEL, StepKind.RETRIEVAL, StepKind.OTHER)
_ARGUMENTS = ({"q": "rain"}, {"q": "snow"}, {"q": "rain", "days": 2}, {"set": {"a", "b"}})


@st.composite
def agent_runs(draw: st.DrawFn, run_id: str = "run", depth: int = 2) -> AgentRun:
    """A run whose steps follow each other, some of them inside an earlier one."""
    steps: list[AgentStep] = []
    for index in range(draw(st.integers(0, 5))):
        inner = [step.step_id for step in steps if step.kind is StepKind.OTHER]
        parent = draw(st.none() | st.sampled_from(inner)) if inner else None
        is_agent = depth > 0 and draw(st.integers(0, 3)) == 0
        step = draw(_agent_steps(run_id, index, depth)) if is_agent else draw(_steps(index))
        steps.append(replace(step, parent_step_id=parent))
    return AgentRun(
        run_id=run_id,
        agent_name=draw(st.sampled_from(("weather", "planner"))),
        user_input=draw(st.sampled_from(("Will it rain?", "Will it snow?"))),
        final_output=draw(values(3)),
        status=RunStatus.SUCCESS,
        usage=Usage(input_tokens=draw(st.integers(0, 9))),
        started_at_ns=BEGAN_NS,
        ended_at_ns=BEGAN_NS + 100 * STEP_NS,
        steps=tuple(steps),
    )


@st.composite
def _agent_steps(draw: st.DrawFn, run_id: str, index: int, depth: int) -> AgentStep:
    run = draw(agent_runs(f"{run_id}-{index}", depth - 1))
    name = run.agent_name or ""
    return _timed(index, AgentStep(kind=StepKind.AGENT, name=name, run=replace(run, parent_run_id=run_id)))


@st.composite
def _steps(draw: st.DrawFn, index: int) -> AgentStep:
    kind = draw(st.sampled_from(_KINDS))
    facts: dict[str, Any] = {"name": draw(st.sampled_from(("search", "fetch"))), "output": draw(_arguments())}
    if kind is StepKind.MODEL:
        facts = {"name": "gpt", "model": "gpt", "usage": Usage(input_tokens=draw(st.integers(0, 9)))}
        facts["messages"] = (_message("user", draw(st.sampled_from("ab"))), _message("assistant", "c"))
    elif draw(st.booleans()):
        facts["error"] = StepError(type="builtins.ValueError", message=draw(st.sampled_from("ab")))
    return _timed(index, AgentStep(kind=kind, input=draw(_arguments()), **facts))


@st.composite
def _arguments(draw: st.DrawFn) -> Any:
    return draw(values(3)) if draw(st.integers(0, 4)) == 0 else draw(st.sampled_from(_ARGUMENTS))


def _message(role: str, content: str) -> Message:
    return Message(role=role, parts=({"type": "text", "content": content},))


def _timed(index: int, step: AgentStep) -> AgentStep:
    began_ns = BEGAN_NS + index * STEP_NS
    return replace(step, step_id=index + 1, index=index, started_at_ns=began_ns, ended_at_ns=began_ns + STEP_NS // 2)
