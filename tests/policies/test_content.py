"""Content stays out of spans where that is asked for; names, structure and figures stay."""

from __future__ import annotations

import builtins
import json
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, configure
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.policies.content import ContentPolicy
from otel_agent_trace.policies.content_names import Content, content_of
from otel_agent_trace.policies.content_removal import frames_of
from otel_agent_trace.policies.masking import MaskPolicy
from otel_agent_trace.span import Event, LogRecord, Resource, SpanRecord

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
    assert frames_of(java) == "com.acme.BadError\n\tat com.acme.A.f(A.java:3)\nCaused by: java.io.IOException"
    javascript = "TypeError: no Ann\nSmith\n    at f (/app/x.js:1:2)\n    at async /app/y.mjs:3:4\n    at home (alone)"
    assert frames_of(javascript) == "TypeError\n    at f (/app/x.js:1:2)\n    at async /app/y.mjs:3:4"
    dotnet = "System.Exception: no Ann\n   at Acme.A.F(String a) in C:\\a.cs:line 5"
    assert frames_of(dotnet) == "System.Exception\n   at Acme.A.F(String a) in C:\\a.cs:line 5"


def test_lines_of_a_message_are_no_classes_and_no_frames() -> None:
    message = 'Ann\nSmith\nPatient: Bob\n  File "x", line 3, in a letter to Carol\n    at home (5pm)\nDan.Miller: x'
    try:
        raise ValueError(message)
    except ValueError:
        kept = frames_of(traceback.format_exc())
    assert kept.splitlines()[0] == "Traceback (most recent call last):"
    assert kept.splitlines()[2:] == ["ValueError"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_a_group_of_exceptions_keeps_its_classes() -> None:
    make: Any = vars(builtins)["ExceptionGroup"]
    group = make("for Ann", [KeyError("Bob"), make("for Carol", [OSError("Dan")])])
    kept = frames_of("".join(traceback.format_exception(group)))
    assert not re.search("Ann|Bob|Carol|Dan", kept)
    assert re.findall(r"\w*(?:Group|Error)$", kept, re.MULTILINE) == [
        "ExceptionGroup",
        "KeyError",
        "ExceptionGroup",
        "OSError",
    ]


# ── who decides ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_of_the_variable_that_is_not_known_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPANS_ONLY")
    for _ in range(3):
        AgentTracer(backend=InMemoryBackend())
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.endswith("=spans_only is not known: no content is recorded; use SPAN_ONLY or NO_CONTENT")


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


def test_of_metadata_the_ids_of_session_and_user_and_what_frameworks_add_stay() -> None:
    metadata = {"thread_id": "s-1", "lc_agent_name": "weather", "langgraph_step": 3, "customer": GIVEN, "name": GIVEN}
    record = SpanRecord("1" * 32, "2" * 16, None, "x", 1, 2, attributes={"metadata": json.dumps(metadata)})
    kept = ContentPolicy("none")(record).attributes["metadata"]
    assert json.loads(kept) == {"thread_id": "s-1", "lc_agent_name": "weather", "langgraph_step": 3}


def test_a_run_of_pydantic_ai_is_read_without_its_content() -> None:
    backend = InMemoryBackend(content="none", user_ids="plain")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(backend))
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_agent",
        "agent_name": "weather",
        "model_name": "m",
        "gen_ai.conversation.id": "s-1",
        "gen_ai.aggregated_usage.input_tokens": 7,
        "metadata": json.dumps({"user_id": "u1", "customer": GIVEN}),
        "pydantic_ai.all_messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]),
        "final_result": ANSWER,
    }
    provider.get_tracer("pydantic-ai").start_span("invoke_agent weather", attributes=attributes).end()
    (run,) = backend.runs()
    assert (run.agent_name, run.user_id, run.session_id, run.user_input) == ("weather", "u1", "s-1", None)
    assert found_in(repr(list(backend.traces(print)))) == set()


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="content='some' must be one of all, no_inputs, no_outputs, none"):
        AgentTracer(backend=InMemoryBackend(), content="some")  # type: ignore[arg-type]


# ── halves ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

