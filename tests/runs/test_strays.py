"""Model calls that a framework's callbacks and a client's own instrumentation hang at different places of one trace."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, SpanRecord, runs_from_spans
from tests.support.handwritten_spans import numbered_span

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def span(
    number: int, parent: int | None, times: tuple[int, int], operation: str, scope: str, **attributes: Any
) -> SpanRecord:
    """A span after the conventions; ``gen_ai__x`` is written for ``gen_ai.x``."""
    service = attributes.pop("service", "app")
    attributes = {"gen_ai.operation.name": operation} | {key.replace("__", "."): attributes[key] for key in attributes}
    return numbered_span(number, parent, times, operation, attributes, scope=scope, service=service)


def chat(
    number: int, parent: int | None, times: tuple[int, int], tokens: int, scope: str, **attributes: Any
) -> SpanRecord:
    """A model call; as many tokens went in as came out."""
    usage = {"gen_ai__usage__input_tokens": tokens, "gen_ai__usage__output_tokens": tokens}
    return span(number, parent, times, "chat", scope, **usage, **attributes)


HOST = span(1, None, (0, 99), "invoke_agent", "otel_agent_trace", gen_ai__agent__name="host")
INNER_AGENT = span(2, 1, (1, 98), "invoke_agent", "framework", gen_ai__agent__name="inner")
CALLS = [chat(3, 2, (10, 20), 7, "framework"), chat(4, 2, (30, 40), 8, "framework")]


def runs(*spans: SpanRecord) -> list[AgentRun]:
    return runs_from_spans(spans)


def model_calls(steps: tuple[AgentStep, ...]) -> list[AgentStep]:
    """All model calls, those of sub-agents too."""
    found = []
    for step in steps:
        found += [step] if step.run is None else model_calls(step.run.steps)
    return [step for step in found if step.kind.value == "model"]


@pytest.mark.parametrize("parent", [1, None, 77], ids=["in the host", "above all", "in a span that was lost"])
def test_a_call_that_a_client_traced_elsewhere_counts_once(parent: int | None) -> None:
    client = [
        chat(5, parent, (12, 18), 7, "client", gen_ai__response__model="m-1"),
        chat(6, parent, (32, 38), 8, "client", gen_ai__response__model="m-1"),
    ]
    for spans in ([HOST, INNER_AGENT, *CALLS, *client], [*client[::-1], *CALLS[::-1], INNER_AGENT, HOST]):
        (run,) = runs(*spans)
        (step,) = run.steps
        assert step.name == "inner"
        assert [call.model for call in model_calls(run.steps)] == ["m-1", "m-1"]
        assert run.usage is not None
        assert (run.usage.input_tokens, run.usage.output_tokens) == (15, 15)


def test_calls_at_the_same_time_are_joined_one_by_one() -> None:
    equal_calls = [chat(3, 2, (10, 20), 7, "framework"), chat(4, 2, (10, 20), 7, "framework")]
    client = [chat(number, 1, (12, 18), 7, "client") for number in (5, 6, 7)]
    (run,) = runs(HOST, INNER_AGENT, *equal_calls, *client)
    assert len(model_calls(run.steps)) == 3  # two were seen twice, one only by the client


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(chat(5, 1, (12, 18), 9, "client"), id="other tokens"),
        pytest.param(chat(5, 1, (12, 22), 7, "client"), id="another time"),
        pytest.param(chat(5, 1, (12, 18), 7, "framework"), id="the same scope"),
        pytest.param(chat(5, 1, (12, 18), 7, "client", service="tools"), id="another program"),
        pytest.param(span(5, 1, (12, 18), "chat", "client"), id="no tokens"),
    ],
)
def test_another_call_stays_another(other: SpanRecord) -> None:
    (run,) = runs(HOST, INNER_AGENT, *CALLS, other)
    assert [step.name for step in run.steps] == ["inner", "chat"]
    assert len(model_calls(run.steps)) == 3


def test_answers_with_different_ids_are_different() -> None:
    call = chat(3, 2, (10, 20), 7, "framework", gen_ai__response__id="r-1")
    (run,) = runs(HOST, INNER_AGENT, call, chat(5, 1, (12, 18), 7, "client", gen_ai__response__id="r-2"))
    assert len(model_calls(run.steps)) == 2
