"""Record calls of decorated functions: tools, models, agents."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.guard import guarded
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind, Usage
from otel_agent_trace.policies.content import ContentMode
from otel_agent_trace.tracing.active import ActiveModelCall, ActiveRun, ActiveStep
from otel_agent_trace.tracing.arguments import Arguments
from otel_agent_trace.tracing.bind import bound_fields
from otel_agent_trace.tracing.callables import is_partial
from otel_agent_trace.tracing.coercion import run_fields
from otel_agent_trace.tracing.contexts import current_context, session_in
from otel_agent_trace.tracing.current import inside_a_run, surrounding_run
from otel_agent_trace.tracing.environment import PROCESS_PARENT
from otel_agent_trace.tracing.invocations import Invocation
from otel_agent_trace.tracing.reflection import attribute_of, is_a
from otel_agent_trace.tracing.results import answer
from otel_agent_trace.tracing.state import TracerState
from otel_agent_trace.values import Truncated, is_iterator

_MAX_CHUNKS = 10_000
_TEXTS = (str, bytes, bytearray)
_CONTENT: dict[bool | None, ContentMode | None] = {None: None, True: "all", False: "none"}


class ToolSpec(msgspec.Struct, frozen=True):
    """Hold the options of `AgentTracer.tool` for one function."""

    name: str
    arguments: Arguments
    capture: bool | None
    side_effects: bool


class ModelSpec(msgspec.Struct, frozen=True):
    """Hold the options of `AgentTracer.model` for one function."""

    name: str
    arguments: Arguments
    model: str | None
    provider: str | None
    usage: Callable[[Any], Any] | None
    capture: bool | None


class AgentSpec(msgspec.Struct, frozen=True):
    """Hold the options of `AgentTracer.agent` for one function, and the names to use if none is given."""

    arguments: Arguments
    user_input: str | None
    given_name: str | None
    function_name: str
    tracer_name: str | None
    capture: bool | None


class _Pieces:
    """Keep the chunks of a stream within a limit, and count all of them."""

    __slots__ = ("_room_bytes", "count", "kept")

    def __init__(self, room_bytes: int) -> None:
        self.kept: list[Any] = []
        self.count = 0
        self._room_bytes = room_bytes

    def add(self, item: Any) -> None:
        """Keep a chunk if there is room: a text takes its length, anything else 1."""
        self.count += 1
        if self._room_bytes > 0 and len(self.kept) < _MAX_CHUNKS:
            self._room_bytes -= len(item) if type(item) in _TEXTS else 1
            self.kept.append(item)

    def whole(self, kept: Any, size: int | None) -> Any:
        """Return a value made of the kept chunks, as `Truncated` if there were more."""
        return kept if self.count == len(self.kept) else Truncated(kept, size, "bytes")

    def listed(self) -> Any:
        """Return the kept chunks as a list, as `Truncated` if there were more."""
        return self.whole(self.kept, self.count)

    def text(self) -> str | None:
        """Return the joined chunks if they are texts, else None."""
        return "".join(self.kept) if self.kept and all(type(piece) is str for piece in self.kept) else None


class _Streaming(Invocation):
    """Provide the base of calls that may stream their result; the object that keeps chunks is made on first use."""

    __slots__ = ("_kept_pieces",)
    _kept_pieces: _Pieces

    @property
    def _pieces(self) -> _Pieces:
        if not hasattr(self, "_kept_pieces"):
            active: Any = self.active
            self._kept_pieces = _Pieces(active.state.limits.value_bytes)
        return self._kept_pieces

    def abandoned(self) -> None:
        """Record that the consumer closed the stream, and the chunks until then."""
        self.active.abandon()
        self.stopped()

    def never_begun(self) -> None:
        """Record that the program dropped the work that the function returned; there is no result."""
        self.active.abandon()

    def broken(self) -> None:
        """Record the chunks until the stream failed, if there are any."""
        if self._pieces.count:
            self.stopped()

    def stopped(self) -> None:
        """Record the chunks until the stream stopped early."""


class ToolInvocation(_Streaming):
    """Record a call of a tool as a step, which is current while the function runs."""

    __slots__ = ("_spec",)
    active: ActiveStep

    def __init__(
        self,
        state: TracerState,
        spec: ToolSpec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        run, state = surroundings(state)
        is_recorded = spec.capture is not False
        given = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) if is_recorded else None
        self.active = ActiveStep(run, StepKind.TOOL, spec.name, given, state=state)
        self.active.content_mode = _CONTENT[spec.capture]
        self._spec = spec
        if spec.side_effects:
            self.active.set_attribute(semconv.SIDE_EFFECTS, value=True)

    def returned(self, result: Any) -> None:
        """Record the result of the tool, unless ``capture=False``."""
        if self._spec.capture is not False:
            self.active.output = result

    def chunk(self, item: Any) -> None:
        """Record the time of the first chunk, and each chunk unless ``capture=False``."""
        self.active.mark_first_chunk()
        if self._spec.capture is not False:
            self._pieces.add(item)

    def followed_as(self, kind: str) -> None:
        """Record the kind of work that the function returned."""
        _note_work(self.active, kind)

    def exhausted(self, result: Any) -> None:
        """Record the end of the stream: the chunks, and the value that the generator returned, if there is one."""
        if result is not None and self._spec.capture is not False:
            self.active.put_fact("chunks", self._pieces.listed())
        self.returned(self._pieces.listed() if result is None else result)

    def stopped(self) -> None:
        """Record the chunks until the stream stopped early."""
        self.returned(self._pieces.listed())


class ModelInvocation(_Streaming):
    """Record a call of a model as a step, which is current while the function runs."""

    __slots__ = ("_spec",)
    active: ActiveModelCall

    def __init__(
        self,
        state: TracerState,
        spec: ModelSpec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        run, state = surroundings(state)
        given = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) or {}
        model = spec.model if spec.model is not None else spec.arguments.effective(given, "model")
        self.active = ActiveModelCall(
            run,
            model if issubclass(type(model), str) else None,
            spec.arguments.effective(given, "messages"),
            provider=spec.provider,
            name=spec.name,
            input=given,
            state=state,
        )
        self.active.content_mode = _CONTENT[spec.capture]
        self._spec = spec

    def returned(self, result: Any) -> None:
        """Record the answer, and its token counts."""
        self._note(result, result)

    def _note(self, output: Any, result: Any) -> None:
        call = self.active
        call.output = output
        if self._spec.usage is not None:
            call.usage = guarded(call.diagnostics, "usage", self._tokens, self._spec.usage, result)

    def chunk(self, item: Any) -> None:
        """Record a chunk of the answer, and its time."""
        call = self.active
        call.mark_first_chunk()
        self._pieces.add(item)
        if call.destination.meters is not None and len(call.chunk_times_ns) < _MAX_CHUNKS:
            call.chunk_times_ns.append(time.perf_counter_ns())

    def followed_as(self, kind: str) -> None:
        """Record the kind of work that the function returned."""
        _note_work(self.active, kind)

    def exhausted(self, result: Any) -> None:
        """Record the end of the stream; chunks of text are joined to the answer."""
        if result is None:
            self._answered()
        else:
            self.active.put_fact("chunks", self._pieces.listed())
            self.returned(result)

    def stopped(self) -> None:
        """Record the chunks until the stream stopped early; those of text are joined to the answer."""
        self._answered()

    def _answered(self) -> None:
        pieces, call = self._pieces, self.active
        self._note(pieces.listed(), pieces.kept)
        text = pieces.text()
        if text is not None:
            call.add_answers(answer(text))

    @staticmethod
    def _tokens(usage: Callable[[Any], Any], result: Any) -> Usage | None:
        return None if is_iterator(result) else usage_from(usage(result))


class AgentInvocation(_Streaming):
    """Record a call of an agent as a run, which is current while the function runs."""

    __slots__ = ()
    active: ActiveRun

    def __init__(
        self,
        state: TracerState,
        spec: AgentSpec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        _, state = surroundings(state)
        named = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) or {}
        bound = bound_fields()
        outermost = None if inside_a_run() else bound.get("agent_name") or spec.tracer_name
        fields = {"user_input": _asked(named, spec), "agent_name": spec.given_name or outermost or spec.function_name}
        self.active = ActiveRun(state, run_fields(state.diagnostics, fields, bound, None))
        self.active.content_mode = _CONTENT[spec.capture]

    def returned(self, result: Any) -> None:
        """Record the answer, unless the function has set `final_output`."""
        if self.active.final_output is None:
            self.active.final_output = result

    def chunk(self, item: Any) -> None:
        """Record a chunk of the answer, and the time of the first one."""
        pieces = self._pieces
        if not pieces.count:
            self.active.mark_first_chunk()
        pieces.add(item)

    def exhausted(self, result: Any) -> None:
        """Record the answer: the chunks, joined if they are texts, or the value that the generator returned."""
        self.returned(self._joined() if result is None else result)

    def stopped(self) -> None:
        """Record the chunks until the stream stopped early."""
        self.returned(self._joined())

    def _joined(self) -> Any:
        pieces = self._pieces
        text = pieces.text()
        return pieces.listed() if text is None else pieces.whole(text, None)


def _note_work(active: ActiveStep, kind: str) -> None:
    """Record a kind of work, within that which the function returned first."""
    active.put_fact("returned_as", (*(active.fact("returned_as") or ()), kind))


def surroundings(state: TracerState) -> tuple[ActiveRun, TracerState]:
    """Return the run around this code, or one that is never started, and the state of the tracer that records.

    The latter has session and user of a run in another process, which steps have as well. A tracer without a provider of
    its own records with the tracer of the run around it.
    """
    run = surrounding_run()
    if run is None:
        return ActiveRun(state, session_in(PROCESS_PARENT.base(current_context()))), state
    return run, state if state.provider is not None else run.state


def _asked(named: Mapping[str, Any], spec: AgentSpec) -> Any:
    if spec.user_input is not None:
        return spec.arguments.effective(named, spec.user_input)
    return next(iter(named.values())) if len(named) == 1 else named or None


def plain(function: Any) -> Any:
    """Return the function behind a static or class method."""
    return function.__func__ if is_a(function, (staticmethod, classmethod)) else function


def name_of(function: Any) -> str:
    """Return the name of a callable."""
    function = plain(function)
    while is_partial(function):
        function = function.func
    name = attribute_of(function, "__name__")
    return str(name) if name and issubclass(type(name), str) else type(function).__name__
