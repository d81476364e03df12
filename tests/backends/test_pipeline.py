"""One pipeline: policies, what they cost and cannot break, and what sinks receive in which order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_agent_trace import (
    AgentSpanProcessor,
    AgentTracer,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    SpanRecord,
    SpanSink,
    configure,
    load_runs,
    pseudonymize_user_id,
)
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.pipeline import Gate, Pipeline, PipelineSpan, StartedSpan
from otel_agent_trace.policies.user_ids import UserIdPolicy
from otel_agent_trace.span import Event, LogRecord, Resource, Scope
from otel_agent_trace.span import Link as RecordLink
from tests.support.processes import RunPython
from tests.support.requirements import needs_fork
from tests.support.sample_runs import fail_on_problem

AGENT = {"gen_ai.operation.name": "invoke_agent"}


class RecordingSink(SpanSink):
    """A sink that notes every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_start(self, span: StartedSpan) -> None:
        self.calls.append(f"start {span.record.name}")

    def on_end(self, span: PipelineSpan) -> None:
        self.calls.append(f"end {span.record.name}")

    def on_discard(self, span: PipelineSpan) -> None:
        self.calls.append("discard")

    def on_log(self, log: LogRecord) -> None:
        self.calls.append(f"log {log.name}")

    def on_hold(self, span: PipelineSpan) -> None:
        self.calls.append(f"hold {span.record.name}")

    def on_drop(self, trace_id: str) -> None:
        self.calls.append("drop")

    def close(self) -> None:
        self.calls.append("close")


class Journal(RecordingSink):
    journals = True


def provider_with(backends: Any, *policies: Any) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(backends, policies=policies))
    return provider


def pipeline_of(provider: TracerProvider) -> Pipeline:
    pipeline = provider._active_span_processor._span_processors[0].pipeline  # type: ignore[attr-defined]
    assert isinstance(pipeline, Pipeline)
    return pipeline


def log_of(span: Any, name: str = "l", **fields: Any) -> LogRecord:
    context = span.get_span_context()
    return LogRecord(f"{context.trace_id:032x}", f"{context.span_id:016x}", name, 5, **fields)


def renaming(name: str) -> Callable[[Any], Any]:
    return lambda record: msgspec.structs.replace(record, name=name)


# ── sinks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sink_of_ones_own() -> None:
    """It is a backend wherever backends are, alone or beside others, and receives all that happens."""
    one, two = RecordingSink(), RecordingSink()
    with AgentTracer(backend=[one, InMemoryBackend()]) as tracer, tracer.run() as run, run.step("s"):
        pass
    provider = configure(backends=two, otlp=False)
    provider.get_tracer("x").start_span("x").end()
    provider.shutdown()
    run_calls = ["start invoke_agent", "start execute_tool s", "end execute_tool s", "end invoke_agent"]
    assert one.calls == [*run_calls, "close"]
    assert two.calls == ["start x", "end x", "close"]


def test_what_a_sink_need_not_have() -> None:
    """One with no method of its own is a sink as well."""
    provider = provider_with(SpanSink())
    provider.get_tracer("x").start_span("x").end()
    pipeline_of(provider).on_log(LogRecord("", "", "l", 1))
    assert provider.force_flush()
    provider.shutdown()
    assert pipeline_of(provider).stats() == {}


def test_spans_of_a_sinks_own() -> None:
    """A sink that makes spans while it receives one does not receive them, which would never end."""

    class Tracing(RecordingSink):
        def on_end(self, span: PipelineSpan) -> None:
            super().on_end(span)
            provider.get_tracer("sink").start_span("of the sink").end()

    sink = Tracing()
    provider = provider_with(sink)
    provider.get_tracer("x").start_span("x").end()
    assert sink.calls == ["start x", "end x"]


def test_a_sink_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Each failure is counted under its name, reported once, and costs no other sink."""

    class Broken(SpanSink):
        def fail(self, thing: Any = None) -> Any:
            raise ZeroDivisionError

        on_start = on_end = on_log = flush = close = stats = fail  # type: ignore[assignment]

    other = RecordingSink()
    provider = provider_with([Broken(), other])
    for _ in range(2):
        span = provider.get_tracer("x").start_span("x")
        span.end()
    pipeline_of(provider).on_log(log_of(span))
    assert not provider.force_flush()
    provider.shutdown()
    assert other.calls == ["start x", "end x", "start x", "end x", "log l", "close"]
    assert pipeline_of(provider).stats() == {
        "failed: Broken": 5,
        "failed: Broken.flush": 1,
        "failed: Broken.close": 1,
    }
    assert len([record for record in caplog.records if record.getMessage().startswith("Broken failed")]) == 1


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the spans that a record is made of."""
    made: list[str] = []
    real = SdkReader.record

    def counted(self: SdkReader, span: Any) -> SpanRecord:
        made.append(span.name)
        return real(self, span)

    monkeypatch.setattr(SdkReader, "record", counted)
    return made


