"""Join runs of which each call is a trace of its own.

A client that is traced without anything around it (the OpenAI and Anthropic SDKs in a plain loop, under OpenInference,
OpenLLMetry or the contributed OpenTelemetry instrumentations) leaves every model call as a trace of its own. Its
messages show which call continues which, and which tools were called in between.
"""

from __future__ import annotations

import bisect
import itertools
import json
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import dialects
from otel_agent_trace.model import AgentRun, AgentStep, Message, StepKind
from otel_agent_trace.runs.assemble import Assembled, assemble
from otel_agent_trace.runs.calls import RecordedCall, call_id_of, recorded_calls
from otel_agent_trace.runs.resume import with_resumed
from otel_agent_trace.runs.sessions import Piece, grouped, parents_by_time, piece_of
from otel_agent_trace.span import SpanRecord

MOST_HELD = 2_000
"""Traces of single calls that are held back for others to continue; of more, the older half is released."""
MOST_HELD_LIVE = 128
"""Calls that a `Stitcher` holds: they take memory of the traced program, each with all its messages."""
_LOST = "f" * 16
"""Span id of the missing parent that all calls of a joined run are put below."""
_CALLS = (StepKind.MODEL, StepKind.TOOL)
_TOOL_PARTS = ("tool_call", "tool_call_response")
_LONGEST_PAUSE_NS = 600 * 10**9
_LARGEST_CLOCK_DIFFERENCE_NS = 10 * 10**9
_MOST_OPEN_CHAINS = 64
"""Chains of one conversation that a call may continue: those that were added to last."""


def assembled(traces: Iterable[list[SpanRecord]]) -> Iterator[Assembled]:
    """Yield the outermost runs in traces, each once, with their spans.

    Traces of single calls are held back until all others have passed, `MOST_HELD` at most. Those that continue each
    other are one run, under the id of the first, with all their `trace_ids`. Runs that resume an interrupted one name
    it (`with_resumed`).
    """
    return with_resumed(_joined_calls(traces))


