"""Tail sampling: which traces its rules keep, and what sinks receive of them."""

from __future__ import annotations

import contextlib
import gc
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentStep,
    AgentTracer,
    ConfigurationError,
    InMemoryBackend,
    TailSampling,
    configure,
)
from otel_agent_trace.backends.adapters import sink_for
from otel_agent_trace.pipeline import Decided, Gate, PipelineSpan, SpanSink, watch
from otel_agent_trace.policies.trace_facts import TraceFacts
from otel_agent_trace.sampling import NEVER, threshold_in, threshold_of
from otel_agent_trace.semconv import SAMPLING_PROBABILITY
from tests.support.processes import RunPython
from tests.support.requirements import needs_fork

NOTHING = TailSampling(rest=0)
HALF = TailSampling(rest=0.5)
KEPT_ID, DROPPED_ID = 2**120 + 2**55, 2**120
"""Ids of traces that half of all thresholds keep and drop."""
randoms = st.integers(0, 2**56 - 1)


# ── the policy ───────────────────────────────────────────────────────────────────────────────────────────────────────


policies = st.builds(
    TailSampling,
    keep_errors=st.booleans(),
    keep_tool_errors=st.booleans(),
    keep_slower_than_s=st.none() | st.floats(0, 1e6),
    keep_agents=st.lists(st.text(min_size=1).filter(str.strip), max_size=3),
    rest=st.floats(0, 1),
    wait_s=st.floats(0, 1e6),
    hold_bytes=st.integers(2**15, 2**40),
)


@given(policy=policies)
def test_a_policy_and_its_text(policy: TailSampling) -> None:
    """The text of any policy makes an equal one, as does a pickle; it is one line, which stands in a journal."""
    assert TailSampling.parse(str(policy)) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(TailSampling.parse(str(policy))) == hash(policy)
    assert "\n" not in str(policy)