class Looking:
    """A policy that has something to do for spans of one name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0

    def violates(self, span: ReadableSpan) -> bool:
        assert isinstance(span, ReadableSpan)
        return span.name == self.name

    def __call__(self, record: Any) -> Any:
        self.calls += 1
        return msgspec.structs.replace(record, attributes={"cleaned": True})


def test_a_policy_that_has_nothing_to_do_makes_no_record(conversions: list[str]) -> None:
    """Nor is it called; where one has, the record is made once for all that look at it."""
    policy, exporter = Looking("bad"), InMemorySpanExporter()
    provider = provider_with([InMemoryBackend(), exporter, RecordingSink.__new__(SpanSink)], policy)
    tracer = provider.get_tracer("x")
    for _ in range(3):
        tracer.start_span("clean", attributes={"a": 1}).end()
    assert (policy.calls, conversions) == (0, [])
    clean = exporter.get_finished_spans()
    assert [span.attributes for span in clean] == [{"a": 1}] * 3
    exporter.clear()
    tracer.start_span("bad", attributes={"a": 1}).end()
    assert (policy.calls, conversions) == (2, ["bad", "bad"])  # as it starts, and as it ends
    [copy] = exporter.get_finished_spans()
    assert (copy.name, copy.attributes) == ("bad", {"cleaned": True})


class ForTexts(Looking):
    """A policy that has something to do only where there is a text under ``a``."""

    traces = False

    def check_for(self, attributes: Mapping[str, Any]) -> Callable[[ReadableSpan], bool] | None:
        return self.violates if type(attributes.get("a")) is str else None


def test_a_policy_is_asked_once_which_spans_it_concerns_by_names_and_types(conversions: list[str]) -> None:
    policy, later, exporter = ForTexts("bad"), ForTexts("nothing"), InMemorySpanExporter()
    tracer = provider_with([exporter], policy, later).get_tracer("x")
    for value in (1, "x", 1, "x", 2.5):
        tracer.start_span("bad", attributes={"a": value}).end()
    assert (policy.calls, conversions) == (2, ["bad", "bad"])
    assert later.calls == 2  # what one has changed, all that follow get
    assert [span.attributes for span in exporter.get_finished_spans()] == [
        {"a": 1},
        {"cleaned": True},
        {"a": 1},
        {"cleaned": True},
        {"a": 2.5},
    ]


def test_exporters_get_the_sdks_own_span(tmp_path: Path) -> None:
    """Where no policy changed it, as one that gives back what it is given, it is the very object."""
    ours, theirs = InMemorySpanExporter(), InMemorySpanExporter()
    provider = provider_with([ours, FileBackend(tmp_path / "t.jsonl")], lambda record: record)
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    provider.get_tracer("x").start_span("x", attributes={"a": (1, 2)}).end()
    [one], [other] = ours.get_finished_spans(), theirs.get_finished_spans()
    assert one.attributes == other.attributes
    assert type(one._attributes) is type(other._attributes)  # type: ignore[attr-defined]


def test_a_copy_carries_all_that_a_policy_may_change() -> None:
    """Name, attributes, events, links, status, resource, scope, kind and times; what it leaves is the span's own."""

    def change(record: Any) -> Any:
        return msgspec.structs.replace(
            record,
            name="n",
            attributes={"a": [1, 2]},
            events=(Event("e", 7, {"b": 2}),),
            links=(RecordLink("a" * 32, "b" * 16, {"c": 3}),),
            status_code=2,
            status_message="m",
            resource=Resource({"service.name": "r"}, "https://r"),
            scope=Scope("s", "1", {"d": 4}, "https://s"),
            kind=3,
            start_ns=10,
            end_ns=20,
        )

    exporter = InMemorySpanExporter()
    provider = provider_with(exporter, change)
    span = provider.get_tracer("x").start_span("x", attributes={"secret": 1})
    span.add_event("secret")
    span.set_status(Status(StatusCode.ERROR, "secret"))
    span.end()
    [copy] = exporter.get_finished_spans()
    assert copy.context == span.get_span_context()
    assert (copy.name, copy.attributes, copy.kind) == ("n", {"a": (1, 2)}, SpanKind.CLIENT)
    assert [(event.name, event.timestamp, event.attributes) for event in copy.events] == [("e", 7, {"b": 2})]
    [link] = copy.links
    assert (link.context.trace_id, link.context.span_id, link.attributes) == (
        int("a" * 32, 16),
        int("b" * 16, 16),
        {"c": 3},
    )
    assert (copy.status.status_code, copy.status.description) == (StatusCode.ERROR, "m")
    assert (copy.resource.attributes, copy.resource.schema_url) == ({"service.name": "r"}, "https://r")
    scope = copy.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version, scope.attributes, scope.schema_url) == ("s", "1", {"d": 4}, "https://s")
    assert (copy.start_time, copy.end_time) == (10, 20)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "name": renaming("renamed"),
    "attributes": lambda record: msgspec.structs.replace(record, attributes={**record.attributes, "new": "v"}),
    "fewer attributes": lambda record: msgspec.structs.replace(record, attributes={}),
    "events": lambda record: msgspec.structs.replace(record, events=record.events[:1]),
    "status": lambda record: msgspec.structs.replace(record, status_message=""),
    "links": lambda record: msgspec.structs.replace(record, links=()),
    "nothing": lambda record: record,
    "drop of odd ones": lambda record: None if record.attributes.get("n", 0) % 2 else record,
    "user ids": UserIdPolicy("pseudonym"),
    "an error": lambda record: 1 / 0,
}


