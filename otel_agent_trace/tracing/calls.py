"""What is recorded of the calls of decorated functions: of a tool, a model, an agent."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.guard import guarded
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind, Usage
from otel_agent_trace.tracing.active import ActiveModelCall, ActiveRun, ActiveStep
from otel_agent_trace.tracing.arguments import Arguments
from otel_agent_trace.tracing.bind import bound_fields
from otel_agent_trace.tracing.coercion import run_fields
from otel_agent_trace.tracing.current import inside_a_run, surrounding_run
from otel_agent_trace.tracing.invocations import Invocation
from otel_agent_trace.tracing.results import answer
from otel_agent_trace.tracing.state import TracerState
from otel_agent_trace.values import Truncated, is_iterator

_MAX_CHUNKS = 10_000
_TEXTS = (str, bytes, bytearray)


class ToolSpec(msgspec.Struct, frozen=True):
    """The options of `AgentTracer.tool` for one function."""

    name: str
    arguments: Arguments
    capture: bool
    side_effects: bool


class ModelSpec(msgspec.Struct, frozen=True):
    """The options of `AgentTracer.model` for one function."""

    name: str
    arguments: Arguments
    model: str | None
    provider: str | None
    usage: Callable[[Any], Any] | None


class AgentSpec(msgspec.Struct, frozen=True):
    """The options of `AgentTracer.agent` for one function: a name, or else the function's and the tracer's own."""

    arguments: Arguments
    user_input: str | None
    given_name: str | None
    function_name: str
    tracer_name: str | None


class _Pieces:
    """The pieces of a stream that are kept: as many as fit, and how many there were."""

    __slots__ = ("_room_bytes", "count", "kept")

    def __init__(self, room_bytes: int) -> None:
        self.kept: list[Any] = []
        self.count = 0
        self._room_bytes = room_bytes

    def add(self, item: Any) -> None:
        """Keep a piece where there is room: a text counts with its length, all else a little."""
        self.count += 1
        if self._room_bytes > 0 and len(self.kept) < _MAX_CHUNKS:
            self._room_bytes -= len(item) if type(item) in _TEXTS else 1
            self.kept.append(item)

    def whole(self, kept: Any, size: int | None) -> Any:
        """Return what was made of the kept ones; as `Truncated` where there were more."""
        return kept if self.count == len(self.kept) else Truncated(kept, size, "bytes")

    def listed(self) -> Any:
        """Return the kept pieces as a list, `Truncated` where there were more."""
        return self.whole(self.kept, self.count)

    def text(self) -> str | None:
        """Return the whole text, where the pieces are texts."""
        return "".join(self.kept) if self.kept and all(type(piece) is str for piece in self.kept) else None


class _Streaming(Invocation):
    """A call that may give its result in pieces; few do, so what keeps them is made when it is needed."""

    __slots__ = ("_kept_pieces",)
    _kept_pieces: _Pieces

    @property
    def _pieces(self) -> _Pieces:
        if not hasattr(self, "_kept_pieces"):
            active: Any = self.active
            self._kept_pieces = _Pieces(active.state.limits.value_bytes)
        return self._kept_pieces


class ToolInvocation(_Streaming):
    """A call of a tool: a step that is current while the function runs."""

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
        given = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) if spec.capture else None
        self.active = ActiveStep(run, StepKind.TOOL, spec.name, given, state=state)
        self._spec = spec
        if spec.side_effects:
            self.active.set_attribute(semconv.SIDE_EFFECTS, value=True)

    def returned(self, result: Any) -> None:
        """Note what the tool gave, if that is wanted."""
        if self._spec.capture:
            self.active.output = result

    def chunk(self, item: Any) -> None:
        """Note a piece of what the tool gives; itself only if that is wanted."""
        self.active.mark_first_chunk()
        if self._spec.capture:
            self._pieces.add(item)

    def exhausted(self, result: Any) -> None:
        """Note the whole of the stream: its pieces, or the value that the generator returned."""
        self.returned(self._pieces.listed() if result is None else result)

    def abandoned(self) -> None:
        """Note that the consumer closed the stream, and what it had got until then."""
        self.active.abandon()
        self.returned(self._pieces.listed())


class ModelInvocation(_Streaming):
    """A call of a model: a step that is current while the function runs."""

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
        self._spec = spec

    def returned(self, result: Any) -> None:
        """Note the answer, and its tokens."""
        self._note(result, result)

    def _note(self, output: Any, result: Any) -> None:
        call = self.active
        call.output = output
        if self._spec.usage is not None:
            call.usage = guarded(call.diagnostics, "usage", self._tokens, self._spec.usage, result)

    def chunk(self, item: Any) -> None:
        """Note a piece of the answer, and when it came."""
        call = self.active
        call.mark_first_chunk()
        self._pieces.add(item)
        if call.destination.meters is not None and len(call.chunk_times_ns) < _MAX_CHUNKS:
            call.chunk_times_ns.append(time.perf_counter_ns())

    def exhausted(self, result: Any) -> None:
        """Note the whole of the stream; pieces of text are the answer."""
        if result is None:
            self._answered()
        else:
            self.returned(result)

    def abandoned(self) -> None:
        """Note that the consumer closed the stream; pieces of text are the answer as far as it goes."""
        self.active.abandon()
        self._answered()

    def _answered(self) -> None:
        pieces, call = self._pieces, self.active
        self._note(pieces.listed(), pieces.kept)
        text = pieces.text()
        if text is not None:
            call.add_answer(answer(text))

    @staticmethod
    def _tokens(usage: Callable[[Any], Any], result: Any) -> Usage | None:
        return None if is_iterator(result) else usage_from(usage(result))


class AgentInvocation(_Streaming):
    """A call of an agent: a run that is current while the function runs."""

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

    def returned(self, result: Any) -> None:
        """Note the answer, unless the code inside has set another."""
        if self.active.final_output is None:
            self.active.final_output = result

    def chunk(self, item: Any) -> None:
        """Note a piece of the answer, and when the first one came."""
        pieces = self._pieces
        if not pieces.count:
            self.active.mark_first_chunk()
        pieces.add(item)

    def exhausted(self, result: Any) -> None:
        """Note the whole answer: its pieces (texts joined), or the value that the generator returned."""
        self.returned(self._joined() if result is None else result)

    def abandoned(self) -> None:
        """Note what the consumer had got when it closed the stream."""
        self.active.abandon()
        self.returned(self._joined())

    def _joined(self) -> Any:
        pieces = self._pieces
        text = pieces.text()
        return pieces.listed() if text is None else pieces.whole(text, None)


def surroundings(state: TracerState) -> tuple[ActiveRun, TracerState]:
    """Return the run around this code, or one that was never started, and what records.

    A tracer without a provider of its own records where the run around it does.
    """
    run = surrounding_run()
    if run is None:
        return ActiveRun(state, {}), state
    return run, state if state.provider is not None else run.state


def _asked(named: Mapping[str, Any], spec: AgentSpec) -> Any:
    if spec.user_input is not None:
        return spec.arguments.effective(named, spec.user_input)
    return next(iter(named.values())) if len(named) == 1 else named or None


def plain(function: Any) -> Any:
    """Return the function behind a static or class method."""
    return function.__func__ if isinstance(function, staticmethod | classmethod) else function


def name_of(function: Any) -> str:
    """Return what a callable is called."""
    function = plain(function)
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)
