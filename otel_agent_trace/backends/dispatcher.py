"""Call a `TracerBackend` with the runs and steps that its spans make up."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from opentelemetry.trace import SpanContext

from otel_agent_trace import dialects, semconv
from otel_agent_trace.backends.contract import TracerBackend
from otel_agent_trace.closer import is_shared
from otel_agent_trace.dialects.evaluations import score_of
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.mapping.history import whole_record
from otel_agent_trace.model import AgentRun, Score, StepKind
from otel_agent_trace.pipeline import PipelineSpan, SpanSink, StartedSpan
from otel_agent_trace.pipeline.suppression import is_in_a_sink, suppress_instrumentation
from otel_agent_trace.runs import assemble
from otel_agent_trace.runs.stitch import Stitcher
from otel_agent_trace.span import LogRecord, SpanRecord, with_logs

_KEPT_TREES = 128
"""Number of trees without open spans that are kept, for steps that end after their run."""


class _Key(NamedTuple):
    trace_id: int
    span_id: int


class _Node:
    """Represent a span and the spans below it.

    `run` is the nearest node, from this one up, with which a run begins (an agent, or a step outside of any run);
    `run_id` is the id of the run that begins with this node. The nodes of one `tree` are forgotten together: an outermost
    run with all below it, or a single span outside of runs. `open` of the tree is its number of open spans.
    """

    __slots__ = ("above", "below", "is_open", "key", "logs", "open", "record", "run", "run_id", "tree")

    def __init__(self, key: _Key, above: _Node | None) -> None:
        self.key, self.above = key, above
        self.below: dict[_Key, _Node] = {}
        self.record: SpanRecord | None = None
        self.logs: list[LogRecord] = []
        self.run_id: str | None = None
        self.run: _Node | None = above.run if above is not None else None
        self.tree: _Node = above.tree if above is not None and above.run is not None else self
        self.is_open = False
        self.open = 0
        if above is not None:
            above.below[key] = self

    def ancestors(self) -> Iterator[_Node]:
        """Yield the nodes above, from the nearest one up."""
        node = self.above
        while node is not None:
            yield node
            node = node.above

    def records(self) -> list[SpanRecord]:
        """Return the ended spans of this node and all below it."""
        nodes = [self]
        for node in nodes:
            nodes.extend(node.below.values())
        return [span for node in nodes for span in node.own_records()]

    def own_records(self) -> list[SpanRecord]:
        """Return the span of this node with its log records, if it has ended."""
        return [] if self.record is None else with_logs([self.record], self.logs)


class RunDispatcher(SpanSink):
    """Call a `TracerBackend` with runs and steps; hold the spans of open runs, and of the latest that ended.

    The cost of the end of a span depends on the size of the run that ends with it, not on that of the trace.
    """

    is_suppressed = False  # instrumentation is suppressed for the backend's calls only

    def __init__(self, backend: TracerBackend) -> None:
        self.backend = backend
        self.name = type(backend).__name__
        self.diagnostics = Diagnostics()
        self.kept = 0
        """Number of spans for which no call of the backend failed."""
        self._refused = False
        self._lock = ForkSafeLock()
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Forget all spans, in a forked child: they end in the parent process."""
        self._nodes: dict[_Key, _Node] = {}
        self._runs: dict[tuple[int, str], _Node] = {}
        self._closed_trees: OrderedDict[_Key, _Node] = OrderedDict()
        self._stitcher = Stitcher()

    def on_start(self, span: StartedSpan) -> None:
        """Call `start_run`, if a run starts with this span."""
        if is_in_a_sink():
            return
        with self._lock:
            node = self._open(span)
            if node.run is None or _is_agent(span.attributes):
                self._start_run(node, span.record)

    def on_end(self, span: PipelineSpan) -> None:
        """Call `log_step` or `end_run` for a span, unless the backend made the span itself."""
        if is_in_a_sink():
            return
        with self._lock:
            self._refused = False
            self._end(span)
            self.kept += not self._refused

    def on_discard(self, span: PipelineSpan) -> None:
        """Treat a span as ended that a policy dropped."""
        with self._lock:
            node = self._nodes.get(_key(span.context))
            if node is not None and node.is_open:
                self._close(node)

    def on_log(self, log: LogRecord) -> None:
        """Keep a log record for the step or run of its span; one of a span that is not held is ignored, unless it is a score."""
        if is_in_a_sink():
            return
        with self._lock:
            node = self._nodes.get(_Key(int(log.trace_id, 16), int(log.span_id, 16))) if log.is_of_span else None
            if node is not None:
                node.logs.append(log)
            score = score_of(log.event) if log.name else None
            if score is not None:
                self._score(node, log, score)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Flush the backend, if it has `flush`, within `timeout_s` seconds; return whether it succeeded."""
        flush = getattr(self.backend, "flush", None)
        return flush is None or guarded(self.diagnostics, "flush", flush, timeout_s) is not False

    def close(self) -> None:
        """Close the backend, if it has `close`."""
        close = getattr(self.backend, "close", None)
        if close is not None:
            guarded(self.diagnostics, "close", close)

    def release(self) -> None:
        """Close the backend, unless the program still refers to it."""
        if not is_shared(self.backend, 1):
            self.close()

    def stats(self) -> dict[str, int]:
        """Return the number of spans kept, of failures by reason, and the backend's own `stats`, if it has any."""
        counts = Counter({"kept": self.kept} if self.kept else {})
        counts.update(self.diagnostics.counts())
        stats = getattr(self.backend, "stats", None)
        if stats is not None:
            counts.update(stats())
        return dict(counts)

    # ── calls of the backend ─────────────────────────────────────────────────────────────────────────────────────────

    def _start_run(self, node: _Node, record: SpanRecord) -> None:
        runs = _runs_in([record])
        own = _run_of(record, runs)
        if own is not None:
            own = _with_parent_run_id(own, node)
            self._begin_run(node, own)
            self._stitcher.note([record], [own])
            self._call("start_run", own)
        elif runs and node.run is None:
            self._begin_run(node, runs[0])

    def _report(self, node: _Node, record: SpanRecord) -> None:
        """Report the step or run that ended with a span, and again the runs around it that had ended before."""
        facts = dialects.read(record)
        if facts is None or facts.kind is None:
            return
        own = _run_of(record, _runs_in(node.records())) if facts.kind is StepKind.AGENT else None
        if own is not None:
            own = _with_parent_run_id(own, node)
            self._begin_run(node, own)
            self._stitcher.note([record], [own])
            self._call("end_run", own)
        else:
            lone = self._lone_runs(node)
            joined = next((run for run in lone if len(run.trace_ids) > 1), None)
            if joined is None:
                self._log_step(node, record, has_run_id=facts.run_id is not None)
            else:
                self._log_joined(node, record, joined)
            for run in lone:
                self._call("end_run", run)
        self._report_again(node.ancestors())

    def _report_again(self, nodes: Iterable[_Node]) -> None:
        """Report the runs again that had ended before something of them."""
        for node in nodes:
            if node.run is node and node.record is not None:
                again = _run_of(node.record, _runs_in(node.records()))
                if again is not None:
                    self._call("end_run", _with_parent_run_id(again, node))

    def _score(self, node: _Node | None, log: LogRecord, score: Score) -> None:
        """Report a score: to a backend without `score` as part of the run, which is reported again if it has ended."""
        run_id = log.attributes.get(semconv.RUN_ID)
        if run_id is None and node is not None and node.run is not None:
            run_id = node.run.run_id
        if run_id is not None and hasattr(self.backend, "score"):
            self._call("score", str(run_id), score)
        elif node is None:
            self.diagnostics.count("dropped: score of a run that is not held")
        elif node.record is not None:
            self._report_again([node, *node.ancestors()])

    def _log_step(self, node: _Node, record: SpanRecord, *, has_run_id: bool) -> None:
        """Report a step with the run id of its span, or else of the run around it."""
        for run in assemble(node.own_records()):
            if node.run is None:
                self._begin_run(node, run)
            around = node.run.run_id if node.run is not None and not has_run_id else None
            for step in run.steps:
                self._call("log_step", around or run.run_id, step)

    def _log_joined(self, node: _Node, record: SpanRecord, run: AgentRun) -> None:
        """Report a step as part of the run that it continues, which began in another trace."""
        if node.run is not None:
            node.run.run_id = run.run_id
        for step in run.steps:
            if step.span_id == record.span_id:
                self._call("log_step", run.run_id, step)

    def _lone_runs(self, node: _Node) -> list[AgentRun]:
        """Return the run of a step outside of any run, once no span above it is open that may be its agent.

        It is a run of this step alone, or the run of the call in another trace that it continues, as in reading.
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
        if not guarded(self.diagnostics, f"{type(self.backend).__name__}.{name}", _call_suppressed, call, *arguments):
            self._refused = True

    # ── spans that are held ──────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, span: PipelineSpan) -> _Node:
        node = self._nodes[_key(span.context)] = _Node(_key(span.context), self._above(span))
        self._count_open(node)
        return node

    def _count_open(self, node: _Node) -> None:
        node.is_open = True
        node.tree.open += 1
        self._closed_trees.pop(node.tree.key, None)

    def _above(self, span: PipelineSpan) -> _Node | None:
        """Return the node above a span.

        If it is unknown, since the parent's start was not observed or is a span of another provider, return the node of
        the run that the span names, or else one to be filled when the parent ends.
        """
        if span.parent is None:
            return None
        key = _key(span.parent)
        above = self._nodes.get(key) or self._runs.get((key.trace_id, _recorded_run_id(span.attributes)))
        if above is None and not span.parent.is_remote:
            above = self._nodes[key] = self._closed_trees[key] = _Node(key, None)
        return above

    def _end(self, span: PipelineSpan) -> None:
        record = span.record
        node = self._nodes.get(_key(span.context))
        if node is None and dialects.read(record) is None:
            self._refused = True  # not a span of an agent
            return
        if node is None:
            node = self._open(span)
        elif not node.is_open:
            self._fill(node, span)
        node.record = record = self._whole(record)
        try:
            self._report(node, record)
        finally:  # also if Ctrl-C is pressed
            self._close(node)

    def _whole(self, record: SpanRecord) -> SpanRecord:
        """Return a model call with all its messages, if it has only those added since an earlier call."""
        earlier_id = record.attributes.get(semconv.HISTORY_SPAN_ID)
        if not earlier_id:
            return record
        try:
            earlier = self._nodes.get(_Key(int(record.trace_id, 16), int(earlier_id, 16)))
        except (TypeError, ValueError):  # of a span that is not from our tracer
            earlier = None
        return whole_record(record, None if earlier is None else earlier.record)

    def _close(self, node: _Node) -> None:
        node.is_open = False
        node.tree.open -= 1
        if node.tree.open == 0:
            self._retain(node.tree)

    def _fill(self, node: _Node, span: PipelineSpan) -> None:
        """Reopen a node whose span ends after a span below it and without a start, or ends a second time."""
        self._count_open(node)
        above = self._above(span) if node.above is None else None
        if above is not None and node not in (above, *above.ancestors()):
            node.above = above
            above.below[node.key] = node

    def _begin_run(self, node: _Node, run: AgentRun) -> None:
        node.run, node.run_id = node, run.run_id
        if run.span_id is not None:  # otherwise a run of one step, whose agent's start may not have been observed
            self._runs[node.key.trace_id, run.run_id] = node

    def _retain(self, tree: _Node) -> None:
        """Keep a tree without open spans among the latest ones; forget it at once if it has no run."""
        if tree.run is None and not tree.below:
            self._forget(tree)
            return
        self._closed_trees[tree.key] = tree
        while len(self._closed_trees) > _KEPT_TREES:  # nodes of parents whose start was not observed are among them
            self._forget(self._closed_trees.popitem(last=False)[1])

    def _forget(self, tree: _Node) -> None:
        if tree.above is not None:
            tree.above.below.pop(tree.key, None)
        nodes = [tree]
        for node in nodes:
            self._nodes.pop(node.key, None)
            if node.run_id is not None:
                self._runs.pop((node.key.trace_id, node.run_id), None)
            nodes.extend(child for child in list(node.below.values()) if child.tree is tree)


def _call_suppressed(call: Callable[..., None], *arguments: object) -> bool:
    suppress_instrumentation(call, *arguments)
    return True


def _key(context: SpanContext) -> _Key:
    return _Key(context.trace_id, context.span_id)


def _is_agent(attributes: Mapping[str, object]) -> bool:
    return attributes.get(semconv.OPERATION_NAME) == semconv.OPERATION_INVOKE_AGENT


def _recorded_run_id(attributes: Mapping[str, object]) -> str:
    """Return the id of the run around a step or a sub-agent, as its attributes have it; empty if there is none."""
    return str(attributes.get(semconv.RUN_PARENT_ID if _is_agent(attributes) else semconv.RUN_ID, ""))


def _runs_in(records: Iterable[SpanRecord]) -> list[AgentRun]:
    """Return all runs in spans of one trace, outer before inner ones."""
    return [run for outer in assemble(records) for run in outer.walk()]


def _with_parent_run_id(run: AgentRun, node: _Node) -> AgentRun:
    """Return a run with the id of the run above it, which spans of other instrumentations do not have."""
    above = node.above.run if node.above is not None else None
    if run.parent_run_id is not None or above is None or above.run_id is None:
        return run
    return msgspec.structs.replace(run, parent_run_id=above.run_id)


def _run_of(record: SpanRecord, runs: Iterable[AgentRun]) -> AgentRun | None:
    """Return the run of an agent's span."""
    return next((run for run in runs if run.span_id == record.span_id), None)