CALL = {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"place": GIVEN}}
HISTORIES: list[tuple[str, Any]] = [
    (
        "gen_ai.input.messages",
        [
            {"role": "user", "parts": [{"type": "text", "content": QUESTION}]},
            {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}, CALL]},
            {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "response": RESULT}]},
        ],
    ),
    (
        "mlflow.spanInputs",
        {"messages": [{"role": "user", "content": QUESTION}, {"role": "tool", "content": RESULT}], "model": "m"},
    ),
    (
        "gen_ai.prompt",
        {
            "messages": [
                [
                    {"lc": 1, "id": ["langchain", "HumanMessage"], "kwargs": {"content": QUESTION}},
                    {"lc": 1, "id": ["langchain", "AIMessage"], "kwargs": {"content": ANSWER}},
                ]
            ]
        },
    ),
    (
        "raw_input",
        [
            {"role": "user", "content": QUESTION},
            {"type": "function_call", "name": "look", "arguments": json.dumps({"place": GIVEN})},
            {"type": "function_call_output", "call_id": "c1", "output": RESULT},
        ],
    ),
    (
        "events",
        [
            {"event.name": "gen_ai.user.message", "content": QUESTION, "role": "user"},
            {"event.name": "gen_ai.choice", "message": {"role": "assistant", "content": ANSWER, "tool_calls": [CALL]}},
        ],
    ),
    ("gcp.vertex.agent.llm_request", {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}, {"role": "model", "parts": [{"text": ANSWER}]}]}),
    ("input.value", json.dumps({"state": json.dumps([{"type": "human", "content": QUESTION}, {"type": "ai", "content": ANSWER}])})),
    ("gen_ai.output.messages", [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}, CALL]}]),
    ("output.value", {"messages": [{"source": "user", "content": QUESTION}, {"source": "assistant", "content": ANSWER}]}),
    ("traceloop.entity.output", f"{{'messages': [HumanMessage(content='{QUESTION}'), AIMessage(content='{ANSWER}')]}}"),
    ("traceloop.entity.input", f"{{'messages': [HumanMessage(content='{QUESTION}'), AIMessage(content='{ANSWER}')]}}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), HISTORIES, ids=[name for name, _ in HISTORIES])
@pytest.mark.parametrize(("mode", "removed"), [("no_inputs", {QUESTION, GIVEN}), ("no_outputs", {ANSWER, RESULT})])
def test_of_a_value_that_holds_both_only_the_other_half_is_kept(
    name: str, value: Any, mode: str, removed: set[str]
) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    for given in (text, value):  # as a text, and as other sources have it
        span = SpanRecord("1" * 32, "2" * 16, None, "x", 1, 2, attributes={name: given})
        log = LogRecord("1" * 32, "2" * 16, "acme.details", 1, body={name: given})
        event = msgspec.structs.replace(span, attributes={}, events=(Event("acme.details", 1, {name: given}),))
        for record in (span, log, event):
            assert not removed & found_in(repr(ContentPolicy(mode)(record)))


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("no_inputs", {"gen_ai.output.messages": {ANSWER}, "events": {ANSWER}, "output.value": {ANSWER}}),
        (
            "no_outputs",
            {"gen_ai.input.messages": {QUESTION}, "raw_input": {QUESTION, GIVEN}, "gen_ai.prompt": {QUESTION}, "input.value": {QUESTION}},
        ),
    ],
)  # fmt: skip
def test_the_half_that_is_allowed_stays(mode: str, kept: dict[str, set[str]]) -> None:
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in HISTORIES}
    record = SpanRecord("1" * 32, "2" * 16, None, "x", 1, 2, attributes=values)
    attributes = ContentPolicy(mode)(record).attributes
    assert {name: found_in(attributes[name]) for name in kept} == kept


def test_the_arguments_of_a_tool_call_are_inputs_also_in_the_answer_that_asks_for_it() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, content="no_inputs")
    with tracer.run() as run, run.model_call("m") as call:
        call.output = {"role": "assistant", "content": ANSWER, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": json.dumps({"place": GIVEN})}}
        ]}  # fmt: skip
    (read,) = backend.runs()
    (step,) = read.steps
    assert found_in(repr(list(backend.traces(print)))) == {ANSWER}
    assert step.output["tool_calls"][0]["function"] == {"name": "look"}