@given(
    names=st.lists(st.sampled_from([name for name in CHANGES if name != "an error"]), max_size=4),
    attributes=st.dictionaries(st.sampled_from("abn"), st.integers(0, 3) | st.text(max_size=3), max_size=3).filter(
        lambda attributes: type(attributes.get("n", 0)) is int
    ),
    user=st.sampled_from([None, "u1"]),
    number_of_events=st.integers(0, 2),
)
def test_record_and_readable_say_the_same(
    names: list[str], attributes: dict[str, Any], user: str | None, number_of_events: int
) -> None:
    """Whichever is looked at first; and what every sink gets is the same."""

    class Looks(SpanSink):
        def __init__(self, *, is_record_first: bool) -> None:
            self.is_record_first = is_record_first
            self.seen: list[tuple[SpanRecord, SpanRecord]] = []

        def on_end(self, span: PipelineSpan) -> None:
            if self.is_record_first:
                self.seen.append((span.record, SdkReader().record(span.readable)))
            else:
                readable = SdkReader().record(span.readable)
                self.seen.append((span.record, readable))

    looks = [Looks(is_record_first=True), Looks(is_record_first=False)]
    span = _ended(attributes | ({} if user is None else {"user.id": user}), number_of_events)
    for look in looks:
        Pipeline([CHANGES[name] for name in names], [look]).on_end(span)
    assert looks[0].seen == looks[1].seen
    assert all(record == readable for record, readable in looks[0].seen)


def _ended(attributes: dict[str, Any], number_of_events: int) -> ReadableSpan:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    link = Link(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)))
    span = provider.get_tracer("x").start_span("x", attributes=attributes, links=[link])
    for number in range(number_of_events):
        span.add_event(f"e{number}", {"b": (number,)})
    span.set_status(Status(StatusCode.ERROR, "m"))
    span.end()
    [ended] = exporter.get_finished_spans()
    return ended


def test_a_policy_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """What it was given is dropped, counted, and reported once; the program and other spans notice nothing."""

    def fails_for_bad(record: Any) -> Any:
        if record.name == "bad":
            raise LookupError("no")
        return record

    class LooksBadly:
        def violates(self, span: Any) -> bool:
            raise ValueError("no look")

        def __call__(self, record: Any) -> Any:
            return record

    memory = InMemoryBackend()
    provider = provider_with(memory, fails_for_bad)
    tracer = provider.get_tracer("x")
    for name in ("bad", "good", "bad"):
        tracer.start_span(name).end()
    assert [span.name for span in memory.spans()] == ["good"]
    assert (len(memory._open), pipeline_of(provider).stats()) == (
        0,
        {"failed: policy fails_for_bad": 4, "dropped: by a policy": 2, "InMemoryBackend: kept": 1},
    )
    assert [record.getMessage() for record in caplog.records] == [
        "policy fails_for_bad failed: LookupError: no (logged once)"
    ]
    other = provider_with(memory, LooksBadly())
    other.get_tracer("x").start_span("x").end()
    assert pipeline_of(other).stats()["dropped: by a policy"] == 1
    assert len(memory.spans()) == 1


