"""The calls of one model count under one name, the requested one, whichever snapshot of it answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, SpanRecord, load_runs, run_to_spans, runs_from_spans
from otel_agent_trace.metrics import ModelMetrics, compute_metrics
from tests.support.handwritten_spans import span

ASKED, ANSWERED = "gpt-4o", "gpt-4o-2024-08-06"

SCHEMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the conventions": (
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": ASKED},
        {"gen_ai.response.model": ANSWERED, "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1},
    ),
    "OpenInference": (
        {"openinference.span.kind": "LLM", "llm.invocation_parameters": json.dumps({"model": ASKED})},
        {"llm.model_name": ANSWERED, "llm.token_count.prompt": 5, "llm.token_count.completion": 1},
    ),
    "OpenLLMetry": (
        {"llm.request.type": "chat", "gen_ai.request.model": ASKED},
        {"gen_ai.response.model": ANSWERED, "gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.completion_tokens": 1},
    ),
    "the AI SDK": (
        {"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": ASKED},
        {"ai.response.model": ANSWERED, "ai.usage.promptTokens": 5, "ai.usage.completionTokens": 1},
    ),
    "LangSmith": (
        {"langsmith.span.kind": "llm", "gen_ai.request.model": ASKED},
        {"gen_ai.response.model": ANSWERED, "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1},
    ),
    "MLflow": (
        {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanInputs": json.dumps({"model": ASKED})},
        {
            "mlflow.llm.model": f'"{ANSWERED}"',
            "mlflow.chat.tokenUsage": '{"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}',
        },
    ),
    "Logfire": (
        {"logfire.msg_template": "Chat Completion with {request_data[model]!r}", "gen_ai.request.model": ASKED},
        {"gen_ai.response.model": ANSWERED, "response_data": '{"usage": {"prompt_tokens": 5, "completion_tokens": 1}}'},
    ),
}


def call(number: int, attributes: dict[str, Any], error: str | None = None) -> SpanRecord:
    return span(str(number), None, (1, 2), "call", attributes, error=error)


def figures(calls: ModelMetrics) -> tuple[float, float, float]:
    return calls.calls, calls.errors, calls.tokens.total_tokens


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_call_that_failed_and_one_that_succeeded_are_calls_of_one_model(scheme: str) -> None:
    requested, answered = SCHEMES[scheme]
    spans = [call(1, {**requested, **answered}), call(2, requested, error="overloaded")]
    runs = runs_from_spans(spans)
    assert {name: figures(calls) for name, calls in compute_metrics(runs).models.items()} == {ASKED: (2, 1, 6)}
    assert {step.model for run in runs for step in run.steps} == {ASKED, ANSWERED}
    assert len(load_runs(_Runs(runs), model=ASKED)) == 2
    assert len(load_runs(_Runs(runs), model=ANSWERED)) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_names_are_there_after_runs_were_written_as_our_spans(scheme: str) -> None:
    requested, answered = SCHEMES[scheme]
    (run,) = runs_from_spans([call(1, {**requested, **answered})])
    (again,) = runs_from_spans(run_to_spans(run))
    assert again.steps[0].model == ANSWERED
    assert compute_metrics([again]) == compute_metrics([run])
    assert list(compute_metrics([again]).models) == [ASKED]


def test_reports_of_one_model_are_added_under_one_name() -> None:
    requested, answered = SCHEMES["the conventions"]
    succeeded = compute_metrics(runs_from_spans([call(1, {**requested, **answered})]))
    failed = compute_metrics(runs_from_spans([call(2, requested, error="overloaded")]))
    assert {name: figures(calls) for name, calls in (succeeded + failed).models.items()} == {ASKED: (2, 1, 6)}


def test_the_calls_of_our_own_tracer_count_under_the_requested_model() -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with tracer.run() as run:
        with run.model_call(ASKED) as call:
            call.model = ANSWERED
            call.usage = {"input_tokens": 5, "output_tokens": 1}
        with pytest.raises(TimeoutError), run.model_call(ASKED):
            raise TimeoutError
    assert {name: figures(calls) for name, calls in compute_metrics(memory.runs()).models.items()} == {ASKED: (2, 1, 6)}


def test_a_model_that_nobody_requested_by_name_counts_under_the_name_that_answered() -> None:
    answered = {"gen_ai.operation.name": "chat", "gen_ai.response.model": ANSWERED}
    assert list(compute_metrics(runs_from_spans([call(1, answered)])).models) == [ANSWERED]


def test_no_model_answered_a_call_of_spring_that_failed() -> None:
    """Spring AI writes "none" as the model that answered."""
    failed = {"gen_ai.operation.name": "chat", "gen_ai.request.model": ASKED, "gen_ai.response.model": "none"}
    (run,) = runs_from_spans([call(1, failed, error="overloaded")])
    assert (run.steps[0].model, list(compute_metrics([run]).models)) == (ASKED, [ASKED])


class _Runs:
    """Hold runs as a backend without spans does."""

    def __init__(self, runs: list[Any]) -> None:
        self._runs = runs

    def runs(self) -> list[Any]:
        return self._runs