def test_a_message_whose_role_was_cut_off_may_be_either() -> None:
    name = "llm.input_messages.4.message.content"
    record = SpanRecord("1" * 32, "2" * 16, None, "x", 1, 2, attributes={name: RESULT})
    assert ContentPolicy("no_outputs")(record).attributes == {}


def test_a_log_record_of_an_event_is_what_its_name_says() -> None:
    question = LogRecord("1" * 32, "2" * 16, "gen_ai.user.message", 1, body={"content": QUESTION})
    answer = LogRecord("1" * 32, "2" * 16, "gen_ai.choice", 1, body={"index": 0, "message": {"content": ANSWER}})
    line = LogRecord("1" * 32, "2" * 16, "", 1, body="a line of the program")
    assert (ContentPolicy("no_inputs")(question).body, ContentPolicy("no_outputs")(question).body) == (
        None,
        question.body,
    )
    assert (ContentPolicy("no_inputs")(answer).body, ContentPolicy("no_outputs")(answer).body) == (answer.body, None)
    assert [ContentPolicy(mode)(line).body for mode in ("no_inputs", "no_outputs", "none")] == [
        line.body,
        line.body,
        None,
    ]


@pytest.mark.parametrize("name", ["span", "log", "link", "resource", "scope", "note"])
def test_an_event_of_any_name_obeys(name: str) -> None:
    record = SpanRecord("1" * 32, "2" * 16, None, "x", 1, 2, events=(Event(name, 1, {"customer": GIVEN}),))
    log = LogRecord("1" * 32, "2" * 16, name, 1, {"customer": GIVEN})
    for each in (record, log):
        assert GIVEN not in repr(ContentPolicy("none")(each))
        assert GIVEN not in repr(MaskPolicy(lambda value, where: "X")(each))


def test_the_command_line_in_a_resource_is_an_input() -> None:
    resource = Resource({"process.command_args": ["ask.py", QUESTION], "service.name": "s"})
    record = SpanRecord("1" * 32, "2" * 16, None, "x", 1, 2, resource=resource)
    for mode in ("no_inputs", "none"):
        assert ContentPolicy(mode)(record).resource.attributes == {"service.name": "s"}
    assert ContentPolicy("no_outputs")(record) is record


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gen_ai.completion.0.tool_calls.0.arguments", Content.BOTH),
        ("gen_ai.completion.0.tool_calls.0.name", Content.STRUCTURE),
        ("llm.input_messages.1.message.content", Content.INPUT),
        ("llm.token_count.prompt", Content.STRUCTURE),
        ("ai.response.toolCalls", Content.OUTPUT),
        ("mlflow.spanInputs", Content.INPUT),
        ("gcp.vertex.agent.tool_response", Content.OUTPUT),
        ("retrieval.documents.0.document.content", Content.BOTH),
        ("gen_ai.output.type", Content.STRUCTURE),
        ("gen_ai.request.top_p", Content.STRUCTURE),
        ("gen_ai.request.choice.count", Content.STRUCTURE),
        ("gen_ai.response.finish_reasons", Content.STRUCTURE),
        ("gen_ai.request.instructions", Content.INPUT),
        ("gen_ai.response.text", Content.OUTPUT),
        ("traceloop.association.properties.customer_name", Content.OTHER),
        ("traceloop.association.properties.session_id", Content.STRUCTURE),
        ("traceloop.association.properties.ls_model_name", Content.STRUCTURE),
        ("openinference.span.kind", Content.STRUCTURE),
        ("user.id", Content.STRUCTURE),
        ("user.email", Content.OTHER),
        ("patient", Content.OTHER),
        ("customer_name", Content.OTHER),
        ("client_name", Content.OTHER),
        ("client.address", Content.OTHER),
        ("session_name", Content.OTHER),
        ("order_id", Content.OTHER),
        ("tool_name", Content.STRUCTURE),
        ("session.id", Content.STRUCTURE),
        ("input_token_count", Content.STRUCTURE),
        ("graph.node.parent_id", Content.STRUCTURE),
        ("mlflow.spanType", Content.STRUCTURE),
        ("langfuse.observation.usage_details", Content.STRUCTURE),
        ("langgraph_auth_user", Content.OTHER),
        ("db.statement", Content.OTHER),
    ],
)
def test_what_an_attribute_holds_is_known_by_its_words(name: str, content: Content) -> None:
    assert content_of(name) is content