def test_an_interrupt_in_a_policy(tmp_path: Path) -> None:
    """What a signal handler raises in the midst of one reaches the program, and the span is kept all the same."""
    before = signal.signal(signal.SIGALRM, _raise_timeout)
    wanted = [False]

    def interrupted(record: Any) -> Any:
        if wanted[0]:
            wanted[0] = False
            signal.raise_signal(signal.SIGALRM)
        return record

    try:
        file = FileBackend(tmp_path / "t.jsonl")
        tracer = AgentTracer(backend=file, policies=[interrupted])
        run = tracer.run(run_id="r")
        run.start()
        wanted[0] = True
        with pytest.raises(TimeoutError):
            run.end()
        assert [read.run_id for read in file.runs()] == ["r"]
        assert not any(reason.startswith("failed") for reason in tracer.stats())
    finally:
        signal.signal(signal.SIGALRM, before)


def _raise_timeout(*arguments: object) -> None:
    raise TimeoutError


def test_a_span_that_is_dropped_as_it_starts_is_not_announced() -> None:
    """Nor is it shown while it is open; where it is dropped only as it ends, sinks that received it are to forget it."""
    sink, memory = RecordingSink(), InMemoryBackend()
    provider = provider_with([sink, memory], lambda record: None if "secret" in record.attributes else record)
    tracer = provider.get_tracer("x")
    tracer.start_span("x", attributes={"secret": 1, **AGENT}).end()
    assert sink.calls == ["discard"]
    sink.calls.clear()
    span = tracer.start_span("x", attributes=AGENT)
    assert len(memory.runs()) == 1
    span.set_attribute("secret", 1)
    assert memory.runs() == []
    span.end()
    assert sink.calls == ["start x", "discard"]
    assert (memory.runs(), len(memory._open)) == ([], 0)
    assert pipeline_of(provider).stats()["dropped: by a policy"] == 2


def test_a_run_that_is_dropped_at_its_end_is_not_held(recording: Any) -> None:
    """What a `TracerBackend` is fed from holds it open no longer."""
    own = recording()
    provider = provider_with(own, lambda record: None if record.end_ns else record)
    with AgentTracer(tracer_provider=provider).run(run_id="r"):
        pass
    [feed] = pipeline_of(provider).sinks
    assert own.names() == ["start_run r 0"]
    assert not any(node.is_open for node in feed._nodes.values())  # type: ignore[attr-defined]


def test_what_is_open_is_shown_after_the_policies() -> None:
    """Also what is written while it is open, however late somebody looks."""

    class Late(SpanSink):
        def on_start(self, span: StartedSpan) -> None:
            self.span = span

    late, memory = Late(), InMemoryBackend()
    provider = provider_with([late, memory], Looking("x"))
    span = provider.get_tracer("x").start_span("x", attributes=AGENT)
    span.set_attribute("secret", 1)
    assert late.span.record.attributes == {"cleaned": True}
    assert late.span.readable.attributes == {"cleaned": True}
    assert late.span.attributes == {"cleaned": True}
    current = late.span.current()
    assert current is not None
    assert current.attributes == {"cleaned": True}
    lazily = provider_with([late], UserIdPolicy("none"))
    other = lazily.get_tracer("x").start_span("x")
    other.set_attributes({"user.id": "u1", "a": 1})  # nobody has looked before
    assert late.span.readable.attributes == late.span.record.attributes == {"a": 1}


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ([1], "is not a policy"),
        ([Looking], "is not a policy"),
        ([None], "is not a policy"),
        ([Gate(), UserIdPolicy("none")], "last"),
        ([Gate(), Gate()], "last"),
        (Looking("x"), r"policies=\[\.\.\.\]"),
        (Gate(), r"policies=\[\.\.\.\]"),
    ],
)
def test_what_is_no_policy(policies: Any, words: str, tmp_path: Path) -> None:
    """It is refused at once, wherever it is given."""
    for make in (
        lambda: Pipeline(policies),
        lambda: configure(policies=policies, otlp=False),
        lambda: AgentTracer(backend=InMemoryBackend(), policies=policies),
        lambda: AgentTracer(policies=policies),
        lambda: InMemoryBackend(policies=policies),
        lambda: FileBackend(tmp_path / "t.jsonl", policies=policies),
    ):
        with pytest.raises(ConfigurationError, match=words):
            make()


