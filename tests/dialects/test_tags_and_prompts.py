"""What other tracers call tags, and the names and versions of prompts."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import SpanRecord, runs_from_spans
from otel_agent_trace.model import AgentRun

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def read(attributes: dict[str, Any]) -> AgentRun:
    (run,) = runs_from_spans([SpanRecord(TRACE, "00f067aa0ba902b7", None, "agent", 1, 2, attributes)])
    return run


LANGFUSE_AGENT = {"langfuse.observation.type": "agent"}
OPENINFERENCE_AGENT = {"openinference.span.kind": "AGENT", "agent.name": "a"}
LANGSMITH_AGENT = {"langsmith.span.kind": "chain", "langsmith.trace.name": "a", "langsmith.metadata.lc_agent_name": "a"}
TRACELOOP_AGENT = {"traceloop.span.kind": "agent", "traceloop.entity.name": "a"}


@pytest.mark.parametrize(
    ("attributes", "tags"),
    [
        ({**LANGFUSE_AGENT, "langfuse.trace.tags": ("beta", "eu")}, ("beta", "eu")),
        ({**LANGFUSE_AGENT, "langfuse.trace.tags": '["beta", "eu"]'}, ("beta", "eu")),
        ({**LANGFUSE_AGENT, "langfuse.trace.tags": "beta, eu"}, ("beta", "eu")),
        ({**OPENINFERENCE_AGENT, "tag.tags": ["beta"]}, ("beta",)),
        ({**LANGSMITH_AGENT, "langsmith.span.tags": "beta, graph:step:1,seq:step:2"}, ("beta",)),
        ({**TRACELOOP_AGENT, "traceloop.association.properties.tags": ["beta"]}, ("beta",)),
        ({"logfire.msg_template": "Agent run {name!r}", "name": "a", "logfire.tags": ["beta", "LLM"]}, ("beta",)),
        ({"ai.operationId": "ai.generateText", "ai.telemetry.metadata.tags": ["beta"]}, ("beta",)),
        ({"lmnr.span.type": "AGENT", "lmnr.association.properties.tags": ["beta"]}, ("beta",)),
    ],
)
def test_tags(attributes: dict[str, Any], tags: tuple[str, ...]) -> None:
    run = read(attributes)
    assert run.tags == tags
    assert [name for name in run.attributes if "tags" in name] == [name for name in attributes if "tags" in name]


@pytest.mark.parametrize(
    ("attributes", "prompt"),
    [
        (
            {"gen_ai.operation.name": "chat", "gen_ai.prompt.name": "p", "gen_ai.prompt.version": "2"},
            ("p", "2"),
        ),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.prompt.name": "p",
                "langfuse.observation.prompt.version": 2,
            },
            ("p", "2"),
        ),
        ({"openinference.span.kind": "LLM", "llm.prompt_template.version": "v2"}, (None, "v2")),
        ({"llm.request.type": "chat", "traceloop.prompt.key": "p", "traceloop.prompt.version": 2}, ("p", "2")),
    ],
)
def test_prompts_of_model_calls(attributes: dict[str, Any], prompt: tuple[str | None, str]) -> None:
    (step,) = read(attributes).steps
    assert (step.prompt_name, step.prompt_version) == prompt
    assert [name for name in step.attributes if "prompt" in name] == []


def test_the_prompt_of_an_agent() -> None:
    run = read({"gen_ai.operation.name": "invoke_agent", "gen_ai.prompt.name": "p", "gen_ai.prompt.version": "2"})
    assert (run.prompt_name, run.prompt_version) == ("p", "2")


def test_a_name_of_a_prompt_is_no_message() -> None:
    """The names begin like those under which older conventions put the prompt itself."""
    older = {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Rain?"}
    (step,) = read({"gen_ai.operation.name": "chat", "gen_ai.prompt.name": "p", **older}).steps
    assert [message.text for message in step.messages] == ["Rain?"]
    assert step.prompt_name == "p"


def test_a_lone_call_has_the_tags_of_its_span() -> None:
    run = read({"openinference.span.kind": "LLM", "llm.model_name": "m", "tag.tags": ["beta"]})
    assert (run.tags, len(run.steps)) == (("beta",), 1)


def test_tags_of_a_step_stay_among_its_attributes() -> None:
    """A step has no tags; what its span says of them is not lost."""
    tool = {"openinference.span.kind": "TOOL", "tool.name": "t", "tag.tags": ["mine"]}
    spans = [
        SpanRecord(TRACE, "00f067aa0ba902b7", None, "agent", 1, 4, OPENINFERENCE_AGENT),
        SpanRecord(TRACE, "00f067aa0ba902b8", "00f067aa0ba902b7", "t", 2, 3, tool),
    ]
    (run,) = runs_from_spans(spans)
    assert run.steps[0].attributes == {"tag.tags": ["mine"]}
