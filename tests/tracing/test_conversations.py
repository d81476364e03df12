"""Model calls that are sent a growing conversation: what stands on their spans, and what comes back."""

from __future__ import annotations

import copy
import datetime
import json
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    Limits,
    Message,
    SpanRecord,
    configure,
    export_spans,
    load_runs,
    register_type,
    run_to_spans,
    runs_from_spans,
)
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.values import same
from tests.support.fake_receivers import fake_http_receiver

MODES = ("full", "new")
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "search", "arguments": '{"q": "rain in Nantes", "n": 3}'},
}
MESSAGES: list[Any] = [
    {"role": "system", "content": "You are a forecaster."},
    {"content": "Will it rain in Nantes?", "role": "user"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "rain, nearly all day"}'},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "And in Brest, naïvely?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/1.png"}},
        ],
    },
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "Brest", "n": 1, "wet": True}}],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "drizzle, all week long"}]},
    {"role": "assistant", "parts": [{"type": "text", "content": "Drizzle, I am afraid."}]},
    Message(role="user", parts=({"type": "text", "content": "A message of our own."},)),
    "a bare text",
    {"role": "user", "content": "bytes too", "blob": b"\x00\x01"},
    {"role": "user", "content": "a lone surrogate \ud83d here"},
    {"role": "user", "content": "", "name": "ada"},
    {"role": "user", "content": {"agent_trace.text": 0}},
]
"""Messages in the shapes that people hand around."""


def record(messages: list[list[Any]], *, history: Any = "full", **tracer_options: Any) -> InMemoryBackend:
    """Trace a run with a model call for each list of messages; each answers with a text."""
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history=history, **tracer_options)

    @tracer.model(model="gpt-4")
    def complete(messages: Any, temperature: float = 0.0) -> dict[str, Any]:
        return {"role": "assistant", "content": f"An answer after {len(messages)} messages."}

    with tracer.run(user_input="?"):
        for sent in messages:
            complete(sent, temperature=0.5)
    return backend


def inputs(run: AgentRun) -> list[Any]:
    return [step.input for step in run.steps]


def growing(messages: list[Any]) -> list[list[Any]]:
    return [messages[: size + 1] for size in range(len(messages))]


def assert_whole(run: AgentRun, sent: list[list[Any]]) -> None:
    """See that each call has all its messages, as they were given and in the shape of the model."""
    for step, messages in zip(run.steps, sent, strict=True):
        assert same(step.input, {"messages": messages, "temperature": 0.5})
        assert not step.truncated
        given_answer = bool(messages) and step.messages[len(messages) - 1].role == "assistant"
        assert len(step.messages) == len(messages) + (not given_answer)


@pytest.mark.parametrize("history", MODES)
@pytest.mark.parametrize("kind", [list, tuple])
def test_every_shape_comes_back_as_it_was_given(history: str, kind: type) -> None:
    sent = [kind(messages) for messages in growing(MESSAGES)]
    backend = record(sent, history=history)
    register_type(Message)
    (run,) = backend.runs()
    assert_whole(run, sent)


def test_both_modes_read_back_as_the_same_run() -> None:
    sent = growing(MESSAGES)
    full, new = (record(sent, history=mode).runs()[0] for mode in MODES)
    for one, other in zip(full.steps, new.steps, strict=True):
        assert (one.messages, one.output) == (other.messages, other.output)
        assert same(one.input, other.input)


@pytest.mark.parametrize("history", MODES)
def test_through_files_and_spans(tmp_path: Any, history: Any) -> None:
    path = tmp_path / "traces.jsonl"
    memory = InMemoryBackend()
    tracer = AgentTracer(tracer_provider=configure(file=path, backends=memory, history=history))
    sent = growing(MESSAGES[:7])
    with tracer.run(user_input="?"):
        for messages in sent:
            tracer.model(lambda messages, temperature: "Yes, it will.")(list(messages), temperature=0.5)
    (run,) = load_runs(path)
    assert_whole(run, sent)
    assert [run] == memory.runs()
    assert [step.output for step in run.steps] == ["Yes, it will."] * len(sent)
    assert runs_from_spans(run_to_spans(run)) == [run]


@pytest.mark.parametrize("history", MODES)
def test_a_custom_backend_gets_whole_steps(history: Any) -> None:
    steps: list[Any] = []
    runs: list[AgentRun] = []

    class Mine:
        def start_run(self, run: AgentRun) -> None: ...

        def log_step(self, run_id: str, step: Any) -> None:
            steps.append(step)

        def end_run(self, run: AgentRun) -> None:
            runs.append(run)

    tracer = AgentTracer(backend=Mine(), history=history)
    sent = growing(MESSAGES[:6])
    with tracer.run(user_input="?"):
        for messages in sent:
            tracer.model(lambda messages: "ok")(messages)
    assert [step.input["messages"] for step in steps] == sent
    assert [step.input["messages"] for step in runs[-1].steps] == sent


