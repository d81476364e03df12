"""Runs of which each call is a trace of its own, as clients leave them that are traced without anything around them."""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import dialects
from otel_agent_trace.model import AgentRun, Message, StepKind
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.span import SpanRecord

MOST_HELD = 2_000
"""Traces of single calls that are held for others to go on with; of more, the older half is told."""
_LOST = "f" * 16
_CALLS = (StepKind.MODEL, StepKind.TOOL)
_TOOL_PARTS = ("tool_call", "tool_call_response")
_LONGEST_PAUSE_NS = 600 * 10**9


class Assembled(NamedTuple):
    """A run, and the original spans of the traces that it was read from."""

    run: AgentRun
    spans: tuple[SpanRecord, ...]


def runs_of(traces: Iterable[list[SpanRecord]]) -> Iterator[AgentRun]:
    """The runs alone."""
    return (found.run for found in assembled(traces))


def assembled(traces: Iterable[list[SpanRecord]]) -> Iterator[Assembled]:
    """The outermost runs in traces; calls that go on with what others began are one run, told after all others."""
    held: list[_Fragment] = []
    at_work = _AtWork()
    for spans in traces:
        runs = assemble(spans)
        fragment = _fragment_of(spans, runs)
        if fragment is None:
            at_work.note(spans, runs)
            whole = tuple(spans)
            yield from (Assembled(run, whole) for run in runs)
            continue
        held.append(fragment)
        if len(held) >= MOST_HELD:
            held.sort(key=_start)
            yield from _told(held[: MOST_HELD // 2], at_work)
            del held[: MOST_HELD // 2]
    yield from _told(held, at_work)


class _AtWork:
    """When agents of other tracers were at work, by service, in 16 bytes each."""

    def __init__(self) -> None:
        self._by_service: dict[str | None, tuple[array[int], array[int]]] = {}

    def note(self, spans: list[SpanRecord], runs: list[AgentRun]) -> None:
        """Note the runs of a trace."""
        if spans and not dialects.is_ours(spans[0]):
            for run in runs:
                starts, ends = self._by_service.setdefault(run.service_name, (array("Q"), array("Q")))
                starts.append(_in_64_bits(run.started_at_ns))
                ends.append(_in_64_bits(run.ended_at_ns or run.started_at_ns))

    def around(self, chains: Iterable[list[_Fragment]]) -> Iterator[bool]:
        """For each chain whether an agent of its service was at work all the time."""
        indexes = {service: _index(starts, ends) for service, (starts, ends) in self._by_service.items()}
        for chain in chains:
            starts, latest_ends = indexes.get(chain[0].run.service_name, ([], []))
            before = bisect.bisect_right(starts, chain[0].run.started_at_ns)
            yield before > 0 and latest_ends[before - 1] >= chain[-1].ended_at_ns


def _in_64_bits(time_ns: int) -> int:
    return min(max(time_ns, 0), 2**64 - 1)


def _index(starts: Iterable[int], ends: Iterable[int]) -> tuple[list[int], list[int]]:
    """The starts in order, and the latest end of those that started until then."""
    both = sorted(zip(starts, ends, strict=True))
    return [start for start, _ in both], list(itertools.accumulate((end for _, end in both), max))


def _fragment_of(spans: list[SpanRecord], runs: list[AgentRun]) -> _Fragment | None:
    """A trace that has nothing but calls which another tracer saw, and tools among what models said, if it is one."""
    if len(runs) != 1 or runs[0].span_id is not None or runs[0].agent_name is not None:
        return None
    if any(map(dialects.is_ours, spans)) or any(step.kind not in _CALLS for step in runs[0].steps):
        return None
    fragment = _Fragment(spans, runs[0])
    return fragment if fragment.has_tools else None


def _told(held: list[_Fragment], at_work: _AtWork) -> Iterator[Assembled]:
    """The runs of fragments; calls of an agent that was at work are told by itself, and stay as they are."""
    chains = _chains(held)
    for chain, has_agent in zip(chains, at_work.around(chains), strict=True):
        if len(chain) == 1 or has_agent:
            yield from (Assembled(part.run, tuple(part.spans)) for part in chain)
        else:
            spans = tuple(span for part in chain for span in part.spans)
            trace_ids = tuple(dict.fromkeys(span.trace_id for span in spans))
            for run in assemble(as_one_trace(spans)):
                yield Assembled(msgspec.structs.replace(run, trace_ids=trace_ids), spans)


def as_one_trace(spans: tuple[SpanRecord, ...]) -> list[SpanRecord]:
    """The spans of all traces, below one that was lost, in the first."""
    known = {span.span_id for span in spans}
    return [
        msgspec.structs.replace(
            span,
            trace_id=spans[0].trace_id,
            parent_span_id=span.parent_span_id if span.parent_span_id in known else _LOST,
        )
        for span in spans
    ]


class _Fragment:
    """The calls of one trace, and what tells where they belong."""

    def __init__(self, spans: list[SpanRecord], run: AgentRun) -> None:
        self.spans, self.run = spans, run
        models = [step for step in run.steps if step.kind is StepKind.MODEL]
        self.messages: tuple[Message, ...] = models[0].messages if models else ()
        parts = [part for step in models for message in step.messages for part in message.parts]
        self.told = {_id(part) for part in parts if part.get("type") == "tool_call_response"} - {None}
        self.asked = {_id(part) for part in parts if part.get("type") == "tool_call"} - {None} - self.told
        self.has_tools = bool(self.asked or self.told) or any(part.get("type") in _TOOL_PARTS for part in parts)
        self.ended_at_ns = max((step.ended_at_ns or step.started_at_ns for step in run.steps), default=0)

    def goes_on_with(self, earlier: _Fragment) -> bool:
        """Whether it was told of what the earlier one asked for, or has its messages and more."""
        one, other = earlier.run, self.run
        pause_ns = other.started_at_ns - earlier.ended_at_ns
        if one.service_name != other.service_name or not 0 <= pause_ns <= _LONGEST_PAUSE_NS:
            return False
        if one.session_id != other.session_id:
            return False
        if earlier.asked and self.told:
            return not earlier.asked.isdisjoint(self.told)
        sent = _sent(earlier.messages)
        more = self.messages[len(sent) :]
        return bool(sent) and self.messages[: len(sent)] == sent and any(message.role == "tool" for message in more)


def _id(part: dict[Any, Any]) -> str | None:
    return None if part.get("id") is None else str(part["id"])


def _sent(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def _start(fragment: _Fragment) -> tuple[int, str]:
    return fragment.run.started_at_ns, fragment.run.run_id


def _chains(fragments: list[_Fragment]) -> list[list[_Fragment]]:
    """The fragments, those of one run together, each with the latest that it goes on with."""
    chains: list[list[_Fragment]] = []
    by_service: dict[Any, list[list[_Fragment]]] = {}
    for fragment in sorted(fragments, key=_start):
        known = by_service.setdefault((fragment.run.service_name, fragment.run.session_id), [])
        chain = next((chain for chain in reversed(known[-64:]) if fragment.goes_on_with(chain[-1])), None)
        if chain is None:
            chain = []
            chains.append(chain)
        else:
            known.remove(chain)
        chain.append(fragment)
        known.append(chain)
    return chains