def test_a_gate_without_backends_is_refused() -> None:
    """A tracer on somebody's provider has nothing that a gate could hold."""
    with pytest.raises(ConfigurationError, match="needs backends"):
        AgentTracer(tracer_provider=TracerProvider(), policies=[Gate()])


def test_configured_twice() -> None:
    """What was set on a provider first holds for backends that are added later, too."""
    one, two = InMemoryBackend(), InMemoryBackend()
    provider = configure(backends=one, policies=[Looking("x"), when_over(True)], otlp=False)
    configure(provider=provider, backends=two, policies=[renaming("y")], otlp=False)
    provider.get_tracer("x").start_span("x", attributes={"a": 1}).end()
    assert [(span.name, span.attributes) for span in one.spans()] == [("x", {"cleaned": True})]
    assert [(span.name, span.attributes) for span in two.spans()] == [("y", {"cleaned": True})]


def test_policies_of_a_backend_that_would_not_be_applied() -> None:
    """A backend with policies for the SDK's own processors is refused by ours."""
    with pytest.raises(ConfigurationError, match="to AgentTracer, configure"):
        AgentTracer(backend=InMemoryBackend(policies=[Looking("x")]))


def test_user_ids_are_the_first_policy() -> None:
    """What others see is the pseudonym; applied twice it is what it was."""
    seen: list[Any] = []

    def look(record: Any) -> Any:
        seen.append(record.attributes.get("user.id"))
        return record

    provider = provider_with(InMemoryBackend(), look)
    provider.get_tracer("x").start_span("x", attributes={"user.id": "u1"}).end()
    assert seen == [None, None]
    policy = UserIdPolicy("pseudonym")
    once = policy(SpanRecord("a" * 32, "b" * 16, None, "x", 1, 2, {"user.id": "u1"}))
    assert once.attributes == {"enduser.pseudo.id": pseudonymize_user_id("u1")}
    assert policy(once) is once


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_logs_pass_the_same_policies(tmp_path: Path) -> None:
    """They stand beside their spans in memory and in the file, are read as events, and may be changed or dropped."""

    def policy(record: Any) -> Any:
        if isinstance(record, LogRecord):
            return None if record.name == "secret" else msgspec.structs.replace(record, body="masked")
        return record

    memory, path = InMemoryBackend(), tmp_path / "t.jsonl"
    provider = provider_with([memory, FileBackend(path), RecordingSink()], policy)
    with AgentTracer(tracer_provider=provider).run(run_id="r") as run:
        pipeline = pipeline_of(provider)
        pipeline.on_log(log_of(run.span, "secret"))
        pipeline.on_log(
            log_of(
                run.span,
                "recorded",
                attributes={"user.id": "u1", "n": 2},
                body="what was recorded",
                severity_number=9,
                severity_text="INFO",
                resource=Resource({"service.name": "s"}, "https://r"),
                scope=Scope("logger", "1", {"a": 1}, "https://s"),
            )
        )
    [log] = memory.logs()
    expected = LogRecord(
        run.trace_id,
        run.span_id,
        "recorded",
        5,
        {"n": 2, "enduser.pseudo.id": pseudonymize_user_id("u1")},
        "masked",
        9,
        "INFO",
        Resource({"service.name": "s"}, "https://r"),
        Scope("logger", "1", {"a": 1}, "https://s"),
    )
    assert log == expected
    from otel_agent_trace.formats import otlp_json

    lines = path.read_bytes().splitlines()
    assert [read for line in lines if b"resourceLogs" in line for read in otlp_json.decode_logs(line)] == [expected]
    event = Event("recorded", 5, {**expected.attributes, "body": "masked"})
    [file_trace] = FileBackend(path).traces(fail_on_problem)
    [memory_trace] = memory.traces(fail_on_problem)
    assert [span.events for span in file_trace] == [span.events for span in memory_trace] == [(event,)]
    assert memory.runs() == load_runs(path)
    stats = pipeline.stats()
    assert (stats["dropped: by a policy"], stats["FileBackend: logs kept"], stats["FileBackend: kept"]) == (1, 1, 1)


def test_logs_in_memory_are_bounded() -> None:
    """Of `max_runs` traces at most."""
    memory = InMemoryBackend(max_runs=2)
    for number in range(5):
        memory.on_log(LogRecord(f"{number:032x}", "1" * 16, f"{number}", 1))
    assert [log.name for log in memory.logs()] == ["3", "4"]
    memory.clear()
    assert memory.logs() == []


