"""One traced call of a decorated function: an agent's, a tool's, a model's."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind, Usage
from otel_agent_trace.tracing.active_run import ActiveRun
from otel_agent_trace.tracing.active_span import ActiveSpan
from otel_agent_trace.tracing.active_step import ActiveModelCall, ActiveStep
from otel_agent_trace.tracing.arguments import Arguments
from otel_agent_trace.tracing.bind import bound_fields
from otel_agent_trace.tracing.coercion import RUN_FIELDS, metadata_among, text_of, texts_of
from otel_agent_trace.tracing.current import inside_a_run, surrounding_run
from otel_agent_trace.tracing.results import answer
from otel_agent_trace.tracing.state import TracerState
from otel_agent_trace.values import Truncated, is_iterator

_MAX_CHUNKS = 10_000
_NS_PER_S = 1_000_000_000
_TEXTS = (str, bytes, bytearray)
_TEXT_FIELDS = ("model", "agent_name", "session_id", "run_id", "prompt_name", "prompt_version")


class ToolSpec(msgspec.Struct, frozen=True):
    """What `AgentTracer.tool` was told."""

    name: str
    arguments: Arguments
    capture: bool
    side_effects: bool


class ModelSpec(msgspec.Struct, frozen=True):
    """What `AgentTracer.model` was told."""

    name: str
    arguments: Arguments
    model: str | None
    provider: str | None
    usage: Callable[[Any], Any] | None


class AgentSpec(msgspec.Struct, frozen=True):
    """What `AgentTracer.agent` was told: a name, or else the function's and the tracer's own."""

    arguments: Arguments
    user_input: str | None
    given_name: str | None
    function_name: str
    tracer_name: str | None


def plain(function: Any) -> Any:
    """The function behind a static or class method."""
    return function.__func__ if isinstance(function, staticmethod | classmethod) else function


def name_of(function: Any) -> str:
    """What a callable is called."""
    function = plain(function)
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)


def run_fields(
    given: Mapping[str, Any], bound: Mapping[str, Any], agent_name: str | None, diagnostics: Diagnostics
) -> dict[str, Any]:
    """The fields of a run: given ones over bound ones, unknown keys in the metadata, texts as texts."""
    said = {**bound, **{key: value for key, value in given.items() if value is not None}}
    fields = {key: said[key] for key in RUN_FIELDS if said.get(key) is not None}
    fields["metadata"] = {**bound.get("metadata", {}), **metadata_among(diagnostics, given, RUN_FIELDS)} or None
    for name in _TEXT_FIELDS:
        if name in fields:
            fields[name] = text_of(fields[name])
    if "tags" in fields:
        fields["tags"] = guarded(diagnostics, "tags", texts_of, fields["tags"])
    fields.setdefault("agent_name", agent_name)
    return fields


class _Pieces:
    """What is kept of a stream: as many pieces as fit, and how many there were."""

    __slots__ = ("_room_bytes", "given", "kept")

    def __init__(self, room_bytes: int) -> None:
        self.kept: list[Any] = []
        self.given = 0
        self._room_bytes = room_bytes

    def add(self, item: Any) -> None:
        """Keep a piece where there is room: a text counts with its length, all else a little."""
        self.given += 1
        if self._room_bytes > 0 and len(self.kept) < _MAX_CHUNKS:
            self._room_bytes -= len(item) if type(item) in _TEXTS else 1
            self.kept.append(item)

    def whole(self, kept: Any, size: int | None) -> Any:
        """What was made of the kept ones; as a `Truncated` where there were more."""
        return kept if self.given == len(self.kept) else Truncated(kept, size, "bytes")

    def text(self) -> str | None:
        """The whole text, where the pieces are texts."""
        return "".join(self.kept) if self.kept and all(type(piece) is str for piece in self.kept) else None


class _Streamed(ActiveSpan):
    """What may give its result in pieces; few do."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def _pieces(self) -> _Pieces | None: ...
        @_pieces.setter
        def _pieces(self, pieces: _Pieces | None) -> None: ...

    def pieces(self) -> _Pieces:
        """The pieces so far."""
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = _Pieces(self._state.limits.value_bytes)
        return pieces


class _StreamedStep(_Streamed, ActiveStep):
    """A step that may give its result in pieces."""

    __slots__ = ()

    def returned(self, result: Any) -> None:
        """Note what it gave."""
        self._output = result

    def chunk(self, item: Any) -> None:
        """Note a piece of the result."""
        self.mark_first_chunk()
        self.pieces().add(item)

    def exhausted(self, result: Any) -> None:
        """Note the whole of the stream: its pieces, or the value that the generator returned."""
        if result is None:
            self._returned_pieces()
        else:
            self.returned(result)

    def abandoned(self) -> None:
        """Note that the consumer closed the stream, and what it had got until then."""
        self.abandon()
        self._returned_pieces()

    def _returned_pieces(self) -> None:
        pieces = self.pieces()
        self.returned(pieces.kept)
        if self._output is pieces.kept:
            self._output = pieces.whole(pieces.kept, pieces.given)


