"""Spans in OpenInference's names whose kind is missing or says little are model calls if they record one."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace.model import StepKind
from tests.support.handwritten_spans import only_run, span

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
MODEL = {"llm.model_name": "m"}
TOKENS = {"llm.token_count.prompt": 3, "llm.token_count.completion": 5}
ANSWER = {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Yes."}


@pytest.mark.parametrize("kind", [None, "UNKNOWN", "CHAIN"])
@pytest.mark.parametrize("evidence", [MODEL | TOKENS | ANSWER, MODEL | ANSWER, TOKENS | ANSWER])
def test_an_answer_with_a_model_or_tokens_makes_a_call(kind: str | None, evidence: dict[str, Any]) -> None:
    recorded = evidence | ({} if kind is None else {"openinference.span.kind": kind})
    run = only_run(span("1", None, (0, 90), "agent", AGENT), span("2", "1", (10, 20), "invoke", recorded))
    (step,) = run.steps
    assert step.kind is StepKind.MODEL
    assert (step.model, step.usage and step.usage.output_tokens) == (
        "m" if "llm.model_name" in evidence else None,
        5 if "llm.token_count.prompt" in evidence else None,
    )


def test_a_chain_around_calls_that_has_their_sum_is_none() -> None:
    chain = {"openinference.span.kind": "CHAIN", **MODEL, **TOKENS}
    call = {"openinference.span.kind": "LLM", **MODEL, **TOKENS, **ANSWER}
    run = only_run(
        span("1", None, (0, 90), "agent", AGENT),
        span("2", "1", (10, 50), "chain", chain),
        span("3", "2", (11, 20), "ChatOpenAI", call),
        span("4", "2", (21, 40), "ChatOpenAI", call),
    )
    assert [step.span_id for step in run.steps] == ["0000000000000003", "0000000000000004"]