# ── nothing is written twice ─────────────────────────────────────────────────────────────────────────────────────────


def text_of(span: SpanRecord) -> str:
    return "\n".join(str(value) for value in span.attributes.values())


def test_no_text_stands_twice_on_a_span() -> None:
    answer = {
        "id": "chatcmpl-1",
        "model": "gpt-4",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "UNIQUE-answer",
                    "tool_calls": [{**CALL, "function": {"name": "search", "arguments": '{"q":"UNIQUE-argument"}'}}],
                },
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
    messages = [
        {"role": "user", "content": "UNIQUE-question"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": {"name": "search", "arguments": '{"q": "UNIQUE-first"}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "UNIQUE-result"},
        ChatCompletionMessage(role="assistant", content="UNIQUE-object"),
        {"role": "user", "content": [{"type": "text", "text": "UNIQUE-block"}]},
    ]
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)
    with tracer.run(user_input="?"):
        tracer.model(lambda messages: answer)(messages)
        tracer.model(lambda messages: iter(["UNIQUE-", "piece", " by piece"]))(messages[:1])
        with tracer.run(user_input="?") as inner, inner.model_call("gpt-4", messages, input=messages) as call:
            call.output = "UNIQUE-text"
    for span in backend.spans():
        written = text_of(span)
        for mark in ("answer", "argument", "question", "first", "result", "object", "block", "text"):
            assert written.count(f"UNIQUE-{mark}") <= 1, (mark, written)
    run = backend.runs()[0]
    assert run.steps[0].output == answer
    assert same(run.steps[0].input["messages"][:3], messages[:3])


def test_a_streamed_text_stands_once() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)

    @tracer.model(model="gpt-4")
    def complete(messages: Any) -> Any:
        yield from ("It will ", "rain in ", "Nantes.")

    with tracer.run(user_input="?"):
        list(complete([{"role": "user", "content": "Rain?"}]))
    (run,) = backend.runs()
    assert run.steps[0].output == ["It will ", "rain in ", "Nantes."]
    assert run.steps[0].messages[-1].text == "It will rain in Nantes."
    assert "rain in " not in str(backend.spans()[0].attributes["agent_trace.output"])


def test_what_a_policy_masks_in_messages_is_masked_in_the_input_too() -> None:
    def mask(record: SpanRecord) -> SpanRecord:
        attributes = {
            key: value.replace("hunter2", "***") if isinstance(value, str) else value
            for key, value in record.attributes.items()
        }
        return msgspec.structs.replace(record, attributes=attributes)

    backend = record([[{"role": "user", "content": "my password is hunter2"}]], policies=[mask])
    (run,) = backend.runs()
    assert run.steps[0].input["messages"] == [{"role": "user", "content": "my password is ***"}]


# ── each message is encoded once, and a changed one again ────────────────────────────────────────────────────────────


def in_place(change: Any) -> list[list[Any]]:
    """Send the same list twice, changed in place in between; return what was sent each time."""
    messages = copy.deepcopy(MESSAGES[:7])
    sent = []
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)
    with tracer.run(user_input="?"):
        for turn in range(2):
            if turn:
                change(messages)
            sent.append(copy.deepcopy(messages))
            tracer.model(lambda messages: "ok")(messages)
    (run,) = backend.runs()
    for step, expected in zip(run.steps, sent, strict=True):
        assert same(step.input["messages"], expected)
    assert run.steps[0].messages != run.steps[1].messages
    return sent


def test_a_message_that_was_changed_in_place_is_seen() -> None:
    in_place(lambda messages: messages[1].update(content="And tomorrow?"))
    in_place(lambda messages: messages[4]["content"][0].update(text="And in Rennes?"))
    in_place(lambda messages: messages[5]["content"][0]["input"].update(n=True))  # which equals 1
    in_place(lambda messages: messages[2]["tool_calls"][0]["function"].update(arguments="{}"))
    in_place(lambda messages: messages.pop(0))
    in_place(lambda messages: messages[0].update(role="developer"))


def test_a_clients_object_that_was_changed_is_seen() -> None:
    message = ChatCompletionMessage(role="assistant", content="first")
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)
    with tracer.run(user_input="?"):
        for text in ("first", "second"):
            message.content = text
            tracer.model(lambda messages: "ok")([message, {"role": "user", "content": "and?"}])
    (run,) = backend.runs()
    assert [step.messages[0].text for step in run.steps] == ["first", "second"]


