"""Sessions out of every kind of source, and of every tracer that has them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentTracer,
    BadRecordError,
    InMemoryBackend,
    SourceError,
    SpanRecord,
    load_runs,
    load_sessions,
    run_to_spans,
)
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources.index.source import build_index
from otel_agent_trace.sources.runs import RunsSource
from tests.support.fake_jaeger import FakeJaeger
from tests.support.handwritten_spans import span
from tests.support.sample_runs import Problems, append, make_run

RUNS = [make_run(number, session_id="ab"[number % 2]) for number in range(10)]
DAY_NS = 86400 * 10**9


def check(source: Any) -> None:
    """Two sessions with the runs that `load_runs` has, forwards, backwards and one by one."""
    sessions = load_sessions(source)
    assert [session.session_id for session in sessions] == ["a", "b"]
    for session in sessions:
        expected = load_runs(source, session_id=session.session_id)
        assert len(expected) == 5
        assert [*session.runs] == expected
        assert [*reversed(session.runs)] == expected[::-1]
        assert session.runs[2] == expected[2]


@pytest.mark.parametrize("index", ["off", "on"])
def test_a_file(write, monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setenv("OTEL_AGENT_TRACE_INDEX", index)
    path = write(RUNS)
    if index == "on":
        build_index(str(path))
    check(path)
    check(str(path.parent))


def test_several_files_and_a_source_of_runs(write, counted) -> None:
    memory = counted(lambda: RUNS[6:])
    files = [write(RUNS[:3], "one.jsonl"), write(RUNS[3:6], "two.jsonl")]
    check([*files, RunsSource(memory)])
    (first, _) = load_sessions(each for each in (*files, RunsSource(memory)))
    assert [*first.runs] == RUNS[::2]


def test_a_backend_in_memory() -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, agent_name="weather")
    for number in range(10):
        with tracer.run(user_input=number, session_id="ab"[number % 2]) as run:
            run.final_output = -number
    check(memory)


@pytest.mark.parametrize("interfaces", [("v3",), ("legacy",)], ids=["v3", "legacy"])
def test_a_jaeger(interfaces: tuple[str, ...]) -> None:
    with FakeJaeger() as server:
        server.fresh([record for run in RUNS for record in run_to_spans(run)], interfaces=interfaces)
        check(server.url())


def test_what_cannot_be_read_is_reported_once(write) -> None:
    path = write(RUNS)
    append(path, b"{damaged\n")
    problems = Problems()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, _ = load_sessions(path, on_problem=problems)
        assert [*first.runs] == RUNS[::2]
    assert problems.places == [("traces.jsonl", 11)]
    with pytest.raises(BadRecordError):
        load_sessions(path, strict=True)
    with pytest.raises(SourceError):
        load_sessions("none.jsonl")


def test_progress_is_of_the_first_reading(write) -> None:
    seen: list[tuple[int, int | None]] = []
    path = write(RUNS)
    first, _ = load_sessions(path, on_progress=lambda *amount: seen.append(amount))
    assert seen[-1][0] == seen[-1][1]
    count = len(seen)
    assert first.runs[0] == RUNS[0]
    assert len(seen) == count


# ── other tracers ────────────────────────────────────────────────────────────────────────────────────────────────────

OF_OTHERS = {
    "conventions": {"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "s"},
    "openinference": {"openinference.span.kind": "AGENT", "session.id": "s"},
    "langfuse": {"langfuse.observation.type": "agent", "session.id": "s"},
    "traceloop": {"traceloop.span.kind": "agent", "traceloop.association.properties.session_id": "s"},
}


def to_file(path: Path, traces: list[list[SpanRecord]]) -> Path:
    path.write_bytes(b"".join(otlp_json.encode(spans).rstrip(b"\n") + b"\n" for spans in traces))
    return path


@pytest.mark.parametrize("attributes", OF_OTHERS.values(), ids=OF_OTHERS)
def test_the_sessions_of_other_tracers(tmp_path: Path, attributes: dict[str, Any]) -> None:
    traces = [
        [span(f"{number}", None, (number * 10**9, number * 10**9 + 5), "agent", attributes, trace=f"{number:032x}")]
        for number in (3, 1, 2)
    ]
    path = to_file(tmp_path / "traces.jsonl", traces)
    (session,) = load_sessions(path)
    assert session.session_id == "s"
    assert [run.trace_id for run in session.runs] == [f"{number:032x}" for number in (1, 2, 3)]


def conversation(name: str, text: Any) -> list[Any]:
    part = {"type": "text", "content": text} if isinstance(text, str) else text
    return [{"role": name, "parts": [part]}]


ASK = {"type": "tool_call", "id": "c1", "name": "send", "arguments": {"city": "Lima"}}
SENT = {"type": "tool_call_response", "id": "c1", "response": "sent"}
QUESTION, REQUEST = conversation("user", "Send it."), conversation("assistant", ASK)
ANSWER = conversation("assistant", "It was sent.")
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk", "gen_ai.conversation.id": "s"}
CALL = {"gen_ai.tool.name": "send", "gen_ai.tool.call.arguments": {"city": "Lima"}}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def stopped_and_resumed() -> list[list[SpanRecord]]:
    """A run whose call waits for a person, and a day later the one that begins with its result."""
    first, second = "1" * 32, "2" * 32
    asked = {"gen_ai.input.messages": QUESTION, "gen_ai.output.messages": REQUEST}
    answered = {
        "gen_ai.input.messages": [*QUESTION, *REQUEST, *conversation("tool", SENT)],
        "gen_ai.output.messages": ANSWER,
    }
    stopped = [
        span("1", None, (DAY_NS, DAY_NS + 90), "invoke_agent clerk", AGENT, trace=first),
        span("2", "1", (DAY_NS + 1, DAY_NS + 20), "chat m", {**CHAT, **asked}, trace=first),
    ]
    began = 2 * DAY_NS
    tool = {"gen_ai.operation.name": "execute_tool", **CALL, "gen_ai.tool.call.result": "sent"}
    resumed = [
        span("4", None, (began, began + 90), "invoke_agent clerk", AGENT, trace=second),
        span("5", "4", (began + 1, began + 10), "execute_tool send", tool, trace=second),
        span("6", "4", (began + 20, began + 40), "chat m", {**CHAT, **answered}, trace=second),
    ]
    return [stopped, resumed]


def a_file(tmp_path: Path, server: FakeJaeger) -> Any:
    return to_file(tmp_path / "traces.jsonl", stopped_and_resumed())


def an_indexed_file(tmp_path: Path, server: FakeJaeger) -> Any:
    path = a_file(tmp_path, server)
    build_index(str(path))
    return path


def a_jaeger(tmp_path: Path, server: FakeJaeger) -> Any:
    server.fresh([record for spans in stopped_and_resumed() for record in spans])
    return server.url()


@pytest.mark.parametrize("made", [a_file, an_indexed_file, a_jaeger])
def test_runs_that_continue_an_interrupted_one_are_read_with_it(
    tmp_path: Path, made: Callable[[Path, FakeJaeger], Any]
) -> None:
    """Each alone too: what links them is inferred from both, however far apart."""
    with FakeJaeger() as server:
        (session,) = load_sessions(made(tmp_path, server))
        first, second = session.runs
        assert session.continued == {second.run_id: first.run_id}
        assert first.interrupted_for == {"id": "c1", "name": "send", "arguments": {"city": "Lima"}}
        assert [session.runs[0], session.runs[1]] == [first, second]
        assert session.runs[1].continues == first.run_id