class ToolCall(_StreamedStep):
    """A call of a tool: a step that is current while the function runs."""

    __slots__ = ("_pieces", "_spec")

    def __init__(self, state: TracerState, spec: ToolSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run, state = surroundings(state)
        given = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) if spec.capture else None
        ActiveStep.__init__(self, run, StepKind.TOOL, spec.name, given, state=state)
        self._pieces = None
        self._spec = spec
        if spec.side_effects:
            self.set_attribute(semconv.SIDE_EFFECTS, value=True)

    def chunk(self, item: Any) -> None:
        """Note a piece of what the tool gives; itself only if that is wanted."""
        if self._spec.capture:
            super().chunk(item)
        else:
            self.mark_first_chunk()

    def returned(self, result: Any) -> None:
        """Note what the tool gave, if that is wanted."""
        if self._spec.capture:
            self._output = result


class ModelCall(_StreamedStep, ActiveModelCall):
    """A call of a model: a step that is current while the function runs."""

    __slots__ = ("_chunk_times_ns", "_pieces", "_spec")

    def __init__(self, state: TracerState, spec: ModelSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run, state = surroundings(state)
        given = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) or {}
        model = spec.model if spec.model is not None else spec.arguments.effective(given, "model")
        ActiveModelCall.__init__(
            self,
            run,
            model if issubclass(type(model), str) else None,
            spec.arguments.effective(given, "messages"),
            provider=spec.provider,
            name=spec.name,
            input=given,
            state=state,
        )
        self._chunk_times_ns: list[int] = []
        self._pieces = None
        self._spec = spec

    def chunk(self, item: Any) -> None:
        """Note a piece of the answer, and when it came."""
        super().chunk(item)
        if self._state.meters is not None and len(self._chunk_times_ns) < _MAX_CHUNKS:
            self._chunk_times_ns.append(time.perf_counter_ns())

    def _chunk_gaps_s(self) -> list[float]:
        return [(later - earlier) / _NS_PER_S for earlier, later in itertools.pairwise(self._chunk_times_ns)]

    def returned(self, result: Any) -> None:
        """Note the answer, and its tokens."""
        super().returned(result)
        if self._spec.usage is not None:
            self.usage = guarded(self.diagnostics, "usage", self._tokens, self._spec.usage, result)

    def exhausted(self, result: Any) -> None:
        """Note the whole of the stream; pieces of text are the answer."""
        super().exhausted(result)
        if result is None:
            self._answered()

    def abandoned(self) -> None:
        """Note that the consumer closed the stream; pieces of text are the answer as far as it goes."""
        super().abandoned()
        self._answered()

    def _answered(self) -> None:
        text = self.pieces().text()
        if text is not None and not (self._messages and self._messages[-1].role == "assistant"):
            self._messages = (*self._messages, answer(text))

    @staticmethod
    def _tokens(usage: Callable[[Any], Any], result: Any) -> Usage | None:
        return None if is_iterator(result) else usage_from(usage(result))


class AgentCall(_Streamed, ActiveRun):
    """A call of an agent: a run that is current while the function runs."""

    __slots__ = ("_pieces",)

    def __init__(self, state: TracerState, spec: AgentSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _, state = surroundings(state)
        named = guarded(state.diagnostics, "arguments", spec.arguments.named, args, kwargs) or {}
        bound = bound_fields()
        outermost = None if inside_a_run() else bound.get("agent_name") or spec.tracer_name
        fields = {"user_input": _asked(named, spec), "agent_name": spec.given_name or outermost or spec.function_name}
        ActiveRun.__init__(self, state, run_fields(fields, bound, None, state.diagnostics))
        self._pieces = None

    def returned(self, result: Any) -> None:
        """Note the answer, unless the code inside has said another."""
        if self._final_output is None:
            self._final_output = result

    def chunk(self, item: Any) -> None:
        """Note a piece of the answer, and when the first one came."""
        pieces = self.pieces()
        if not pieces.given:
            self._content.attributes[semconv.FIRST_CHUNK_AT_NS] = time.time_ns()
        pieces.add(item)

    def exhausted(self, result: Any) -> None:
        """Note the whole answer: its pieces (texts joined), or the value that the generator returned."""
        self.returned(self._joined() if result is None else result)

    def abandoned(self) -> None:
        """Note what the consumer had got when it closed the stream."""
        self.abandon()
        self.returned(self._joined())

    def _joined(self) -> Any:
        pieces = self.pieces()
        text = pieces.text()
        return pieces.whole(pieces.kept, pieces.given) if text is None else pieces.whole(text, None)


def surroundings(state: TracerState) -> tuple[ActiveRun, TracerState]:
    """The run around this code, or one that was never started; and who records.

    A tracer without a provider of its own records where the run around it does.
    """
    run = surrounding_run()
    if run is None:
        return ActiveRun(state, {}), state
    return run, state if state.provider is not None else run.state


def _asked(named: dict[str, Any], spec: AgentSpec) -> Any:
    if spec.user_input is not None:
        return spec.arguments.effective(named, spec.user_input)
    return next(iter(named.values())) if len(named) == 1 else named or None