class Counted(str):
    """A text that no short cut knows, so that it is looked at whenever it is encoded."""

    looked_at = 0

    def __str__(self) -> str:
        type(self).looked_at += 1
        return "counted"


def test_a_hostile_message_costs_only_itself() -> None:
    class Hostile:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparing")

        __hash__ = None  # type: ignore[assignment]

        def __repr__(self) -> str:
            return "<hostile>"

    message = {"role": "user", "content": "hello", "extra": Hostile()}
    backend = record([[message], [message, {"role": "user", "content": "again"}]])
    (run,) = backend.runs()
    assert [step.input["messages"][0]["content"] for step in run.steps] == ["hello", "hello"]
    assert [len(step.messages) for step in run.steps] == [2, 3]


def test_limits_cut_as_they_do_without_a_history() -> None:
    long = {"role": "user", "content": "x" * 3000}
    (run,) = record([[long], [long, long]], limits=Limits(value_bytes=4000)).runs()
    assert run.steps[0].input["messages"] == [long]
    assert not run.steps[0].truncated
    assert run.steps[1].truncated


# ── history="new" ────────────────────────────────────────────────────────────────────────────────────────────────────


def texts(*words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": word} for word in words]


def new_messages(backend: InMemoryBackend) -> list[int]:
    """Return how many messages each model call holds itself, in the order of their ends."""
    spans = [span for span in backend.spans() if span.attributes["gen_ai.operation.name"] == "chat"]
    return [len(json.loads(str(span.attributes.get("gen_ai.input.messages", "[]")))) for span in spans]


def test_a_call_holds_what_was_added() -> None:
    sent = [texts("a"), texts("a", "b"), texts("a", "b", "c", "d"), texts("a", "b", "c", "d")]
    backend = record(sent, history="new")
    assert new_messages(backend) == [1, 1, 2, 0]
    assert_whole(backend.runs()[0], sent)


def test_conversations_that_branch_or_run_side_by_side() -> None:
    sent = [
        texts("a", "b", "c"),
        texts("a", "b", "x"),  # the last message was exchanged
        texts("planner"),
        texts("a", "b", "c", "d"),
        texts("planner", "goes on"),
        texts("summary", "c"),  # the history was compacted
        [],
        texts("a"),
    ]
    backend = record(sent, history="new")
    assert new_messages(backend) == [3, 1, 1, 1, 1, 2, 0, 0]
    assert_whole(backend.runs()[0], sent)


def test_sub_agents_begin_anew() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history="new")
    complete = tracer.model(lambda messages: "ok")
    with tracer.run(user_input="?"):
        complete(texts("a"))
        with tracer.run(user_input="sub"):
            complete(texts("a", "b"))
        complete(texts("a", "c"))
    assert new_messages(backend) == [1, 2, 1]
    run = backend.runs()[0]
    assert [len(step.messages) for inner in run.walk() for step in inner.steps if step.kind == "model"] == [2, 3, 3]


def test_calls_at_once_name_only_calls_that_have_ended() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history="new")
    with tracer.run(user_input="?") as run, run.model_call("m", texts("a")), run.model_call("m", texts("a", "b")):
        pass
    assert new_messages(backend) == [2, 1]


def test_threads_call_models_at_once() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history="new")
    complete = tracer.model(lambda messages: "ok")
    sent = [texts(*(f"{talk}-{turn}" for turn in range(size))) for talk in range(6) for size in range(1, 30)]
    with tracer.run(user_input="?"), tracer.executor(ThreadPoolExecutor(6)) as pool:
        list(pool.map(complete, sent))
    (run,) = backend.runs()
    assert sorted(json.dumps(step.input["messages"]) for step in run.steps) == sorted(map(json.dumps, sent))


def test_where_the_earlier_call_is_missing_the_new_messages_stand() -> None:
    backend = record([texts("a"), texts("a", "b"), texts("a", "b", "c")], history="new")
    spans = [span for span in backend.spans() if span.attributes.get("agent_trace.step.index") != 0]
    (run,) = runs_from_spans(spans)
    assert [[message.text for message in step.messages[:-1]] for step in run.steps] == [["b"], ["c"]]
    assert [step.input["messages"] for step in run.steps] == [texts("b"), texts("c")]
    assert [step.truncated for step in run.steps] == [("messages", "input.messages")] * 2
    assert "agent_trace.history.span_id" not in run.steps[0].attributes


