"""Runs as long, or as deep, as runs get."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind, Usage

BEGAN_NS = 1_795_475_000_000_000_000  # 2026-11-23 23:03:20 UTC
STEP_NS = 10_000_000
SHOWN_MESSAGES = 4


def run_of(steps: tuple[AgentStep, ...], **facts: Any) -> AgentRun:
    """A run around some steps, which ends with the last of them."""
    ended_ns = max((step.ended_at_ns or 0 for step in steps), default=BEGAN_NS) + STEP_NS
    known = {"run_id": "r", "agent_name": "weather", "status": RunStatus.SUCCESS, "ended_at_ns": ended_ns}
    return AgentRun(**{**known, "started_at_ns": BEGAN_NS, "steps": steps, **facts})


def step(index: int, **facts: Any) -> AgentStep:
    """A step of 5 ms that began 10 ms after the one before."""
    began_ns = BEGAN_NS + index * STEP_NS
    known = {"step_id": index + 1, "index": index, "name": "search", "started_at_ns": began_ns}
    return AgentStep(**{**known, "ended_at_ns": began_ns + STEP_NS // 2, "span_id": f"{index + 1:016x}", **facts})


def failed(index: int, error: StepError, **facts: Any) -> AgentStep:
    """Such a step with an error."""
    return step(index, error=error, **facts)


def text(role: str, content: str) -> Message:
    """A message of one text."""
    return Message(role=role, parts=({"type": "text", "content": content},))


def long_run(count: int) -> AgentRun:
    """A run of model calls, each with the last messages before it, and of the tools that they call."""
    history = [text("system", "be brief"), text("user", "go")]
    steps = []
    for index in range(0, count, 2):
        call = {"type": "tool_call", "id": f"c{index}", "name": "search", "arguments": {"q": index}}
        answer = Message(role="assistant", parts=({"type": "text", "content": f"search {index}"}, call))
        messages = (*history[-SHOWN_MESSAGES:], answer)
        usage = Usage(input_tokens=10, output_tokens=2)
        steps.append(step(index, kind=StepKind.MODEL, name="gpt-4o", model="gpt-4o", messages=messages, usage=usage))
        steps.append(step(index + 1, input={"q": index}, output=f"result {index}"))
        response = {"type": "tool_call_response", "id": f"c{index}", "response": f"result {index}"}
        history += [answer, Message(role="tool", parts=(response,))]
    return run_of(tuple(steps[:count]), user_input="go")


def deep_run(depth: int, **facts: Any) -> AgentRun:
    """A run whose steps are each part of the one before."""
    steps = [step(index, kind=StepKind.OTHER, parent_step_id=index or None) for index in range(depth)]
    return run_of(tuple(steps), **facts)


def nested_run(depth: int, error: StepError | None = None) -> AgentRun:
    """A run with a sub-agent that has a sub-agent, and so on; all of them fail by the error of the innermost step."""
    status = RunStatus.SUCCESS if error is None else RunStatus.ERROR
    run = run_of((step(0, error=error, usage=Usage(input_tokens=1)),), status=status, error=error)
    for number in range(depth):
        agent = step(0, kind=StepKind.AGENT, name="helper", run=run, error=error)
        run = run_of((agent,), run_id=f"r{number}", status=status, error=error)
    return run