def test_a_text_of_a_person() -> None:
    text = " keep_errors=true, keep_agents=vip|gold%2Cgreen ,rest=0.1,keep_slower_than_s=2.5"
    assert TailSampling.parse(text) == TailSampling(keep_agents=["gold,green", "vip"], rest=0.1, keep_slower_than_s=2.5)
    assert TailSampling.parse("") == TailSampling()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rest": 1.5}, "rest=1.5 must be a probability"),
        ({"rest": float("nan")}, "rest=nan must"),
        ({"rest": True}, "rest=True must"),
        ({"keep_errors": 1}, "keep_errors=1 must be True or False"),
        ({"keep_slower_than_s": -1}, "keep_slower_than_s=-1 must be a number of seconds"),
        ({"keep_agents": "vip"}, "keep_agents='vip' must be a list"),
        ({"keep_agents": [""]}, "keep_agents"),
        ({"keep_agents": ["x" * 5000]}, "keep_agents: the names"),
        ({"wait_s": "1"}, "wait_s='1' must"),
        ({"hold_bytes": 40_000.5}, "hold_bytes=40000.5 must be a number of bytes"),
        ({"hold_bytes": 0}, "hold_bytes=0 must be a number of bytes, at least 32768"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TailSampling(**arguments)


@pytest.mark.parametrize("text", ["rest", "rest=x", "rest=2", "rest=0,rest=1", "errors=true", "keep_errors=yes"])
def test_texts_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(ConfigurationError):
        TailSampling.parse(text)


def test_a_text_that_names_a_field_twice() -> None:
    with pytest.raises(ConfigurationError, match="^rest is given twice$"):
        TailSampling.parse("rest=0.1,rest=0.2")


@given(random=randoms, rests=st.tuples(st.floats(0, 1), st.floats(0, 1)), incoming=st.none() | randoms)
def test_processes_agree(random: int, rests: tuple[float, float], incoming: int | None) -> None:
    """What a lower probability keeps, a higher one keeps too; a threshold only rises."""
    low, high = (TailSampling(rest=rest).threshold_of_rest(random, incoming) for rest in sorted(rests))
    assert low == NEVER or high != NEVER
    for threshold in (low, high):
        assert threshold >= (incoming or 0)
    if incoming is None:
        assert (high != NEVER) is (random >= threshold_of(max(rests)))


@given(random=randoms, incoming=st.none() | randoms)
def test_a_rule_keeps_whatever_the_random_bits_are(random: int, incoming: int | None) -> None:
    """With a threshold of 0, or that with which the trace was sampled before."""
    assert NOTHING.threshold(TraceFacts(is_error=True), random, incoming) == (incoming or 0)


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────


def run(tracer: AgentTracer, agent: str = "a", *, error: bool = False, tool_error: bool = False) -> None:
    """A run with one step, each of which may fail."""
    with contextlib.suppress(ValueError), tracer.run(agent_name=agent, user_input=agent) as current:
        with contextlib.suppress(KeyError), current.step("tool") as step:
            step.output = 1
            if tool_error:
                raise KeyError
        if error:
            raise ValueError


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (NOTHING, ["error"]),
        (TailSampling(rest=0, keep_errors=False), []),
        (TailSampling(rest=0, keep_errors=False, keep_tool_errors=True), ["tool"]),
        (TailSampling(rest=0, keep_errors=False, keep_slower_than_s=0), ["plain", "error", "tool", "vip"]),
        (TailSampling(rest=0, keep_slower_than_s=1e6, keep_agents=["vip", "x"]), ["error", "vip"]),
        (TailSampling(rest=1), ["plain", "error", "tool", "vip"]),
    ],
)
def test_rules(policy: TailSampling, kept: list[str]) -> None:
    """Whole traces are kept, with the threshold on every span; what a rule keeps has probability 1."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, sampling=policy)
    run(tracer, "plain")
    run(tracer, "error", error=True)
    run(tracer, "tool", tool_error=True)
    run(tracer, "vip")
    assert [one.agent_name for one in memory.runs()] == kept
    assert [len(one.steps) for one in memory.runs()] == [1] * len(kept)
    assert {one.sampling_probability for one in memory.runs()} <= {1.0}
    assert tracer.stats().get("dropped: by sampling", 0) == 2 * (4 - len(kept))


def test_a_sub_agent_that_is_to_be_kept_keeps_its_trace() -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, sampling=TailSampling(rest=0, keep_agents=["vip"]))
    with tracer.run(agent_name="outer"):
        run(tracer, "vip")
    assert [one.agent_name for one in memory.runs()] == ["outer"]


def test_the_rest_is_decided_by_the_trace_id() -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, sampling=HALF)
    ids = [tracer.start_run() for _ in range(60)]
    for run_id in ids:
        tracer.end_run(run_id)
    kept = {one.run_id for one in memory.runs()}
    assert kept == {run_id for run_id in ids if int(run_id, 16) & (2**56 - 1) >= 2**55}
    assert 0 < len(kept) < 60
    for span in memory.spans():
        assert (threshold_in(span.trace_state), span.attributes[SAMPLING_PROBABILITY]) == (2**55, 0.5)


def started(provider: TracerProvider, trace_id: int, state: str = "", *, is_remote: bool = True) -> trace.Span:
    """A span whose parent is in another process."""
    context = SpanContext(trace_id, 5, is_remote, TraceFlags(3), TraceState.from_header([state] if state else []))
    return provider.get_tracer("x").start_span("x", trace.set_span_in_context(NonRecordingSpan(context), Context()))


def sampled_provider(backend: Any, policy: TailSampling) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(backend, sampling=policy))
    return provider


@pytest.mark.parametrize(
    ("trace_id", "state", "kept"),
    [
        (KEPT_ID, "", "ot=th:8"),
        (DROPPED_ID, "", None),
        (DROPPED_ID, "ot=rv:ffffffffffffff", "ot=th:8;rv:ffffffffffffff"),
        (KEPT_ID, "ot=rv:00000000000000", None),
        (KEPT_ID, "ot=th:c", "ot=th:c"),
        (KEPT_ID, "ot=th:4,x=1", "ot=th:8,x=1"),
    ],
)
def test_a_trace_whose_root_is_elsewhere(trace_id: int, state: str, kept: str | None) -> None:
    """It is kept at once if randomness keeps it; else it waits for a stated time, and no error of this process keeps it."""
    memory = InMemoryBackend()
    provider = sampled_provider(memory, TailSampling(rest=0.5, wait_s=0))
    span = started(provider, trace_id, state)
    span.set_status(trace.StatusCode.ERROR)
    span.end()
    assert [record.trace_state for record in memory.spans()] == ([] if kept is None else [kept])


def test_what_waits_for_another_process_is_decided_at_the_end() -> None:
    memory = InMemoryBackend()
    provider = sampled_provider(memory, TailSampling(rest=0.5))
    started(provider, DROPPED_ID).end()
    provider.force_flush()
    assert len(memory.runs()) == 0 == len(memory.spans())
    provider.shutdown()
    processor: Any = provider._active_span_processor._span_processors[0]
    assert processor.stats() == {"dropped: by sampling": 1}


def test_a_parent_of_another_provider_here_does_not_decide() -> None:
    """No other process is asked about a trace of which only the parent span is somebody else's."""
    memory = InMemoryBackend()
    span = started(sampled_provider(memory, NOTHING), DROPPED_ID, is_remote=False)
    span.set_status(trace.StatusCode.ERROR)
    span.end()
    assert len(memory.spans()) == 1


