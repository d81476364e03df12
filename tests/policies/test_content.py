"""Content stays out of spans where that is asked for; names, structure and figures stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, configure
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.policies.content import frames_of
from otel_agent_trace.policies.content_names import Content, content_of

QUESTION, ANSWER, GIVEN, RESULT, REASON = "asked-text", "answered-text", "given-text", "result-text", "reason-text"
TEXTS = (QUESTION, ANSWER, GIVEN, RESULT, REASON, "metadata-text", "config-text")


def trace_everything(tracer: AgentTracer) -> None:
    """A run with a tool that succeeds, one that fails, and two model calls of one conversation."""

    @tracer.tool
    def look(place: str) -> dict[str, str]:
        return {"sky": RESULT}

    @tracer.tool
    def fail(place: str) -> None:
        raise ValueError(REASON)

    @tracer.model(model="m")
    def chat(messages: list[dict[str, str]]) -> dict[str, Any]:
        return {"role": "assistant", "content": ANSWER, "usage": {"input_tokens": 3, "output_tokens": 2}}

    sent = [{"role": "user", "content": QUESTION}]
    with tracer.run(user_input=QUESTION, agent_name="weather", config={"c": "config-text"}) as run:
        run.metadata = {"m": "metadata-text"}
        look(GIVEN)
        with pytest.raises(ValueError, match=REASON):
            fail(GIVEN)
        chat(sent)
        chat([*sent, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": QUESTION}])
        run.final_output = ANSWER


def recorded(**options: Any) -> tuple[AgentRun, str]:
    """The run, and all that is stored of it as text."""
    backend = InMemoryBackend()
    trace_everything(AgentTracer(backend=backend, **options))
    (run,) = backend.runs()
    return run, repr(list(backend.traces(print)))


def found_in(stored: str) -> set[str]:
    return {text for text in TEXTS if text in stored}


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("all", set(TEXTS)),
        ("no_inputs", {ANSWER, RESULT, REASON, "metadata-text", "config-text"}),
        ("no_outputs", {QUESTION, GIVEN, REASON, "metadata-text", "config-text"}),
        ("none", set()),
    ],
)
def test_what_each_mode_keeps(mode: str, kept: set[str]) -> None:
    """What models and tools answered is an output also where the next call is sent it."""
    run, stored = recorded(content=mode)
    assert found_in(stored) == kept
    assert [(step.kind.value, step.name) for step in run.steps] == [
        ("tool", "look"),
        ("tool", "fail"),
        ("model", "chat"),
        ("model", "chat"),
    ]
    error = run.steps[1].error
    assert error is not None
    assert (error.type, error.category) == ("ValueError", recorded()[0].steps[1].error.category)  # type: ignore[union-attr]
    assert (run.agent_name, run.steps[2].model) == ("weather", "m")


def test_a_stack_trace_keeps_its_frames_and_classes() -> None:
    run, _ = recorded(content="none")
    error = run.steps[1].error
    assert error is not None
    assert error.stacktrace is not None
    assert "in fail" in error.stacktrace
    assert error.stacktrace.splitlines()[-1] == "ValueError"


def test_frames_of_other_languages() -> None:
    java = "com.acme.BadError: reason\n\tat com.acme.A.f(A.java:3)\nCaused by: java.io.IOException: more"
    assert frames_of(java) == "com.acme.BadError\n\tat com.acme.A.f(A.java:3)"


# ── who decides ──────────────────────────────────────────────────────────────────────────────────────────────────────


def tool_of(tracer: AgentTracer, capture: bool | None) -> Callable[[str], str]:
    @tracer.tool(capture=capture)
    def look(place: str) -> str:
        return RESULT

    return look


@pytest.mark.parametrize(
    ("variable", "configured", "given", "capture", "is_kept"),
    [
        (None, None, None, None, True),
        ("NO_CONTENT", None, None, None, False),
        ("event_only", None, None, None, False),
        ("Span_Only", None, None, None, True),
        ("SPAN_AND_EVENT", None, None, None, True),
        ("something", None, None, None, False),
        ("NO_CONTENT", "all", None, None, True),
        ("SPAN_ONLY", "none", None, None, False),
        (None, "none", "all", None, True),
        (None, "all", "none", None, False),
        (None, "none", "none", True, True),
        (None, "all", "all", False, False),
    ],
)
def test_the_decorator_goes_before_the_tracer_and_that_before_configure_and_the_variable(
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    configured: Any,
    given: Any,
    capture: bool | None,
    is_kept: bool,
) -> None:
    if variable is not None:
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", variable)
    backend = InMemoryBackend()
    provider = configure(backends=[backend], otlp=False, content=configured)
    tool_of(AgentTracer(tracer_provider=provider, content=given), capture)(GIVEN)
    (run,) = backend.runs()
    assert (run.steps[0].input == {"place": GIVEN}) is is_kept
    assert (run.steps[0].output == RESULT) is is_kept


def test_agents_and_models_that_capture_nothing() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)

    @tracer.model(model="m", capture=False)
    def chat(messages: list[dict[str, str]]) -> str:
        return ANSWER

    @tracer.agent(capture=False)
    def weather(question: str) -> str:
        return chat([{"role": "user", "content": question}])

    assert weather(QUESTION) == ANSWER
    (run,) = backend.runs()
    assert (run.user_input, run.final_output, run.steps[0].messages, run.steps[0].model) == (None, None, (), "m")


def test_on_a_provider_of_others_content_does_not_reach_a_span() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_everything(AgentTracer(tracer_provider=provider, content="none"))
    spans = exporter.get_finished_spans()
    assert len(spans) == 5
    assert found_in(repr([span.to_json() for span in spans])) == set()


def test_spans_of_other_instrumentations_obey() -> None:
    backend = InMemoryBackend()
    provider = configure(backends=[backend], otlp=False, content="none")
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.prompt.0.content": QUESTION,
        "llm.input_messages.0.message.content": QUESTION,
        "traceloop.entity.output": ANSWER,
        "customer": GIVEN,
        "amount": 12,
    }
    with provider.get_tracer("other").start_as_current_span("chat m", attributes=attributes) as span:
        span.add_event("gen_ai.user.message", {"content": QUESTION})
    (record,) = next(backend.traces(print))
    assert dict(record.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
    }
    assert found_in(repr(record)) == set()


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="content='some' must be one of all, no_inputs, no_outputs, none"):
        AgentTracer(backend=InMemoryBackend(), content="some")  # type: ignore[arg-type]


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gen_ai.completion.0.tool_calls.0.arguments", Content.OUTPUT),
        ("llm.input_messages.1.message.content", Content.INPUT),
        ("llm.token_count.prompt", Content.STRUCTURE),
        ("ai.response.toolCalls", Content.OUTPUT),
        ("mlflow.spanInputs", Content.INPUT),
        ("gcp.vertex.agent.tool_response", Content.OUTPUT),
        ("retrieval.documents.0.document.content", Content.BOTH),
        ("gen_ai.output.type", Content.STRUCTURE),
        ("gen_ai.request.top_p", Content.STRUCTURE),
        ("openinference.span.kind", Content.STRUCTURE),
        ("user.id", Content.STRUCTURE),
        ("user.email", Content.OTHER),
        ("patient", Content.OTHER),
        ("db.statement", Content.OTHER),
    ],
)
def test_what_an_attribute_holds_is_known_by_its_words(name: str, content: Content) -> None:
    assert content_of(name) is content
