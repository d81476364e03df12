"""What goes wrong in an agent, and how it reads afterwards. Run it: python examples/error_handling.py."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, InMemoryBackend, load_runs

backend = InMemoryBackend()
tracer = AgentTracer(backend=backend)


def ask_index(query: str) -> list[str]:
    raise ConnectionError(f"the index did not answer to {query!r}")


flaky_search = tracer.tool("flaky_search")(ask_index)


@tracer.tool
def slow_search(query: str) -> list[str]:
    if not Event().wait(timeout=0.01):
        raise TimeoutError(f"no answer to {query!r} within 10 ms")
    return [query]


@tracer.agent
def goes_on(question: str) -> str:
    """The step is an error, the run is none: the agent has another way."""
    try:
        return flaky_search(question)[0]
    except ConnectionError:
        return "I could not search, but I would guess: seven."


@tracer.agent
def runs_out_of_time(question: str) -> str:
    """The timeout leaves the agent: the step is an error, the run ends with status timeout."""
    return slow_search(question)[0]


@tracer.agent
def has_a_bug(question: str) -> str:
    """An exception of the agent's own ends the run with an error, and reaches the caller as it is."""
    return {"answer": question}["anwser"]


def logs_its_error(question: str) -> None:
    """One line per event: after `log_error`, `end_run` does nothing, so it may stand in `finally`."""
    run_id = tracer.start_run({"user_input": question, "agent_name": "logs_its_error"})
    try:
        ask_index(question)
    except ConnectionError as error:
        tracer.log_step(run_id, {"tool_name": "ask_index", "tool_input": {"query": question}, "error": error})
        tracer.log_error(run_id, error)
    finally:
        tracer.end_run(run_id)


def ask(agent: Callable[[str], object]) -> None:
    try:
        agent("How many moons?")
    except (TimeoutError, KeyError) as error:
        print(f"the caller of {agent.__name__} sees {error!r}")


def outcome(item: AgentRun | AgentStep) -> str:
    return "no error" if item.error is None else f"[{item.error.category}] {item.error}"


if __name__ == "__main__":
    for failing in (goes_on, runs_out_of_time, has_a_bug, logs_its_error):
        ask(failing)
    for run in load_runs(backend):
        print(f"{run.agent_name}: {run.status}, {outcome(run)}")
        for step in run.steps:
            print(f"  {step.kind} {step.name}: {outcome(step)}")