# ── when it is decided ───────────────────────────────────────────────────────────────────────────────────────────────


def test_late_spans_and_logs_follow() -> None:
    """A step, a score: kept or dropped with their run."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, sampling=NOTHING)
    for error, number in ((False, 0), (True, 1)):
        run_id = tracer.start_run()
        if error:
            tracer.log_error(run_id, "broken")
        else:
            tracer.end_run(run_id)
        tracer.score(run_id, "helpful", 1)
        context = trace.set_span_in_context(NonRecordingSpan(SpanContext(int(run_id, 16), 7, False, TraceFlags(1))))
        tracer._own.get_tracer("x").start_span("late", context).end()  # type: ignore[union-attr]
        assert len(memory.logs()) == number
        assert [span.name for span in memory.spans()].count("late") == number


def test_a_span_that_outlasts_its_root() -> None:
    """It is waited for, as it may be a tool that fails, but not for ever."""
    memory = InMemoryBackend()
    provider = sampled_provider(memory, TailSampling(rest=0, keep_tool_errors=True))
    tracer = provider.get_tracer("x")
    root = tracer.start_span("root")
    tool = tracer.start_span(
        "tool", trace.set_span_in_context(root), attributes={"gen_ai.operation.name": "execute_tool"}
    )
    root.end()
    provider.force_flush()
    assert memory.spans() == []
    tool.set_status(trace.StatusCode.ERROR)
    tool.end()
    assert [span.name for span in memory.spans()] == ["root", "tool"]


def test_flush_decides_no_open_trace_and_close_takes_it_for_interrupted() -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, sampling=NOTHING)
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="t")
    assert tracer.flush()
    assert memory.spans() == []
    tracer.close()
    assert [span.name for span in memory.spans()] == ["execute_tool t"]


class Recording:
    """A backend of the program."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start_run(self, run: AgentRun) -> None:
        self.calls.append(f"start {run.user_input} {run.status.value}")

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self.calls.append(f"step {step.name}")

    def end_run(self, run: AgentRun) -> None:
        self.calls.append(f"end {run.status.value} {run.sampling_probability}")


