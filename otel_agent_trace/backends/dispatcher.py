"""Feeds a `TracerBackend` with runs and steps, out of spans."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from opentelemetry.trace import SpanContext

from otel_agent_trace import dialects, semconv
from otel_agent_trace.backends.contract import TracerBackend
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.mapping.history import whole_record
from otel_agent_trace.model import AgentRun, StepKind
from otel_agent_trace.pipeline import PipelineSpan, SpanSink, StartedSpan
from otel_agent_trace.pipeline.suppression import is_in_a_sink, suppress_instrumentation
from otel_agent_trace.runs import assemble
from otel_agent_trace.runs.stitch import Stitcher
from otel_agent_trace.span import SpanRecord

_REMEMBERED_TREES = 128
"""Trees in which nothing is open that are remembered, for steps that end after their run."""


class _Key(NamedTuple):
    trace_id: int
    span_id: int


class _Node:
    """A span, and the spans below it.

    `run` is the closest node above, or this one, with which a run begins (an agent, or a step that is in no run), and
    `run_id` the id of the run that begins here. Nodes of one `tree` are forgotten together: an outermost run with all
    below it, or a single span outside of runs.
    """

    __slots__ = ("above", "below", "is_open", "key", "open", "record", "run", "run_id", "tree")

    def __init__(self, key: _Key, above: _Node | None) -> None:
        self.key, self.above = key, above
        self.below: dict[_Key, _Node] = {}
        self.record: SpanRecord | None = None
        self.run_id: str | None = None
        self.run: _Node | None = above.run if above is not None else None
        self.tree: _Node = above.tree if above is not None and above.run is not None else self
        self.is_open = False
        self.open = 0
        if above is not None:
            above.below[key] = self

    def ancestors(self) -> Iterator[_Node]:
        """The nodes above, from the closest one up."""
        node = self.above
        while node is not None:
            yield node
            node = node.above

    def records(self) -> list[SpanRecord]:
        """The spans from here down that have ended."""
        nodes = [self]
        for node in nodes:
            nodes.extend(node.below.values())
        return [node.record for node in nodes if node.record is not None]


class RunDispatcher(SpanSink):
    """A `SpanSink` before a `TracerBackend`; holds the spans of open runs, and of the last ones that ended.

    What the end of a span costs grows with the run that ends with it, however long its trace is.
    """

    is_suppressed = False  # the calls of the backend are

    def __init__(self, backend: TracerBackend) -> None:
        self.backend = backend
        self.name = type(backend).__name__
        self.diagnostics = Diagnostics()
        self.kept = 0
        """Spans that the backend was told of, and raised nothing."""
        self._refused = False
        self._lock = ForkSafeLock()
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Forget all spans, in a forked child: those of its parent end there."""
        self._nodes: dict[_Key, _Node] = {}
        self._runs: dict[tuple[int, str], _Node] = {}
        self._over: OrderedDict[_Key, _Node] = OrderedDict()
        self._stitcher = Stitcher()

    def on_start(self, span: StartedSpan) -> None:
        """Tell the backend of a run that starts."""
        if is_in_a_sink():
            return
        with self._lock:
            node = self._opened(span)
            if node.run is None or _is_agent(span.attributes):
                self._begin(node, span.record)

    def on_end(self, span: PipelineSpan) -> None:
        """Tell the backend of a step or run that ended, but for its own."""
        if is_in_a_sink():
            return
        with self._lock:
            self._refused = False
            self._ended(span)
            self.kept += not self._refused

    def on_discard(self, span: PipelineSpan) -> None:
        """Hold a span open no longer that the backend is not told of."""
        with self._lock:
            node = self._nodes.get(_key(span.context))
            if node is not None and node.is_open:
                self._closed(node)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Flush the backend, where it can be flushed."""
        flush = getattr(self.backend, "flush", None)
        return flush is None or guarded(self.diagnostics, "flush", flush, timeout_s) is not False

    def close(self) -> None:
        """Close the backend, where it can be closed."""
        close = getattr(self.backend, "close", None)
        if close is not None:
            guarded(self.diagnostics, "close", close)

    def stats(self) -> dict[str, int]:
        """Return how many spans the backend took, what failed, and what it says itself, where it does."""
        counts = Counter({"kept": self.kept} if self.kept else {})
        counts.update(self.diagnostics.counts())
        stats = getattr(self.backend, "stats", None)
        if stats is not None:
            counts.update(stats())
        return dict(counts)

    # ── what the backend is told ─────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, node: _Node, record: SpanRecord) -> None:
        runs = _runs_in([record])
        own = _run_of(record, runs)
        if own is not None:
            own = _placed(own, node)
            self._begins(node, own)
            self._stitcher.note([record], [own])
            self._call("start_run", own)
        elif runs and node.run is None:
            self._begins(node, runs[0])

    def _tell(self, node: _Node, record: SpanRecord) -> None:
        """Tell of the step or run that ended with a span, and again of runs that had ended before it did."""
        facts = dialects.read(record)
        if facts is None or facts.kind is None:
            return
        own = _run_of(record, _runs_in(node.records())) if facts.kind is StepKind.AGENT else None
        if own is not None:
            own = _placed(own, node)
            self._begins(node, own)
            self._stitcher.note([record], [own])
            self._call("end_run", own)
        else:
            lone = self._lone_runs(node)
            joined = next((run for run in lone if len(run.trace_ids) > 1), None)
            if joined is None:
                self._log_step(node, record, is_said=facts.run_id is not None)
            else:
                self._log_joined(node, record, joined)
            for run in lone:
                self._call("end_run", run)
        for above in node.ancestors():
            if above.run is above and above.record is not None:
                again = _run_of(above.record, _runs_in(above.records()))
                if again is not None:
                    self._call("end_run", _placed(again, above))

    def _log_step(self, node: _Node, record: SpanRecord, *, is_said: bool) -> None:
        """The step, under the id of the run that it says, or else stands in."""
        for run in assemble([record]):
            if node.run is None:
                self._begins(node, run)
            around = node.run.run_id if node.run is not None and not is_said else None
            for step in run.steps:
                self._call("log_step", around or run.run_id, step)

    def _log_joined(self, node: _Node, record: SpanRecord, run: AgentRun) -> None:
        """The step as it stands in the run that it goes on with, which began in another trace."""
        if node.run is not None:
            node.run.run_id = run.run_id
        for step in run.steps:
            if step.span_id == record.span_id:
                self._call("log_step", run.run_id, step)

    def _lone_runs(self, node: _Node) -> list[AgentRun]:
        """A step outside of any run as a run, once nothing is open above that may be its agent.

        That is a run of that step, or the run of the call in another trace that it goes on with, as readers say.
        """
        begin = node.run
        if begin is None or begin.record is None:
            return []
        if any(above.record is None or above.run_id is not None for above in begin.ancestors()):
            return []
        runs = [found.run for found in self._stitcher.add(begin.records())]
        return [run for run in runs if run.span_id is None and run.ended_at_ns is not None]

    def _call(self, name: str, *arguments: object) -> None:
        call = getattr(self.backend, name)
        if not guarded(self.diagnostics, f"{type(self.backend).__name__}.{name}", _called, call, *arguments):
            self._refused = True

    # ── what is held of spans ────────────────────────────────────────────────────────────────────────────────────────

    def _opened(self, span: PipelineSpan) -> _Node:
        node = self._nodes[_key(span.context)] = _Node(_key(span.context), self._above(span))
        self._count_open(node)
        return node

    def _count_open(self, node: _Node) -> None:
        node.is_open = True
        node.tree.open += 1
        self._over.pop(node.tree.key, None)

    def _above(self, span: PipelineSpan) -> _Node | None:
        """The node above a span.

        Where it is not here, because the parent's start was not seen or it is another provider's, it is that of the
        run which the span says it belongs to, else one to be filled when the parent ends.
        """
        if span.parent is None:
            return None
        key = _key(span.parent)
        above = self._nodes.get(key) or self._runs.get((key.trace_id, _said_run(span.attributes)))
        if above is None and not span.parent.is_remote:
            above = self._nodes[key] = self._over[key] = _Node(key, None)
        return above

    def _ended(self, span: PipelineSpan) -> None:
        record = span.record
        node = self._nodes.get(_key(span.context))
        if node is None and dialects.read(record) is None:
            self._refused = True  # it tells nothing of a run
            return
        if node is None:
            node = self._opened(span)
        elif not node.is_open:
            self._fill(node, span)
        node.record = record = self._whole(record)
        try:
            self._tell(node, record)
        finally:  # Ctrl-C goes through
            self._closed(node)

    def _whole(self, record: SpanRecord) -> SpanRecord:
        """Return a model call with all its messages, where it says only what was added since an earlier call."""
        earlier_id = record.attributes.get(semconv.HISTORY_SPAN_ID)
        if earlier_id is None:
            return record
        earlier = self._nodes.get(_Key(int(record.trace_id, 16), int(earlier_id, 16)))
        return whole_record(record, None if earlier is None else earlier.record)

    def _closed(self, node: _Node) -> None:
        node.is_open = False
        node.tree.open -= 1
        if node.tree.open == 0:
            self._settle(node.tree)

    def _fill(self, node: _Node, span: PipelineSpan) -> None:
        """A span whose start was not seen has ended after one below it, or a span has ended again."""
        self._count_open(node)
        above = self._above(span) if node.above is None else None
        if above is not None and node not in (above, *above.ancestors()):
            node.above = above
            above.below[node.key] = node

    def _begins(self, node: _Node, run: AgentRun) -> None:
        node.run, node.run_id = node, run.run_id
        if run.span_id is not None:  # else it is the run of a step, which may be in an agent's that was not seen
            self._runs[node.key.trace_id, run.run_id] = node

    def _settle(self, tree: _Node) -> None:
        """Nothing is open in a tree any more: it is remembered for a while, if there is something in it."""
        if tree.run is None and not tree.below:
            self._forget(tree)
            return
        self._over[tree.key] = tree
        while len(self._over) > _REMEMBERED_TREES:  # parents that were not seen are among them
            self._forget(self._over.popitem(last=False)[1])

    def _forget(self, tree: _Node) -> None:
        if tree.above is not None:
            tree.above.below.pop(tree.key, None)
        nodes = [tree]
        for node in nodes:
            self._nodes.pop(node.key, None)
            if node.run_id is not None:
                self._runs.pop((node.key.trace_id, node.run_id), None)
            nodes.extend(child for child in list(node.below.values()) if child.tree is tree)


def _called(call: Callable[..., None], *arguments: object) -> bool:
    suppress_instrumentation(call, *arguments)
    return True


def _key(context: SpanContext) -> _Key:
    return _Key(context.trace_id, context.span_id)


def _is_agent(attributes: Mapping[str, object]) -> bool:
    return attributes.get(semconv.OPERATION_NAME) == semconv.OPERATION_INVOKE_AGENT


def _said_run(attributes: Mapping[str, object]) -> str:
    """The id of the run in which a step, or a sub-agent, says that it is."""
    return str(attributes.get(semconv.RUN_PARENT_ID if _is_agent(attributes) else semconv.RUN_ID, ""))


def _runs_in(records: Iterable[SpanRecord]) -> list[AgentRun]:
    """All runs in some spans of one trace, the outer before the inner ones."""
    return [run for outer in assemble(records) for run in outer.walk()]


def _placed(run: AgentRun, node: _Node) -> AgentRun:
    """The run with the id of the one above it, which spans of other tracers do not say."""
    above = node.above.run if node.above is not None else None
    if run.parent_run_id is not None or above is None or above.run_id is None:
        return run
    return msgspec.structs.replace(run, parent_run_id=above.run_id)


def _run_of(record: SpanRecord, runs: Iterable[AgentRun]) -> AgentRun | None:
    """The run whose own span that is."""
    return next((run for run in runs if run.span_id == record.span_id), None)