# ── a gate ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Scripted(Gate):
    """A gate that decides as its test sets it, and notes what it was asked."""

    def __init__(self, answer: Callable[[Sequence[SpanRecord], bool], bool | None]) -> None:
        self.answer = answer
        self.asked: list[tuple[list[str], bool]] = []

    def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
        self.asked.append(([span.name for span in spans], is_over))
        return self.answer(spans, is_over)


def when_over(decision: bool | None) -> Scripted:
    return Scripted(lambda spans, is_over: decision if is_over else None)


def test_what_sinks_receive_of_a_trace_that_is_let_go() -> None:
    """A journal receives it at once, others afterwards, all of it in its order, starts as they were."""
    journal, other, gate = Journal(), RecordingSink(), when_over(True)
    provider = provider_with([journal, other], gate)
    tracer = provider.get_tracer("x")
    with tracer.start_as_current_span("a") as root:
        pipeline_of(provider).on_log(log_of(root))
        with tracer.start_as_current_span("b"):
            root.update_name("renamed")
        assert journal.calls == ["start a", "start b", "hold b"]
        assert other.calls == []
    assert other.calls == ["start a", "log l", "start b", "end b", "end renamed"]
    assert journal.calls == ["start a", "start b", "hold b", "log l", "end b", "end renamed"]
    assert gate.asked == [(["b"], False), (["b", "renamed"], True)]
    late = tracer.start_span("late", context=_below(root))
    late.end()
    assert other.calls[-2:] == journal.calls[-2:] == ["start late", "end late"]
    assert len(gate.asked) == 2


def _below(span: Any) -> Any:
    from opentelemetry import trace

    return trace.set_span_in_context(span)


def test_a_start_that_was_held_is_as_it_was() -> None:
    """Its record and the SDK's span alike have what it had at its start; `current()` what it has now."""

    class Keeping(SpanSink):
        span: StartedSpan

        def on_start(self, span: StartedSpan) -> None:
            if span.record.name == "a":
                self.span = span

    sink = Keeping()
    provider = provider_with(sink, Scripted(lambda spans, is_over: True))
    tracer = provider.get_tracer("x")
    with tracer.start_as_current_span("a", attributes={"at": "start"}) as root:
        root.set_attribute("at", "later")
        tracer.start_span("b").end()
        assert sink.span.record.attributes == sink.span.readable.attributes == {"at": "start"}
        current = sink.span.current()
        assert current is not None
        assert current.attributes == {"at": "later"}


def test_what_sinks_receive_of_a_trace_that_is_dropped() -> None:
    """Only that it was, but for the journal; and what comes late is dropped as well."""
    journal, other = Journal(), RecordingSink()
    provider = provider_with([journal, other], when_over(False))
    tracer = provider.get_tracer("x")
    with tracer.start_as_current_span("a") as root:
        pipeline_of(provider).on_log(log_of(root))
        tracer.start_span("b").end()
    tracer.start_span("late", context=_below(root)).end()
    pipeline_of(provider).on_log(log_of(root))
    assert other.calls == ["drop"]
    assert journal.calls == ["start a", "start b", "hold b", "drop"]
    assert pipeline_of(provider).stats() == {"dropped: by the gate": 5}


@pytest.mark.parametrize("how", ["force_flush", "shutdown"])
@pytest.mark.parametrize("decision", [True, False, None])
def test_flush_and_close_decide(how: str, decision: bool | None) -> None:
    """About all that is held, as if it were over; None is to let it go."""
    sink = RecordingSink()
    gate = Scripted(lambda spans, is_over: decision if is_over and len(spans) == 1 else None)
    provider = provider_with(sink, gate)
    tracer = provider.get_tracer("x")
    root = tracer.start_span("a")
    tracer.start_span("b", context=_below(root)).end()
    getattr(provider, how)()
    expected = ["drop"] if decision is False else ["start a", "start b", "end b"]
    assert [what for what in sink.calls if what != "close"] == expected
    root.end()
    assert ("end a" in sink.calls) is (decision is not False)


def test_what_ends_after_the_close_is_decided_at_once() -> None:
    """Nothing is held for ever."""
    sink = RecordingSink()
    provider = provider_with(sink, when_over(None))
    provider.shutdown()
    processor = provider._active_span_processor._span_processors[0]
    span = _ended({}, 0)
    processor.on_end(span)
    assert sink.calls == ["close", "end x"]