class Exporter(SpanExporter):
    """An exporter of others."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def test_backends_of_the_program_learn_of_a_run_when_it_is_kept() -> None:
    recording, exporter = Recording(), Exporter()
    tracer = AgentTracer(backends=[recording, exporter], sampling=NOTHING)
    run(tracer, "dropped")
    assert recording.calls == []
    with contextlib.suppress(ValueError), tracer.run(user_input="kept") as current, current.step("s"):
        assert recording.calls == []
        raise ValueError
    assert recording.calls == ["start kept running", "step s", "end error 1.0"]
    for span in exporter.spans:
        assert span.context is not None
        assert span.context.trace_state.get("ot") == "th:0"
        assert (span.attributes or {})[SAMPLING_PROBABILITY] == 1


def test_when_there_is_no_room_the_oldest_trace_is_decided_by_what_is_known() -> None:
    """By a rule that holds already, else by its random bits; what is lost is counted."""
    memory, policy = InMemoryBackend(), TailSampling(rest=0, keep_tool_errors=True, hold_bytes=150_000)
    tracer = AgentTracer(backend=memory, sampling=policy)
    runs = [tracer.start_run(user_input=number) for number in range(3)]
    tracer.log_step(runs[0], tool_name="t", tool_error="broken")
    for run_id in runs:
        tracer.log_step(run_id, tool_name="t", tool_output="x" * 90_000)
    for run_id in runs:
        tracer.log_error(run_id, "broken")
    assert [one.user_input for one in memory.runs()] == [0, 2]
    assert [one.sampling_probability for one in memory.runs()] == [1, 1]
    stats = tracer.stats()
    assert (stats["decided early: hold_bytes full"], stats["dropped: hold_bytes full"]) == (2, 2)
    assert "dropped: by sampling" not in stats


def test_open_traces_take_no_more_than_they_may() -> None:
    policy = TailSampling(rest=0, hold_bytes=1 << 20)
    tracer = AgentTracer(backend=InMemoryBackend(), sampling=policy)
    for _ in range(2000):
        tracer.log_step(tracer.start_run(), tool_name="t", tool_output="x" * 500)
    held: Any = tracer._own._active_span_processor._span_processors[0].pipeline._held  # type: ignore[union-attr]
    assert held._room.bytes <= 1 << 20
    assert 10 < len(held._held) < 500
    assert tracer.stats()["dropped: hold_bytes full"] > 1000


class Waking(SpanSink):
    """A sink of the library, which notes which thread has decided."""

    journals = keeps_held = True
    calls_program = False

    def __init__(self) -> None:
        self.is_decided = threading.Event()
        self.thread = 0

    def on_hold(self, span: PipelineSpan) -> None:
        pass

    def on_decided(self, decided: Decided) -> None:
        self.thread = threading.get_ident()
        self.is_decided.set()


class OfTheProgram(Waking):
    calls_program = True


def test_what_waits_is_decided_while_the_program_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread, which ends when nothing waits."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.001)
    sink = Waking()
    provider = sampled_provider(sink, TailSampling(rest=0.5, wait_s=0.05))
    for trace_id in (DROPPED_ID, DROPPED_ID + 1):
        sink.is_decided.clear()
        started(provider, trace_id).end()
        assert sink.is_decided.wait(60)
        assert sink.thread != threading.get_ident()
    processor: Any = provider._active_span_processor._span_processors[0]
    assert processor.pipeline._held._watch._is_at_work.acquire(timeout=60)


def test_the_thread_ends_with_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_S", 0.001)
    provider = sampled_provider(Waking(), TailSampling(rest=0.5, wait_s=1e6))
    started(provider, DROPPED_ID).end()
    processor: Any = provider._active_span_processor._span_processors[0]
    is_at_work = processor.pipeline._held._watch._is_at_work
    assert is_at_work.locked()
    del processor, provider
    gc.collect()
    assert is_at_work.acquire(timeout=60)


def test_backends_of_the_program_are_called_in_its_threads_only() -> None:
    sink = OfTheProgram()
    provider = sampled_provider(sink, TailSampling(rest=0.5, wait_s=0.01))
    started(provider, DROPPED_ID).end()
    processor: Any = provider._active_span_processor._span_processors[0]
    assert processor.pipeline._held._watch is None
    assert sink_for(Recording()).calls_program
    assert sink_for(Exporter()).calls_program


# ── where it is given ────────────────────────────────────────────────────────────────────────────────────────────────


def kept_of(tracer: AgentTracer, memory: InMemoryBackend) -> int:
    run(tracer)
    return len(memory.runs())


def test_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument, in the environment, by none, and by a processor."""
    memory = InMemoryBackend()
    assert kept_of(AgentTracer(tracer_provider=configure(backends=memory, sampling=NOTHING)), memory) == 0
    assert kept_of(AgentTracer(tracer_provider=sampled_provider(memory, NOTHING)), memory) == 0
    monkeypatch.setenv("OTEL_AGENT_TRACE_SAMPLING", "rest=0")
    assert kept_of(AgentTracer(tracer_provider=configure(backends=memory)), memory) == 0
    assert kept_of(AgentTracer(backend=memory), memory) == 0
    assert kept_of(AgentTracer(backend=memory, sampling=False), memory) == 1
    monkeypatch.setenv("OTEL_AGENT_TRACE_SAMPLING", "false")
    assert kept_of(AgentTracer(backend=memory), memory) == 2


def test_what_cannot_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="sampling='x' must be a TailSampling"):
        configure(sampling="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="there is a Gate"):
        AgentTracer(backend=InMemoryBackend(), policies=[Gate()], sampling=NOTHING)
    with pytest.raises(ConfigurationError, match="needs backends"):
        AgentTracer(sampling=NOTHING)
    monkeypatch.setenv("OTEL_AGENT_TRACE_SAMPLING", "rest=2")
    with pytest.raises(ConfigurationError, match="OTEL_AGENT_TRACE_SAMPLING: rest=2"):
        AgentTracer(backend=InMemoryBackend())
    AgentTracer()  # has no backends


@needs_fork
def test_a_forked_child_keeps_decisions_and_none_of_the_spans(run_python: RunPython) -> None:
    """What its parent holds, its parent decides; a trace that it begins itself it decides."""
    done = run_python("""
        import os, sys
        from opentelemetry.context import Context
        from otel_agent_trace import *
        memory = InMemoryBackend()
        tracer = AgentTracer(backend=memory, sampling=TailSampling(rest=0, wait_s=0))
        with tracer.run(agent_name="parent") as run:
            child = os.fork()
            if child == 0:
                with run.step("in the child"):
                    pass
                names = [span.name for span in memory.spans()]
                try:
                    with tracer.run(agent_name="own", parent=Context()):
                        raise ValueError
                except ValueError:
                    pass
                names += [span.name for span in memory.spans()]
                os._exit(0 if names == ["invoke_agent own"] else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    assert (done.stdout, done.stderr) == ("0\n", "")
