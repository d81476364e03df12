"""The kits accept what keeps the contracts, and say what is wrong with what does not."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import re
import sqlite3
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as SdkLink
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_agent_trace import AgentRun, AgentTracer, BackgroundBackend, InMemoryBackend
from otel_agent_trace.backends.dispatcher import RunDispatcher
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.mapping import reader
from otel_agent_trace.model import RunStatus, StepKind
from otel_agent_trace.sources import FilesSource, SeveralSources
from otel_agent_trace.span import Link, SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.testing import check_backend, check_dialect, check_source
from tests.support.backends import OnlyRuns
from tests.support.waiting import DEADLOCK_S

EXAMPLE = Path(__file__).parents[1] / "examples" / "custom_backend.py"


# ── backends ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def example() -> types.ModuleType:
    """The example backend, as a module."""
    spec = importlib.util.spec_from_file_location("custom_backend", EXAMPLE)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dict_backend_passes() -> None:
    """The smallest backend that keeps the contract passes."""
    check_backend(OnlyRuns, OnlyRuns.runs)


def test_sqlite_example_passes(example: types.ModuleType, tmp_path: Path) -> None:
    """The example of a backend keeps the contract, over one database for all scenarios."""
    check_backend(lambda: example.SQLiteBackend(str(tmp_path / "runs.db")), example.SQLiteBackend.runs)


def test_background_passes() -> None:
    """A backend that is called in a thread of its own keeps the contract as well."""
    check_backend(lambda: BackgroundBackend(OnlyRuns()), lambda backend: backend._backend.runs())


def test_outermost_runs_suffice() -> None:
    """What a backend gives within the run that called it counts as held."""
    check_backend(OnlyRuns, lambda backend: [run for run in backend.runs() if run.parent_run_id is None])


class _Raises(OnlyRuns):
    def end_run(self, run: AgentRun) -> None:
        if run.status is RunStatus.ERROR:
            raise OSError("disk full")
        super().end_run(run)


class _NeedsAStart(OnlyRuns):
    def log_step(self, run_id: str, step: Any) -> None:
        self.kept[run_id]  # raises where the start was not seen


class _Forgets(OnlyRuns):
    def start_run(self, run: AgentRun) -> None:
        """Keep nothing before the end."""


class _KeepsTheFirst(OnlyRuns):
    def end_run(self, run: AgentRun) -> None:
        if run.run_id not in self.kept or self.kept[run.run_id].status is RunStatus.RUNNING:
            super().end_run(run)


class _Appends(OnlyRuns):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[AgentRun] = []

    def end_run(self, run: AgentRun) -> None:
        self.kept.pop(run.run_id, None)
        self.all.append(run)

    def runs(self) -> list[AgentRun]:
        return [*self.all, *self.kept.values()]


class _PlainJson(OnlyRuns):
    def end_run(self, run: AgentRun) -> None:
        data = json.loads(json.dumps(run.to_dict()))
        for item in (data, *data["steps"]):
            item.pop("types", None)
        self.kept[run.run_id] = AgentRun.from_dict(data)


class _CutsIds(OnlyRuns):
    def _put(self, run: AgentRun) -> None:
        key = re.sub(r"\W", "_", run.run_id).lower()
        self.kept[key] = run

    start_run = end_run = _put


class _OneThread(OnlyRuns):
    """SQLite refuses to be used by other threads than its own, unless it is set otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.database = sqlite3.connect(":memory:")

    def end_run(self, run: AgentRun) -> None:
        self.database.execute("SELECT 1")
        super().end_run(run)

    def close(self) -> None:
        self.database.close()


class _DropsSubAgents(OnlyRuns):
    def end_run(self, run: AgentRun) -> None:
        steps = tuple(step for step in run.steps if step.kind is not StepKind.AGENT)
        super().end_run(msgspec.structs.replace(run, steps=steps))


class _CannotFlush(OnlyRuns):
    def flush(self, timeout_s: float) -> bool:
        return False