def test_an_input_that_does_not_hold_the_messages() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history="new")
    with tracer.run(user_input="?") as run:
        for sent, given_input in ((texts("a"), None), (texts("a", "b"), "list"), (texts("a", "b", "c"), "list")):
            with run.model_call("m", sent, input={"messages": sent} if given_input else None):
                pass
    (read,) = backend.runs()
    assert inputs(read) == [None, {"messages": texts("a", "b")}, {"messages": texts("a", "b", "c")}]
    assert [len(step.messages) for step in read.steps] == [1, 2, 3]


def test_a_hundred_turns_take_no_more_than_three_times_their_content(tmp_path: Any) -> None:
    path = tmp_path / "traces.jsonl"
    tracer = AgentTracer(backend=FileBackend(path), history="new", agent_name="talker")
    messages: list[Any] = [{"role": "system", "content": "Answer at length. " * 10}]

    @tracer.model(model="gpt-4", provider="openai")
    def complete(messages: Any) -> dict[str, str]:
        return {"role": "assistant", "content": f"{len(messages)} " + "lorem ipsum " * 50}

    with tracer.run(user_input="?", session_id="s"):
        for turn in range(100):
            messages.append({"role": "user", "content": f"{turn} " + "dolor sit amet " * 40})
            messages.append(complete(list(messages)))
    content_bytes = sum(len(message["content"]) for message in messages)
    assert path.stat().st_size <= 3 * content_bytes
    (run,) = load_runs(path)
    assert [len(step.messages) for step in run.steps] == list(range(3, 203, 2))
    assert run.steps[-1].input["messages"] == messages[:-1]


def test_a_mode_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="history='old' must be 'full' or 'new'"):
        AgentTracer(backend=InMemoryBackend(), history="old")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="history='old'"):
        configure(history="old")  # type: ignore[arg-type]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
any_message = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": st.text(max_size=6)}),
    st.fixed_dictionaries({"role": st.just("user"), "content": json_values, "more": json_values}),
    st.sampled_from(MESSAGES[:8]),
)


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(any_message, max_size=3)), min_size=1, max_size=6))
def test_any_conversations_come_back(turns: list[tuple[int, list[Any]]]) -> None:
    sent: list[list[Any]] = []
    for kept, added in turns:
        before = sent[-1] if sent else []
        sent.append([*before[: len(before) - kept if kept else None], *copy.deepcopy(added)])
    full, new = (record(sent, history=mode).runs()[0] for mode in MODES)
    for step, whole, messages in zip(new.steps, full.steps, sent, strict=True):
        assert same(step.input["messages"], messages)
        assert same(whole.input["messages"], messages)
        assert step.messages == whole.messages


def test_exports_hold_the_whole() -> None:
    source = InMemoryBackend()
    tracer = AgentTracer(backend=source, history="new")
    with tracer.run(user_input="?"):
        for sent in growing(MESSAGES[:5]):
            tracer.model(lambda messages: "ok")(sent)
    with fake_http_receiver() as receiver:
        export_spans(source, receiver.endpoint)
    calls = [span.attributes for span in receiver.accepted if span.name.startswith("chat")]
    exported = [len(json.loads(str(attributes["gen_ai.input.messages"]))) for attributes in calls]
    assert not any("agent_trace.history.span_id" in span.attributes for span in receiver.accepted)
    assert sorted(exported) == [1, 2, 2, 4, 5]  # the third list ends with an answer


# ── reported by those who tried to break it ──────────────────────────────────────────────────────────────────────────


class Role(str, Enum):
    USER = "user"


class Words(str):
    pass


@pytest.mark.parametrize(
    "later",
    [
        {"role": Role.USER, "content": "h"},
        {"role": "user", "content": Words("h")},
        OrderedDict(role="user", content="h"),
        {"role": "user", "content": mock.ANY},
    ],
)
def test_a_message_that_only_equals_an_earlier_one_is_another(later: Any) -> None:
    first = [{"role": "user", "content": "h"}]
    alone = inputs(record([[later]]).runs()[0])[0]
    (run,) = record([first, [later]]).runs()
    assert same(inputs(run)[1], alone)


@pytest.mark.parametrize("later", [texts("X", "Y", "Z", "W"), texts("X"), []])
def test_messages_that_are_set_inside_the_block_replace_the_history(later: list[Any]) -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history="new")
    with tracer.run(user_input="?") as run:
        with run.model_call(messages=texts("a", "b")):
            pass
        with run.model_call(messages=texts("a", "b", "c")) as call:
            call.messages = later
    (read,) = backend.runs()
    assert [message.text for message in read.steps[1].messages] == [message["content"] for message in later]
    assert not read.steps[1].truncated