def test_a_gate_that_is_full() -> None:
    """When more is held than it may be, the trace that has been held longest is let go, and counted."""
    sink, gate = RecordingSink(), when_over(False)
    gate.max_held_bytes = 100_000
    provider = provider_with(sink, gate)
    tracer = provider.get_tracer("x")
    roots = [tracer.start_span(f"root {number}") for number in range(3)]
    for root in roots:
        tracer.start_span("large", context=_below(root), attributes={"a": "x" * 30_000}).end()
    assert sink.calls == ["start root 0", "start large", "end large"]
    for root in roots:
        root.end()
    assert sink.calls[3:] == ["end root 0", "drop", "drop"]
    stats = pipeline_of(provider).stats()
    assert (stats["let go: gate full"], stats["dropped: by the gate"]) == (1, 4)


def test_spans_that_never_end_are_not_held_for_ever() -> None:
    """Traces of which only starts are known count as well."""
    gate = when_over(False)
    gate.max_held_bytes = 50_000
    provider = provider_with(SpanSink(), gate)
    spans = [provider.get_tracer("x").start_span("x") for _ in range(1000)]
    held = pipeline_of(provider)._held
    assert held is not None
    assert len(held._held) <= 50
    assert pipeline_of(provider).stats()["let go: gate full"] >= 950
    assert len(spans) == 1000


def test_a_signal_handler_that_traces_while_a_trace_is_released() -> None:
    """What it begins and ends in that trace is passed on once, after what waited."""
    before = signal.getsignal(signal.SIGALRM)

    class Signalled(RecordingSink):
        def on_end(self, span: PipelineSpan) -> None:
            super().on_end(span)
            if span.record.name == "b":
                signal.raise_signal(signal.SIGALRM)

    sink = Signalled()
    provider = provider_with(sink, when_over(True))
    tracer = provider.get_tracer("x")
    root = tracer.start_span("a")
    signal.signal(signal.SIGALRM, lambda *_: tracer.start_span("of the handler", context=_below(root)).end())
    try:
        tracer.start_span("b", context=_below(root)).end()
        root.end()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sink.calls == ["start a", "start b", "end b", "end a", "start of the handler", "end of the handler"]


def test_a_gate_that_raises() -> None:
    """What is over is let go: a broken gate loses nothing."""
    sink = RecordingSink()
    provider = provider_with(sink, Scripted(lambda spans, is_over: 1 / 0))  # type: ignore[arg-type, return-value]
    with provider.get_tracer("x").start_as_current_span("a"):
        provider.get_tracer("x").start_span("b").end()
        assert sink.calls == []
    assert sink.calls == ["start a", "start b", "end b", "end a"]
    assert pipeline_of(provider).stats()["failed: gate"] == 2


def test_an_interrupt_while_a_trace_is_released() -> None:
    """What a signal handler raises in the midst of it reaches the program when all of the trace is passed on."""
    before = signal.signal(signal.SIGALRM, _raise_timeout)

    class Signalled(RecordingSink):
        def on_end(self, span: PipelineSpan) -> None:
            super().on_end(span)
            if span.record.name == "b":
                signal.raise_signal(signal.SIGALRM)

    sink = Signalled()
    provider = provider_with(sink, when_over(True))
    tracer = provider.get_tracer("x")
    try:
        root = tracer.start_span("a")
        tracer.start_span("b", context=_below(root)).end()
        with pytest.raises(TimeoutError):
            root.end()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sink.calls == ["start a", "start b", "end b", "end a"]


def test_a_policy_that_drops_the_last_span_of_a_trace() -> None:
    """The trace is over all the same."""
    sink, gate = RecordingSink(), when_over(True)
    provider = provider_with(sink, lambda record: None if record.name == "a" else record, gate)
    with provider.get_tracer("x").start_as_current_span("a"):
        provider.get_tracer("x").start_span("b").end()
    assert sink.calls == ["start b", "end b", "discard"]
    assert gate.asked[-1] == (["b"], True)


def test_threads_that_end_spans_of_one_trace(frequent_switches: None) -> None:
    """Each span is passed on once, after its start, however many threads end them while the trace is being let go."""
    from concurrent.futures import ThreadPoolExecutor

    for _ in range(20):
        sink = RecordingSink()
        provider = provider_with(sink, Scripted(lambda spans, is_over: len(spans) >= 10 or None))
        tracer = provider.get_tracer("x")
        root = tracer.start_span("root")

        def work(number: int, tracer: Any = tracer, root: Any = root) -> None:
            tracer.start_span(f"{number}", context=_below(root)).end()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(40)))
        root.end()
        assert sorted(sink.calls) == sorted(
            f"{what} {name}" for what in ("start", "end") for name in [*range(40), "root"]
        )
        for number in range(40):
            assert sink.calls.index(f"start {number}") < sink.calls.index(f"end {number}")