class _CannotClose(OnlyRuns):
    def close(self) -> None:
        raise RuntimeError("closed already")


class _GivesDictionaries(OnlyRuns):
    def runs(self) -> list[Any]:
        return [run.to_dict() for run in super().runs()]


@pytest.mark.parametrize(
    ("broken", "expected_message"),
    [
        (_Raises, "runs that fail: end_run() raised OSError: disk full"),
        (_NeedsAStart, "reported again: log_step() raised KeyError"),
        (_Forgets, "never ends, beside one that does: run"),
        (_KeepsTheFirst, "after its run: run"),
        (_Appends, "is held 2 times"),
        (_PlainJson, "values of every kind"),
        (_CutsIds, "ids that are no file names"),
        (_OneThread, "many threads at once: end_run() raised ProgrammingError"),
        (_DropsSubAgents, "agents that call agents"),
        (_CannotFlush, "flush() did not"),
        (_CannotClose, "close() raised RuntimeError: closed already"),
        (_GivesDictionaries, "which is no AgentRun"),
    ],
)
def test_broken_backends_fail(broken: type[OnlyRuns], expected_message: str) -> None:
    """A backend that breaks the contract fails, in the scenario that it breaks, and the message says how."""
    with pytest.raises(AssertionError, match=re.escape(expected_message)):
        check_backend(broken, broken.runs)


def test_difference_is_named() -> None:
    """The message names the first field that is held otherwise, and both values."""

    class Rounds(OnlyRuns):
        def end_run(self, run: AgentRun) -> None:
            steps = tuple(msgspec.structs.replace(step, name=step.name.upper()) for step in run.steps)
            super().end_run(msgspec.structs.replace(run, steps=steps))

    with pytest.raises(AssertionError, match=re.escape("run.steps[0].name was 'search' and is 'SEARCH'")):
        check_backend(Rounds, Rounds.runs)


def test_incomplete_backend_is_refused() -> None:
    """What lacks a method of the contract fails before anything is traced with it."""

    class Incomplete:
        def start_run(self, run: AgentRun) -> None: ...

    with pytest.raises(AssertionError, match=r"lacks start_run\(\), log_step\(\) or end_run\(\)"):
        check_backend(Incomplete, lambda _: [])