@pytest.mark.parametrize("history", MODES)
def test_inputs_with_keys_of_every_kind(history: Any) -> None:
    messages = texts("a")
    given_inputs = [
        {"messages": messages, 1: "x", (1, 2): "y"},
        {"messages": messages, "agent_trace.messages": 5},
        {"agent_trace.messages": messages},
        {"a": messages, "messages": messages},
        {"messages": messages, "other": {"agent_trace.messages": [1]}},
        messages,
    ]
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history=history)
    with tracer.run(user_input="?") as run:
        for given_input in given_inputs:
            with run.model_call(messages=messages, input=given_input):
                pass
    for step, expected in zip(backend.runs()[0].steps, given_inputs, strict=True):
        assert same(step.input, expected)


def test_no_call_is_named_that_a_policy_drops() -> None:
    memory = InMemoryBackend()
    provider = TracerProvider()
    provider.add_span_processor(AgentSpanProcessor([memory]))
    policy = lambda record: None if "drop" in record.name else record
    tracer = AgentTracer(tracer_provider=provider, history="new", policies=[policy])
    with tracer.run(user_input="RUN INPUT") as run:
        with run.model_call(model="drop", messages=texts("a")):
            pass
        with run.model_call(model="keep", messages=texts("a", "b")):
            pass
    (step,) = memory.runs()[0].steps
    assert [message.text for message in step.messages] == ["a", "b"]


def test_what_is_set_after_the_end_is_in_no_history() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, history="new")
    with tracer.run(user_input="?") as run:
        with run.model_call(messages=texts("a", "b")) as call:
            call.end()
            call.messages = texts("P", "Q")
        with run.model_call(messages=texts("P", "Q", "R")):
            pass
    assert [message.text for message in backend.runs()[0].steps[1].messages] == ["P", "Q", "R"]


def test_two_tracers_in_one_run_have_histories_of_their_own() -> None:
    one, other = InMemoryBackend(), InMemoryBackend()
    tracers = [AgentTracer(backend=backend, history="new") for backend in (one, other)]
    calls = [tracer.model(lambda messages: "ok") for tracer in tracers]
    with tracers[0].run(user_input="?"):
        for size in range(1, 5):
            calls[size % 2](texts("a", "b", "c", "d")[:size])
    for backend in (one, other):
        assert all(not step.truncated for run in backend.runs() for step in run.steps)


def test_values_that_never_change_do_not_end_a_history() -> None:
    when = datetime.datetime(2026, 11, 28, tzinfo=datetime.timezone.utc)
    sent = growing([{"role": Role.USER, "content": str(turn), "at": when} for turn in range(5)])
    backend = record(sent, history="new")
    assert new_messages(backend) == [1, 1, 1, 1, 1]


# ── damaged traces ───────────────────────────────────────────────────────────────────────────────────────────────────

JUNK: list[Any] = [
    *(None, -1, "x", 1.5, [], {}, [1, 7], [0, "x"], ["a", 0], 10**30, True),
    *({"agent_trace.text": "q"}, {"agent_trace.text": [0, 9]}, {"agent_trace.text": {}}),
    *({"agent_trace.text": 0, "pieces": ["a"]}, {"agent_trace.text": 0, "pieces": 5}, {"9" * 5000: "int"}),
]
REFERRING = (
    *("agent_trace.input", "agent_trace.output", "agent_trace.types", "agent_trace.truncated"),
    *("agent_trace.history.span_id", "agent_trace.history.messages", "gen_ai.input.messages", "gen_ai.output.messages"),
)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in JSON data."""
    yield path
    for key, item in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(item, (*path, key))


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = copy.deepcopy(data)
    holder = copied
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return copied


def damaged(value: Any) -> Iterator[Any]:
    if not isinstance(value, str) or value[:1] not in "[{":
        yield from (item for item in JUNK if not isinstance(item, list | dict))
        return
    data = json.loads(value)
    yield from (json.dumps(replaced(data, path, junk)) for path in places(data) for junk in JUNK)
    yield from ("", "[", value[:-3], "null")


@pytest.mark.parametrize("history", MODES)
def test_damage_costs_no_other_step(history: Any) -> None:
    messages = [{**MESSAGES[1], "blob": b"x"}, MESSAGES[2], MESSAGES[3]]
    spans = record(growing(messages), history=history).spans()
    for number, span in enumerate(spans):
        for key in REFERRING:
            for value in damaged(span.attributes[key]) if key in span.attributes else ():
                broken = msgspec.structs.replace(span, attributes={**span.attributes, key: value})
                runs = runs_from_spans([*spans[:number], broken, *spans[number + 1 :]])
                assert sum(len(run.steps) for run in runs) == len(messages)