def _joined_calls(traces: Iterable[list[SpanRecord]]) -> Iterator[Assembled]:
    held: list[Piece] = []
    agents = _AgentTimes()
    for spans in traces:
        runs = assemble(spans)
        piece = _piece_to_hold(spans, runs)
        if piece is None:
            agents.note(spans, runs)
            whole = tuple(spans)
            for run in runs:
                yield Assembled(run, whole)
            continue
        held.append(piece)
        if len(held) >= MOST_HELD:
            held.sort(key=lambda piece: piece.order)
            yield from _joined_pieces(held[: MOST_HELD // 2], agents)
            del held[: MOST_HELD // 2]
    yield from _joined_pieces(held, agents)


def may_be_joined(spans: Sequence[SpanRecord], runs: list[AgentRun]) -> bool:
    """Return whether a trace, of which the runs are given, may be one run with others."""
    return _piece_to_hold(spans, runs) is not None


def runs_of(traces: Iterable[list[SpanRecord]]) -> Iterator[AgentRun]:
    """Yield the outermost runs in traces, as `assembled` does, without their spans."""
    return (found.run for found in assembled(traces))


def as_one_trace(spans: Sequence[SpanRecord]) -> list[SpanRecord]:
    """Return the spans of several traces as spans of the first one: below what was around them, or a missing parent."""
    known = {span.span_id for span in spans}
    parents = parents_by_time(spans)
    return [
        msgspec.structs.replace(
            span,
            trace_id=spans[0].trace_id,
            parent_span_id=span.parent_span_id if span.parent_span_id in known else parents.get(span.span_id, _LOST),
        )
        for span in spans
    ]


class Stitcher:
    """Join calls that are traces of their own while they happen, for backends that cannot wait for further traces.

    By the same rules as in `assembled`, a call that ends belongs to the run of the call that it continues: that run is
    returned again, longer, under the id that it has had since its first call. The last `MOST_HELD_LIVE` calls are held,
    those of one run together; a call that continues one no longer held begins a run. Calls that were made while an
    agent of another tracer ran are left alone: that agent's own spans report them.
    """

    def __init__(self, most_held: int = MOST_HELD_LIVE) -> None:
        self._most_held = most_held
        self._chains = _Chains()
        self._chain_of: OrderedDict[str, list[_Part]] = OrderedDict()
        self._agents: OrderedDict[str, AgentRun] = OrderedDict()

    def note(self, spans: Sequence[SpanRecord], runs: Iterable[AgentRun]) -> None:
        """Record that agents of other tracers started or ended; agents of our own tracer contain their calls anyway."""
        if not spans or dialects.is_ours(spans[0]):
            return
        for run in runs:
            self._agents.pop(run.run_id, None)
            self._agents[run.run_id] = msgspec.structs.replace(run, steps=())
        while len(self._agents) > self._most_held:
            self._agents.popitem(last=False)

    def add(self, spans: Sequence[SpanRecord]) -> list[Assembled]:
        """Return the runs in the spans of a trace seen so far, as they stand now: a run returned before may be longer.

        The same trace may be added again, with more spans.
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
        """Return the chain that a part belongs to; a part that was added before is replaced."""
        chain = self._chain_of.get(part.run.run_id)
        if chain is None:
            chain = self._chains.add(part)
        else:
            chain[[known.run.run_id for known in chain].index(part.run.run_id)] = part
        for known in chain:
            self._chain_of[known.run.run_id] = chain
            self._chain_of.move_to_end(known.run.run_id)
        while len(self._chain_of) > self._most_held:
            self._forget_chain(next(iter(self._chain_of.values())))
        return chain

    def _forget_chain(self, chain: list[_Part]) -> None:
        self._chains.remove(chain)
        for part in chain:
            self._chain_of.pop(part.run.run_id, None)

    def _has_agent(self, chain: list[_Part]) -> bool:
        """Return whether an agent of the same service ran all the time, or still runs."""
        first, last = chain[0].run, chain[-1]
        return any(
            agent.service_name == first.service_name
            and agent.started_at_ns <= first.started_at_ns
            and (agent.ended_at_ns is None or agent.ended_at_ns >= last.ended_at_ns)
            for agent in self._agents.values()
        )


class _Call(NamedTuple):
    """Represent a tool call of an agent: the service, and when the call began and ended."""

    service: str | None
    start_ns: int
    end_ns: int


class _AgentTimes:
    """Hold when agents of other tracers ran and called tools, by service, and their sessions, in 24 bytes each."""

    def __init__(self) -> None:
        self._by_service: dict[str | None, tuple[array[int], array[int]]] = {}
        self._calls_by_service: dict[str | None, tuple[array[int], array[int], array[int]]] = {}
        self._sessions = array("q")

    def note(self, spans: list[SpanRecord], runs: list[AgentRun]) -> None:
        """Record the times of the runs of a trace."""
        if spans and not dialects.is_ours(spans[0]):
            for run in runs:
                starts, ends = self._by_service.setdefault(run.service_name, (array("Q"), array("Q")))
                starts.append(_in_64_bits(run.started_at_ns))
                ends.append(_in_64_bits(run.ended_at_ns or run.started_at_ns))
                if run.session_id is not None:
                    self._sessions.append(hash((run.service_name, run.session_id)))
                self._note_calls(run)

    def sessions(self) -> frozenset[int]:
        """Return the hashes of the sessions in which agents ran."""
        return frozenset(self._sessions)

    def _note_calls(self, run: AgentRun) -> None:
        keys, starts, ends = self._calls_by_service.setdefault(run.service_name, (array("q"), array("Q"), array("Q")))
        for one in run.walk():
            for key, step in _keys_of_calls(one):
                keys.append(hash(key))
                starts.append(_in_64_bits(step.started_at_ns))
                ends.append(_in_64_bits(step.ended_at_ns or step.started_at_ns))

    def served(self, parts: Iterable[_Part]) -> Iterator[_Part]:
        """Yield the parts that are calls which agents made: each call was served once.

        A server of MCP, to which its client propagates no context, leaves a trace of its own for each call; so does a
        tool of the agent's own service that runs in a thread or a worker without its context.
        """
        tools = [part for part in parts if part.tool_keys]
        keys = {hash(part.tool_keys[0]) for part in tools}
        made: dict[int, list[_Call]] = {}
        for service, calls in self._calls_by_service.items() if keys else ():
            for key, start_ns, end_ns in zip(*calls, strict=True):
                if key in keys:
                    made.setdefault(key, []).append(_Call(service, start_ns, end_ns))
        for part in tools:
            candidates = made.get(hash(part.tool_keys[0]), [])
            possible = [call for call in candidates if _may_be_served(part, call)]
            if possible:
                candidates.remove(min(possible, key=lambda call: abs(call.start_ns - part.run.started_at_ns)))
                yield part

    def around(self, chains: Iterable[list[_Part]]) -> Iterator[bool]:
        """Yield for each chain whether an agent of its service ran all the time."""
        indexes = {service: _index(starts, ends) for service, (starts, ends) in self._by_service.items()}
        for chain in chains:
            starts, latest_ends = indexes.get(chain[0].run.service_name, ([], []))
            before = bisect.bisect_right(starts, chain[0].run.started_at_ns)
            yield before > 0 and latest_ends[before - 1] >= chain[-1].ended_at_ns


def _keys_of_calls(run: AgentRun) -> Iterator[tuple[str, AgentStep]]:
    """Yield what shows which tool calls a run made, each with its step: name and arguments, and the ids it may have."""
    ids: dict[str, list[str]] = {}
    for model in run.model_steps:
        for part in (part for message in model.messages[-1:] for part in message.tool_calls):
            if part.get("id") is not None:
                key = _signature(part.get("name"), part.get("arguments"))
                ids.setdefault(key, []).append(_signature_of_id(part.get("name"), str(part["id"])))
    for step in run.tool_steps:
        key = _signature(step.name, step.input)
        yield key, step
        for key_of_id in ids.get(key, ())[:1]:
            del ids[key][0]
            yield key_of_id, step


def _may_be_served(part: _Part, call: _Call) -> bool:
    """Return whether a tool ran while an agent called it, or began when one of another service did, whose clock differs."""
    start_ns = part.run.started_at_ns
    if part.run.service_name == call.service:
        return call.start_ns <= start_ns <= part.ended_at_ns <= call.end_ns
    return abs(start_ns - call.start_ns) <= _LARGEST_CLOCK_DIFFERENCE_NS


def _in_64_bits(time_ns: int) -> int:
    return min(max(time_ns, 0), 2**64 - 1)


def _index(starts: Iterable[int], ends: Iterable[int]) -> tuple[list[int], list[int]]:
    """Return the start times in order, and for each the latest end of those that started until then."""
    both = sorted(zip(starts, ends, strict=True))
    return [start for start, _ in both], list(itertools.accumulate((end for _, end in both), max))


def _stitched(held: list[_Part], agents: _AgentTimes) -> Iterator[Assembled]:
    """Yield the runs of parts; calls made while an agent ran stay as they are, since its own spans report them.

    The traces in which another service served calls of agents are left out, since these calls are steps already.
    """
    chains = _chains(held)
    have_agents = [*agents.around(chains)]
    alone = [chain for chain, has_agent in zip(chains, have_agents, strict=True) if len(chain) == 1 or has_agent]
    served = {id(part) for part in agents.served(itertools.chain.from_iterable(alone))}
    are_alone = {id(chain) for chain in alone}
    for chain in chains:
        if id(chain) in are_alone:
            yield from (Assembled(part.run, part.spans) for part in chain if id(part) not in served)
        else:
            yield from _joined(chain)


def _joined(chain: Sequence[_Part]) -> Iterator[Assembled]:
    """Yield the run of several parts, under the id of the first."""
    return _assembled_together([span for part in chain for span in part.spans], chain[0].run)


def _assembled_together(spans: Iterable[SpanRecord], first: AgentRun | None) -> Iterator[Assembled]:
    """Yield the run of the spans of several traces, under the id of the first one's run, if it is one."""
    whole = tuple(spans)
    trace_ids = tuple(dict.fromkeys([span.trace_id for span in whole]))
    runs = assemble(as_one_trace(whole))
    for run in runs:
        run_id = run.run_id if first is None or len(runs) > 1 else first.run_id
        yield Assembled(msgspec.structs.replace(run, run_id=run_id, trace_ids=trace_ids), whole)


# ── traces of one session ────────────────────────────────────────────────────────────────────────────────────────────


def _piece_to_hold(spans: Sequence[SpanRecord], runs: list[AgentRun]) -> Piece | None:
    """Return a trace that others may continue or be around; None for one that is a run, or no run, by itself."""
    part = _part_of(spans, runs)
    if part is not None:
        return piece_of(spans, runs) or Piece(part.spans, part.run, None)
    piece = piece_of(spans, runs)
    is_single = piece is not None and (piece.is_around or len(piece.spans) == 1 or _part_in_session(piece).has_tools)
    return piece if is_single else None


def _joined_pieces(pieces: list[Piece], agents: _AgentTimes) -> Iterator[Assembled]:
    """Yield the runs of pieces, of which some are parts of the same run."""
    parts: list[_Part] = []
    for group in grouped(pieces):
        top, below = group[0], [piece for piece in group[1:] if piece.run is not None]
        if top.is_around and below:
            spans = [top.spans[0]] + [span for piece in group[1:] for span in piece.spans]
            yield from _assembled_together(spans, top.run)
        elif top.run is not None and not top.is_around and (part := _part_in_session(top)).has_tools:
            parts.append(part)
        elif top.run is not None and not (top.is_prompt and hash(top.session) in agents.sessions()):
            yield Assembled(top.run, top.spans)  # else the agent has spans, which report the same
    yield from _stitched(parts, agents)


def _part_in_session(piece: Piece) -> _Part:
    return _Part(piece.spans, piece.run or AgentRun(run_id=""))


def _part_of(spans: Sequence[SpanRecord], runs: list[AgentRun]) -> _Part | None:
    """Return a trace as a part if another tracer recorded only calls in it, and its messages name tools; else None."""
    if len(runs) != 1 or runs[0].span_id is not None:
        return None
    is_lone_tool = len(runs[0].steps) == 1 and runs[0].steps[0].kind is StepKind.TOOL
    if runs[0].agent_name is not None and not is_lone_tool:  # a tool may name the agent that it is called by
        return None
    if any(map(dialects.is_ours, spans)) or any(step.kind not in _CALLS for step in runs[0].steps):
        return None
    part = _Part(tuple(spans), runs[0])
    return part if part.has_tools else None


class _Part:
    """Hold the calls of one trace, with the ids and messages that show where they belong.

    Attributes:
        is_tool: whether there are only calls of tools.
        tool_keys: what shows which call a tool is whose span is in a trace of its own.
        requested: the calls that its models asked for, without a response to them.
        answered: the calls whose responses they were sent.
    """

    def __init__(self, spans: tuple[SpanRecord, ...], run: AgentRun) -> None:
        self.spans, self.run = spans, run
        models = [step for step in run.steps if step.kind is StepKind.MODEL]
        self.is_tool = not models
        self.tool_keys = tuple(_keys_of_tool(spans, run.steps[0])) if self.is_tool and len(run.steps) == 1 else ()
        self.messages: tuple[Message, ...] = models[0].messages if models else ()
        parts = [part for step in models for message in step.messages for part in message.parts]
        calls = [call for step in models for call in recorded_calls(step.messages)]
        self.answered = [call for call in calls if call.is_answered]
        self.answered_ids = {call_id_of(part) for part in parts if part.get("type") == "tool_call_response"} - {None}
        self.requested = [call for call in calls if not call.is_answered and call.call_id not in self.answered_ids]
        self.requested_ids = {call.call_id for call in self.requested} - {None}
        is_in_session = run.session_id is not None and any(step.kind is StepKind.TOOL for step in run.steps)
        self.has_tools = bool(self.tool_keys) or is_in_session or any(part.get("type") in _TOOL_PARTS for part in parts)
        answer = models[-1].messages[-1:] if models else ()
        self.waits = not models or _has_part("tool_call", answer)
        self.follows = not models or _has_part("tool_call_response", _sent_messages(self.messages)[-1:])
        self.ended_at_ns = max((step.ended_at_ns or step.started_at_ns for step in run.steps), default=0)

    def continues(self, earlier: _Part) -> bool:
        """Return whether this part continues an earlier one: it has its tool results, or its messages and more."""
        if not self._is_soon_after(earlier):
            return False
        if earlier.requested_ids and self.answered_ids:
            return not earlier.requested_ids.isdisjoint(self.answered_ids) and self._has_results_of(earlier)
        return self.extends(earlier)

    def _has_results_of(self, earlier: _Part) -> bool:
        """Return whether it has the result of a call with the same arguments; ids like ``call_0`` come again."""
        requested = {_signature(call.name, call.arguments) for call in earlier.requested}
        return any(call.name is None or _signature(call.name, call.arguments) in requested for call in self.answered)

    def extends(self, earlier: _Part) -> bool:
        """Return whether it was sent the messages of an earlier part, and results of tools after them."""
        sent = _sent_messages(earlier.messages)
        more = self.messages[len(sent) :]
        return bool(sent) and self.messages[: len(sent)] == sent and any(message.role == "tool" for message in more)

    def may_continue(self, earlier: _Part) -> bool:
        """Return whether this part may continue an earlier one of its session, which waits for what this one has.

        A program may name a call differently when it sends the result: Gemini CLI adds the tool's name to its id.
        """
        return self.run.session_id is not None and self.follows and earlier.waits and self._is_soon_after(earlier)

    def _is_soon_after(self, earlier: _Part) -> bool:
        one, other = earlier.run, self.run
        pause_ns = other.started_at_ns - earlier.ended_at_ns
        is_in_session = (one.service_name, one.session_id) == (other.service_name, other.session_id)
        return is_in_session and 0 <= pause_ns <= _LONGEST_PAUSE_NS


def _has_part(kind: str, messages: Sequence[Message]) -> bool:
    return any(part.get("type") == kind for message in messages for part in message.parts)


def _keys_of_tool(spans: tuple[SpanRecord, ...], step: AgentStep) -> Iterator[str]:
    """Yield what shows which call a tool is: its name and arguments, else its name and id."""
    if step.input is not None:
        yield _signature(step.name, step.input)
        return
    for facts in map(dialects.read_third_party, spans):
        if facts is not None and facts.call_id is not None:
            yield _signature_of_id(step.name, facts.call_id)


def _signature(name: Any, arguments: Any) -> str:
    return f"{name} {json.dumps(arguments, sort_keys=True, default=repr)}"


def _sent_messages(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def _start(part: _Part) -> tuple[int, str]:
    return part.run.started_at_ns, part.run.run_id


class _Request:
    """Hold a call that a model asked for, until the trace of the tool is found."""

    __slots__ = ("chain", "keys", "part")

    def __init__(self, chain: list[_Part], part: _Part, call: RecordedCall) -> None:
        self.chain, self.part = chain, part
        self.keys = [_signature(call.name, call.arguments)]
        if call.call_id is not None:
            self.keys.append(_signature_of_id(call.name, call.call_id))

    def may_be_for(self, tool: _Part) -> bool:
        """Return whether a tool was called soon after the request, as far as the clocks of two services agree."""
        one, other = self.part.run, tool.run
        earliest_ns = 0 if one.service_name == other.service_name else -_LARGEST_CLOCK_DIFFERENCE_NS
        return earliest_ns <= other.started_at_ns - one.started_at_ns <= _LONGEST_PAUSE_NS


class _Chains:
    """Group parts by run: each part joins the latest chain that it continues, a tool the one that asked for it."""

    def __init__(self) -> None:
        self._by_conversation: dict[tuple[str | None, str | None], list[list[_Part]]] = {}
        self._requests: dict[str, list[_Request]] = {}

    def add(self, part: _Part) -> list[_Part]:
        """Return the chain that a part continues, or a new one, with the part added."""
        return self._add_tool(part) if part.is_tool else self._add_models(part)

    def _add_models(self, part: _Part) -> list[_Part]:
        known = self._by_conversation.setdefault(_conversation(part), [])
        chain = _chain_continued_by(part, known) or _sole_waiting(part, known)
        if chain:
            known.remove(chain)
        chain.append(part)
        known.append(chain)
        del known[:-_MOST_OPEN_CHAINS]
        for call in part.requested:
            request = _Request(chain, part, call)
            for key in request.keys:
                self._requests.setdefault(key, []).append(request)
        return chain

    def _add_tool(self, part: _Part) -> list[_Part]:
        found = [
            request for key in part.tool_keys for request in self._requests.get(key, ()) if request.may_be_for(part)
        ]
        if not found:
            chain = _sole_waiting(part, self._by_conversation.get(_conversation(part), ()))
            chain.append(part)
            return chain
        request = max(found, key=lambda request: _start(request.part))
        self._forget(request)
        request.chain.append(part)
        return request.chain

    def _forget(self, request: _Request) -> None:
        for key in request.keys:
            left = [other for other in self._requests.pop(key, ()) if other is not request]
            if left:
                self._requests[key] = left

    def remove(self, chain: list[_Part]) -> None:
        """Remove a chain, so that no part can continue it."""
        key = _conversation(chain[0])
        left = [known for known in self._by_conversation.pop(key, ()) if known is not chain]
        if left:
            self._by_conversation[key] = left
        requests = {id(request): request for some in self._requests.values() for request in some}
        for request in requests.values():
            if request.chain is chain:
                self._forget(request)


def _chain_continued_by(part: _Part, chains: list[list[_Part]]) -> list[_Part]:
    """Return the latest chain that a part continues; of several, one whose messages it was sent. A new one else."""
    continued: list[_Part] = []
    for chain in reversed(chains):
        last = next((known for known in reversed(chain) if not known.is_tool), None)
        if last is not None and part.continues(last):
            if part.extends(last):
                return chain
            continued = continued or chain
    return continued


def _signature_of_id(name: Any, call_id: str) -> str:
    return f"{name} id {call_id}"


def _sole_waiting(part: _Part, chains: Iterable[list[_Part]]) -> list[_Part]:
    """Return the only chain that a part may continue where it began; an empty one where there is none, or several."""
    waiting = [chain for chain in chains if (last := _last_before(part, chain)) is not None and part.may_continue(last)]
    return waiting[0] if len(waiting) == 1 else []


def _last_before(part: _Part, chain: list[_Part]) -> _Part | None:
    """Return the last part of a chain with messages that began before another part; None where it has none."""
    before = [known for known in chain if known.run.started_at_ns <= part.run.started_at_ns]
    return max(before, key=_start) if any(known.messages for known in before) else None


def _conversation(part: _Part) -> tuple[str | None, str | None]:
    return part.run.service_name, part.run.session_id


def _chains(parts: list[_Part]) -> list[list[_Part]]:
    """Return the parts grouped by run, in order of the first part of each."""
    chains = _Chains()
    found = [chains.add(part) for part in sorted(parts, key=lambda part: (part.is_tool, *_start(part)))]
    unique_chains = {id(chain): [chain[0], *sorted(chain[1:], key=_start)] for chain in found}
    return sorted(unique_chains.values(), key=lambda chain: _start(chain[0]))