def test_overlapping_calls_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that overlap, which only the library can prevent, are a fault."""
    real_init = RunDispatcher.__init__

    def without_lock(self: RunDispatcher, backend: Any) -> None:
        real_init(self, backend)
        self._lock = contextlib.nullcontext()  # type: ignore[assignment]

    entered, overlapped = itertools.count(1), threading.Event()

    class Waits(OnlyRuns):
        """Has the first call of a thread wait for another one, which comes unless the library prevents it."""

        def log_step(self, run_id: str, step: Any) -> None:
            if threading.current_thread() is not threading.main_thread():
                if next(entered) > 1:
                    overlapped.set()
                overlapped.wait(DEADLOCK_S)

    monkeypatch.setattr(RunDispatcher, "__init__", without_lock)
    with pytest.raises(AssertionError, match="was called while another call was going on"):
        check_backend(Waits, Waits.runs)
    assert overlapped.is_set()


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_memory(spans: Sequence[SpanRecord]) -> InMemoryBackend:
    backend = InMemoryBackend(user_ids="plain")
    backend.export([_sdk_span(span) for span in spans])
    return backend


def _sdk_span(span: SpanRecord) -> ReadableSpan:
    def context(trace_id: str, span_id: str, state: str = "") -> SpanContext:
        known = TraceState.from_header([state]) if state else None
        return SpanContext(int(trace_id, 16), int(span_id, 16), False, TraceFlags(1), known)

    return ReadableSpan(
        name=span.name,
        context=context(span.trace_id, span.span_id, span.trace_state),
        parent=None if span.parent_span_id is None else context(span.trace_id, span.parent_span_id),
        resource=SdkResource(span.resource.attributes),
        attributes=span.attributes,
        events=[SdkEvent(event.name, event.attributes, event.time_ns) for event in span.events],
        links=[SdkLink(context(link.trace_id, link.span_id), link.attributes) for link in span.links],
        kind=SpanKind(span.kind - 1),
        status=Status(StatusCode(span.status_code), span.status_message or None),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=InstrumentationScope(span.scope.name, span.scope.version),
    )


@pytest.fixture
def in_files(tmp_path: Path) -> Callable[[Sequence[SpanRecord]], FilesSource]:
    """Makes a source over files of three lines each."""
    made: list[Path] = []

    def make(spans: Sequence[SpanRecord]) -> FilesSource:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(folder)
        for first in range(0, max(1, len(spans)), 3):
            lines = [otlp_json.encode([span]) + b"\n" for span in spans[first : first + 3]]
            (folder / f"{first:06}.jsonl").write_bytes(b"".join(lines))
        return FilesSource([folder])

    return make


def test_files_pass(in_files: Callable[[Sequence[SpanRecord]], FilesSource]) -> None:
    """Files keep the contract of sources, every field included."""
    check_source(in_files)


def test_memory_passes() -> None:
    """Memory keeps the contract of sources."""
    check_source(_in_memory)


def test_several_sources_pass(in_files: Callable[[Sequence[SpanRecord]], FilesSource]) -> None:
    """Files and memory, with a part of each trace, keep the contract as one source."""
    check_source(lambda spans: SeveralSources([in_files(spans[::2]), _in_memory(spans[1::2])]))


class _Listed:
    """A source over lists of spans, one for each time that it is read."""

    def __init__(self, *readings: Sequence[list[SpanRecord]]) -> None:
        self._readings = list(readings)

    def traces(self, on_problem: Any) -> Iterator[list[SpanRecord]]:
        reading = self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]
        yield from (list(spans) for spans in reading)


def _grouped(spans: Sequence[SpanRecord]) -> list[list[SpanRecord]]:
    traces: dict[str, list[SpanRecord]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return list(traces.values())


def _changed(spans: Sequence[SpanRecord], **fields: Any) -> list[SpanRecord]:
    return [msgspec.structs.replace(span, **fields) for span in spans]


class _SharesItsLists(_Listed):
    def traces(self, on_problem: Any) -> Iterator[list[SpanRecord]]:
        yield from self._readings[0]


class _Tuples(_Listed):
    def traces(self, on_problem: Any) -> Iterator[Any]:
        yield from map(tuple, super().traces(on_problem))


class _Complains(_Listed):
    def traces(self, on_problem: Any) -> Iterator[list[SpanRecord]]:
        on_problem("a problem")
        yield from super().traces(on_problem)


@pytest.mark.parametrize(
    ("make_source", "expected_message"),
    [
        (lambda spans: _Listed([[span] for span in spans]), "came twice"),
        (lambda spans: _Listed([list(spans)] if spans else []), "spans of several traces together"),
        (lambda spans: _Listed(_grouped(spans)[:-1]), "are missing"),
        (lambda spans: _Listed([trace[:1] for trace in _grouped(spans)]), "missing or too many"),
        (lambda spans: _Listed([[], *_grouped(spans)]), "a trace without spans"),
        (lambda spans: _Listed(_grouped(spans), []), "read again: traces"),
        (lambda spans: _Listed(_grouped(_changed(spans, links=()))), "every field: links was"),
        (lambda spans: _Listed(_grouped(_changed(spans, attributes={}))), "attributes was"),
        (lambda spans: _Tuples(_grouped(spans)), "no list"),
        (lambda spans: _SharesItsLists(_grouped(spans)), "without spans"),
        (lambda spans: _Complains(_grouped(spans)), "a problem"),
    ],
)
def test_broken_sources_fail(make_source: Callable[[Sequence[SpanRecord]], Any], expected_message: str) -> None:
    """A source that breaks the contract fails, and the message says how."""
    with pytest.raises(AssertionError, match=re.escape(expected_message)):
        check_source(make_source)


def test_what_a_source_cannot_keep_can_be_left_out() -> None:
    """Fields that a store is known to lose are not compared, all others are."""
    check_source(lambda spans: _Listed(_grouped(_changed(spans, links=(), flags=0))), ignoring=("links", "flags"))
    with pytest.raises(AssertionError, match="flags was"):
        check_source(lambda spans: _Listed(_grouped(_changed(spans, links=(), flags=0))), ignoring=("links",))


# ── dialects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def traced() -> list[SpanRecord]:
    """Spans of every kind that our tracer emits, with everything that it can say."""
    backend = InMemoryBackend(user_ids="plain")
    tracer = AgentTracer(backend=backend, user_ids="plain", agent_name="a")
    facts: dict[str, Any] = {"user_id": "u", "session_id": "s", "model": "m", "config": {1: 2}, "metadata": {"k": (1,)}}
    with contextlib.suppress(ValueError), tracer.run(user_input=("x",), run_id="r", **facts) as run:
        with run.model_call("m", [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]) as call:
            call.usage = {"input_tokens": 1, "output_tokens": 2, "other": 3}
            call.mark_first_chunk()
        with run.step("t", {"a": b"1"}, step_id="one", metadata={1: 1}) as step:
            step.output = {1, 2}
            step.abandon()
            step.set_attribute("own", (1, 2))
        with run.step("d", "q", kind="retrieval") as step:
            step.output = [{"id": 1}]
        with run.step("o", (1,), kind="other") as step:
            step.output = 2**80
        with tracer.run(agent_name="b") as inner:
            inner.usage = {"input_tokens": 1}
        with run.step("fails", "x" * 9):
            raise ValueError("\ud800")
    with tracer.run() as run:
        run.error = TimeoutError("t")
    return backend.spans()


def test_genai_passes(traced: list[SpanRecord]) -> None:
    """The GenAI dialect withstands whatever stands in any attribute that it knows."""
    assert len(traced) == 8
    check_dialect(reader.read, traced)


def _renaming(span: SpanRecord) -> SpanFacts | None:
    if span.attributes:
        span.attributes["seen"] = True
    return reader.read(span)


def _linking(span: SpanRecord) -> SpanFacts | None:
    msgspec.structs.force_setattr(span, "links", (Link("0" * 32, "0" * 16),))
    return reader.read(span)


def _trusting(span: SpanRecord) -> SpanFacts | None:
    name = span.attributes.get("gen_ai.operation.name")
    return None if name is None else SpanFacts(kind=StepKind.OTHER, dialect="x", name=name)


def _raising(span: SpanRecord) -> SpanFacts | None:
    json.loads(span.attributes.get("gen_ai.tool.call.arguments", "{}"))
    return reader.read(span)


def _claiming(span: SpanRecord) -> SpanFacts | None:
    return reader.read(span) or SpanFacts(kind=None, dialect="x")


@pytest.mark.parametrize(
    ("broken", "expected_message"),
    [
        (_renaming, "changed the span"),
        (_linking, "changed the span"),
        (_trusting, "Expected `str | null`"),
        (_raising, "_raising raised"),
        (_claiming, "claims"),
        (lambda span: None, "does not understand"),
        (lambda span: True, "which is no SpanFacts"),
    ],
)
def test_broken_dialects_fail(
    broken: Callable[[SpanRecord], Any], expected_message: str, traced: list[SpanRecord]
) -> None:
    """A dialect that trusts what it reads, or changes it, fails."""
    with pytest.raises(AssertionError, match=re.escape(expected_message)):
        check_dialect(broken, [msgspec.structs.replace(span, attributes=dict(span.attributes)) for span in traced])


def test_no_examples_is_no_pass() -> None:
    """A kit that was given nothing to check says so."""
    with pytest.raises(AssertionError, match="no spans"):
        check_dialect(reader.read, [])