@needs_fork
def test_a_forked_child_holds_nothing_of_its_parents(run_python: RunPython) -> None:
    """What a gate holds at a fork is passed on by the parent alone; what the child traces, by the child."""
    result = run_python(
        """
        import os
        from otel_agent_trace import *
        from otel_agent_trace.pipeline import Gate

        class OverOnly(Gate):
            def decide(self, spans, *, is_over):
                return True if is_over else None

        tracer = AgentTracer(backend=FileBackend("t.jsonl"), policies=[OverOnly()])
        with tracer.run(run_id="r") as run:
            with run.step("held"):
                pass
            child = os.fork()
            if child == 0:
                with tracer.run(run_id="child"):
                    pass
                tracer.flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        tracer.close()
        print(*(f"{run.run_id}:{len(run.steps)}" for run in load_runs("t.jsonl")))
        print(len(open("t.jsonl").readlines()))
        """
    )
    counts, lines = result.stdout.splitlines()
    assert (sorted(counts.split()), lines) == (["r:2"], "3"), result.stderr


# ── policies and gates that misbehave ────────────────────────────────────────────────────────────────────────────────


def test_a_policy_that_traces_is_not_asked_about_its_own_spans() -> None:
    """What a policy traces is dropped and counted; asked about it, it would never end."""
    memory = InMemoryBackend()
    asked = []

    def policy(record: SpanRecord) -> SpanRecord:
        asked.append(record.name)
        with tracer.run(user_input="of the policy"):
            pass
        return record

    tracer = AgentTracer(memory, policies=[policy])
    with tracer.run(user_input="question"):
        pass
    assert [run.user_input for run in memory.runs()] == ["question"]
    assert len(asked) == 2  # as it starts and as it ends
    assert tracer.stats()["dropped: by a policy"] > 0


def test_a_gate_that_traces_is_not_asked_about_its_own_spans() -> None:
    """Likewise."""
    memory = InMemoryBackend()
    asked = []

    class Tracing(Gate):
        def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
            asked.append(len(spans))
            with tracer.run(user_input="of the gate"):
                pass
            return True

    tracer = AgentTracer(memory, policies=[Tracing()])
    with tracer.run(user_input="question"):
        pass
    assert [run.user_input for run in memory.runs()] == ["question"]
    assert asked == [1]


@pytest.mark.parametrize(
    "policy",
    [
        lambda record: "no record",
        lambda record: msgspec.structs.replace(record, trace_id="nothex!"),
        lambda record: msgspec.structs.replace(record, span_id="0" * 16),
    ],
)
def test_what_a_policy_must_not_give_is_dropped_and_counted(policy: Any) -> None:
    """No backend has to cope with something else than a record, or with other ids."""
    memory = InMemoryBackend()
    tracer = AgentTracer(memory, policies=[policy])
    with tracer.run(user_input="question"):
        pass
    assert memory.runs() == []
    assert tracer.stats()["dropped: by a policy"] == 1
    assert any(reason.startswith("failed: policy") for reason in tracer.stats())


def test_a_hostile_value_does_not_raise_out_of_a_gate() -> None:
    """A text whose size cannot be taken is held all the same."""

    class Hostile(str):
        def __sizeof__(self) -> int:
            raise RuntimeError("sizeof")

    memory = InMemoryBackend()
    provider = configure(backends=[memory], policies=[when_over(True)], otlp=False)
    with provider.get_tracer("other").start_as_current_span("chat") as span:
        span.set_attribute("text", Hostile("hello"))
    assert [span.name for span in memory.spans()] == ["chat"]


def test_a_log_with_a_made_up_trace_id_does_not_raise_out_of_a_gate() -> None:
    """It is of no trace, and goes on."""
    memory = InMemoryBackend()
    provider = provider_with(memory, when_over(True))
    pipeline_of(provider).on_log(LogRecord("zz", "", "name", 1))
    assert [log.name for log in memory.logs()] == ["name"]


def test_policies_that_are_added_to_a_provider_of_ours_hold_for_what_tracers_write_on_it() -> None:
    """The backends of the first call see nothing that the policies of the second would have changed."""
    memory = InMemoryBackend()
    provider = configure(backends=[memory], otlp=False)
    configure(provider=provider, policies=[renaming("hidden")], otlp=False)
    with AgentTracer(tracer_provider=provider).run(user_input="question"):
        pass
    assert [span.name for span in memory.spans()] == ["hidden"]
