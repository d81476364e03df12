"""Runs of which each call is a trace of its own, joined.

A client that is traced without anything around it (the OpenAI and Anthropic SDKs in a plain loop, under OpenInference,
OpenLLMetry or the contributed instrumentations) leaves every model call as a trace of its own, tools among its
messages.
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import dialects
from otel_agent_trace.model import AgentRun, Message, StepKind
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.span import SpanRecord

MOST_HELD = 2_000
"""Traces of single calls that are held for others to go on with; of more, the older half is given away."""
MOST_HELD_LIVE = 128
"""Calls that a `Stitcher` holds: they stand in the memory of the traced program, each with all its messages."""
_LOST = "f" * 16
"""Whose child each call of a joined run becomes."""
_CALLS = (StepKind.MODEL, StepKind.TOOL)
_TOOL_PARTS = ("tool_call", "tool_call_response")
_LONGEST_PAUSE_NS = 600 * 10**9
_MOST_OPEN_CHAINS = 64
"""Chains of one conversation that a call may go on with: those that were added to last."""


class Assembled(NamedTuple):
    """An outermost run, and all spans of the traces it stands in, as they were read, with their own trace ids.

    Several runs of one trace come one after the other, each with the same tuple of spans.
    """

    run: AgentRun
    spans: tuple[SpanRecord, ...]


def assembled(traces: Iterable[list[SpanRecord]]) -> Iterator[Assembled]:
    """Yield the outermost runs in traces, each once, with their spans.

    Traces of single calls are held until all others have passed, `MOST_HELD` at most: those that go on with each other
    are one run, under the id of the first, with all their `trace_ids`.
    """
    held: list[_Part] = []
    agents = _AgentTimes()
    for spans in traces:
        runs = assemble(spans)
        part = _part_of(spans, runs)
        if part is None:
            agents.note(spans, runs)
            whole = tuple(spans)
            for run in runs:
                yield Assembled(run, whole)
            continue
        held.append(part)
        if len(held) >= MOST_HELD:
            held.sort(key=_start)
            yield from _stitched(held[: MOST_HELD // 2], agents)
            del held[: MOST_HELD // 2]
    yield from _stitched(held, agents)


def runs_of(traces: Iterable[list[SpanRecord]]) -> Iterator[AgentRun]:
    """Yield the outermost runs in traces, as `assembled` does, alone."""
    return (found.run for found in assembled(traces))


def as_one_trace(spans: Sequence[SpanRecord]) -> list[SpanRecord]:
    """Return the spans of several traces as spans of the first one, all below one that was lost."""
    known = {span.span_id for span in spans}
    return [
        msgspec.structs.replace(
            span,
            trace_id=spans[0].trace_id,
            parent_span_id=span.parent_span_id if span.parent_span_id in known else _LOST,
        )
        for span in spans
    ]


class Stitcher:
    """Joins calls that are traces of their own while they happen, for who cannot wait for the traces to come.

    A call that ends belongs, by the same rules as in `assembled`, to the run of the call that it goes on with: that run
    is given again, longer, under the id that it has had from its first call on. The last `MOST_HELD_LIVE` calls are
    held, those of one run together; a call that goes on with one that is no longer held begins a run. What an agent of
    another tracer does while it is at work is told by the agent itself: its calls stay as they are.
    """

    def __init__(self, most_held: int = MOST_HELD_LIVE) -> None:
        self._most_held = most_held
        self._chains = _Chains()
        self._chain_of: OrderedDict[str, list[_Part]] = OrderedDict()
        self._agents: OrderedDict[str, AgentRun] = OrderedDict()

    def note(self, spans: Sequence[SpanRecord], runs: Iterable[AgentRun]) -> None:
        """Note that agents started, or ended; those of our own tracer do not matter."""
        if not spans or dialects.is_ours(spans[0]):
            return
        for run in runs:
            self._agents.pop(run.run_id, None)
            self._agents[run.run_id] = msgspec.structs.replace(run, steps=())
        while len(self._agents) > self._most_held:
            self._agents.popitem(last=False)

    def add(self, spans: Sequence[SpanRecord]) -> list[Assembled]:
        """Return the runs in what is there of a trace, as they stand now: one that was given before may be longer.

        A trace may be given again, with more spans.
        """
        runs = assemble(spans)
        part = _part_of(spans, runs)
        if part is None:
            self.note(spans, runs)
            return [Assembled(run, tuple(spans)) for run in runs]
        chain = self._extended(part)
        if len(chain) == 1 or self._has_agent(chain):
            return [Assembled(part.run, part.spans)]
        return list(_joined(chain))

    def _extended(self, part: _Part) -> list[_Part]:
        """The chain that a part belongs to; one that was there before takes its own place."""
        chain = self._chain_of.get(part.run.run_id)
        if chain is None:
            chain = self._chains.add(part)
        else:
            chain[[known.run.run_id for known in chain].index(part.run.run_id)] = part
        for known in chain:
            self._chain_of[known.run.run_id] = chain
            self._chain_of.move_to_end(known.run.run_id)
        while len(self._chain_of) > self._most_held:
            self._forget(next(iter(self._chain_of.values())))
        return chain

    def _forget(self, chain: list[_Part]) -> None:
        self._chains.remove(chain)
        for part in chain:
            self._chain_of.pop(part.run.run_id, None)

    def _has_agent(self, chain: list[_Part]) -> bool:
        """Whether an agent of the same service has been at work all the time, or is."""
        first, last = chain[0].run, chain[-1]
        return any(
            agent.service_name == first.service_name
            and agent.started_at_ns <= first.started_at_ns
            and (agent.ended_at_ns is None or agent.ended_at_ns >= last.ended_at_ns)
            for agent in self._agents.values()
        )


class _AgentTimes:
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

    def around(self, chains: Iterable[list[_Part]]) -> Iterator[bool]:
        """Yield for each chain whether an agent of its service was at work all the time."""
        indexes = {service: _index(starts, ends) for service, (starts, ends) in self._by_service.items()}
        for chain in chains:
            starts, latest_ends = indexes.get(chain[0].run.service_name, ([], []))
            before = bisect.bisect_right(starts, chain[0].run.started_at_ns)
            yield before > 0 and latest_ends[before - 1] >= chain[-1].ended_at_ns


def _in_64_bits(time_ns: int) -> int:
    return min(max(time_ns, 0), 2**64 - 1)


def _index(starts: Iterable[int], ends: Iterable[int]) -> tuple[list[int], list[int]]:
    """Return the starts in order, and the latest end of those that started until then."""
    both = sorted(zip(starts, ends, strict=True))
    return [start for start, _ in both], list(itertools.accumulate((end for _, end in both), max))


def _stitched(held: list[_Part], agents: _AgentTimes) -> Iterator[Assembled]:
    """The runs of parts; calls of an agent that was at work are told by itself, and stay as they are."""
    chains = _chains(held)
    for chain, has_agent in zip(chains, agents.around(chains), strict=True):
        if len(chain) == 1 or has_agent:
            yield from (Assembled(part.run, part.spans) for part in chain)
        else:
            yield from _joined(chain)


def _joined(chain: list[_Part]) -> Iterator[Assembled]:
    """The run of several parts, under the id of the first."""
    spans = tuple([span for part in chain for span in part.spans])
    trace_ids = tuple(dict.fromkeys([span.trace_id for span in spans]))
    runs = assemble(as_one_trace(spans))
    for run in runs:
        run_id = chain[0].run.run_id if len(runs) == 1 else run.run_id
        yield Assembled(msgspec.structs.replace(run, run_id=run_id, trace_ids=trace_ids), spans)


def _part_of(spans: Sequence[SpanRecord], runs: list[AgentRun]) -> _Part | None:
    """A trace that has nothing but calls which another tracer saw, and tools among what models said, if it is one."""
    if len(runs) != 1 or runs[0].span_id is not None or runs[0].agent_name is not None:
        return None
    if any(map(dialects.is_ours, spans)) or any(step.kind not in _CALLS for step in runs[0].steps):
        return None
    part = _Part(tuple(spans), runs[0])
    return part if part.has_tools else None


class _Part:
    """The calls of one trace, and what tells where they belong."""

    def __init__(self, spans: tuple[SpanRecord, ...], run: AgentRun) -> None:
        self.spans, self.run = spans, run
        models = [step for step in run.steps if step.kind is StepKind.MODEL]
        self.messages: tuple[Message, ...] = models[0].messages if models else ()
        parts = [part for step in models for message in step.messages for part in message.parts]
        self.answered = {_id(part) for part in parts if part.get("type") == "tool_call_response"} - {None}
        self.asked = {_id(part) for part in parts if part.get("type") == "tool_call"} - {None} - self.answered
        self.has_tools = bool(self.asked or self.answered) or any(part.get("type") in _TOOL_PARTS for part in parts)
        self.ended_at_ns = max((step.ended_at_ns or step.started_at_ns for step in run.steps), default=0)

    def goes_on_with(self, earlier: _Part) -> bool:
        """Return whether it was given what the earlier one asked for, or has its messages and more."""
        one, other = earlier.run, self.run
        pause_ns = other.started_at_ns - earlier.ended_at_ns
        if one.service_name != other.service_name or not 0 <= pause_ns <= _LONGEST_PAUSE_NS:
            return False
        if one.session_id != other.session_id:
            return False
        if earlier.asked and self.answered:
            return not earlier.asked.isdisjoint(self.answered)
        sent = _sent(earlier.messages)
        more = self.messages[len(sent) :]
        return bool(sent) and self.messages[: len(sent)] == sent and any(message.role == "tool" for message in more)


def _id(part: dict[Any, Any]) -> str | None:
    return None if part.get("id") is None else str(part["id"])


def _sent(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def _start(part: _Part) -> tuple[int, str]:
    return part.run.started_at_ns, part.run.run_id


class _Chains:
    """Parts of runs, those of one run together, each with the latest that it goes on with."""

    def __init__(self) -> None:
        self._by_conversation: dict[tuple[str | None, str | None], list[list[_Part]]] = {}

    def add(self, part: _Part) -> list[_Part]:
        """Return the chain that a part goes on with, or a new one, it being in it."""
        known = self._by_conversation.setdefault(_conversation(part), [])
        chain = next((chain for chain in reversed(known) if part.goes_on_with(chain[-1])), [])
        if chain:
            known.remove(chain)
        chain.append(part)
        known.append(chain)
        del known[:-_MOST_OPEN_CHAINS]
        return chain

    def remove(self, chain: list[_Part]) -> None:
        """Let nothing go on with a chain any more."""
        key = _conversation(chain[0])
        left = [known for known in self._by_conversation.pop(key, ()) if known is not chain]
        if left:
            self._by_conversation[key] = left


def _conversation(part: _Part) -> tuple[str | None, str | None]:
    return part.run.service_name, part.run.session_id


def _chains(parts: list[_Part]) -> list[list[_Part]]:
    """The parts, those of one run together, in order of their first."""
    chains = _Chains()
    found = [chains.add(part) for part in sorted(parts, key=_start)]
    return list({id(chain): chain for chain in found}.values())
