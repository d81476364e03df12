"""What users think in: a run of an agent, its steps, their messages, tokens and errors.

These classes know nothing of OpenTelemetry. They are immutable, and equal when they are equal by type and value
(`otel_agent_trace.values.same`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.values import Encoded, encode, register_type, restore, same

T = TypeVar("T", bound="_Compared")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NS_PER_S = 1_000_000_000
_INT64_BITS = 63
_set = msgspec.structs.force_setattr


class RunStatus(str, enum.Enum):
    """How a run ended, or that it has not."""

    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"

    def __str__(self) -> str:
        return self.value


class StepKind(str, enum.Enum):
    """What a step did."""

    TOOL = "tool"
    MODEL = "model"
    AGENT = "agent"
    RETRIEVAL = "retrieval"
    OTHER = "other"

    def __str__(self) -> str:
        return self.value


class _Compared(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """Equality by type and value over all fields but those that tell where a thing was read from."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            same(getattr(self, name), getattr(other, name))
            for name in self.__struct_fields__
            if name not in _PROVENANCE
        )

    def __ne__(self, other: object) -> bool:  # msgspec's own would go by identity
        return not self == other

    def __hash__(self) -> int:
        return hash(type(self))


_PROVENANCE = frozenset({"dialect", "interrupted"})


class StepError(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """What went wrong in a step or a run.

    `type` is the ``error.type`` of the conventions (a class with its module, a provider's code, or ``_OTHER``);
    `category` one of `otel_agent_trace.categories.CATEGORIES` or a user's own.
    """

    type: str
    message: str = ""
    category: str = "unknown"
    stacktrace: str | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Usage(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """Tokens of one model call or of a whole run; None where nobody said.

    `cache_read_input_tokens` and `cache_write_input_tokens` are part of `input_tokens`, `reasoning_output_tokens` of
    `output_tokens`. `details` holds whatever else the provider reported.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    details: dict[Any, Any] = {}

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __bool__(self) -> bool:
        return bool(self.details) or any(getattr(self, name) is not None for name in TOKEN_FIELDS)

    def __add__(self, other: Usage) -> Usage:
        """The sum of the counts; details of several calls have no sum and are left out."""
        sums: dict[str, Any] = {name: _sum(getattr(self, name), getattr(other, name)) for name in TOKEN_FIELDS}
        return Usage(**sums)


TOKEN_FIELDS = tuple(name for name in Usage.__struct_fields__ if name != "details")


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Message(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """One message to or from a model, as the conventions have it.

    `role` is system, user, assistant, tool or whatever the provider says. Each part is a mapping with a ``type``:
    ``text`` and ``reasoning`` (``content``), ``tool_call`` (``id``, ``name``, ``arguments``), ``tool_call_response``
    (``id``, ``response``), ``blob``, ``file``, ``uri`` or any other. `extra` holds further keys of the message.
    """

    role: str
    parts: tuple[dict[Any, Any], ...] = ()
    name: str | None = None
    extra: dict[Any, Any] = {}

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(str(part.get("content", "")) for part in self.parts if part.get("type") == "text")

    @property
    def tool_calls(self) -> tuple[dict[str, Any], ...]:
        """The tools that this message asks for."""
        return tuple(part for part in self.parts if part.get("type") == "tool_call")


class _Timed(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    started_at_ns: int = 0
    ended_at_ns: int | None = None

    @property
    def started_at(self) -> datetime:
        """When it began, aware, in UTC, cut to microseconds."""
        return at_time(self.started_at_ns)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, aware, in UTC, cut to microseconds; None while it runs."""
        return None if self.ended_at_ns is None else at_time(self.ended_at_ns)

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while it runs."""
        return None if self.ended_at_ns is None else (self.ended_at_ns - self.started_at_ns) / _NS_PER_S


class AgentStep(_Timed, frozen=True, kw_only=True, eq=False, gc=False):
    """One step of a run: a call of a tool or of a model, a sub-agent, a retrieval, or something else.

    `input` and `output` are arguments and return value of every kind of step; `tool_name`, `tool_input`, `tool_output`
    are name, input and output of a tool step (None for the others) and may be given in their stead. `messages` is what
    a model was sent and, last, what it answered. `index` counts the steps of the run from 0 in the order of their
    start. `attributes` are those of the span that nothing else here says. `truncated` lists the paths of what limits
    cut. `run` is the sub-agent's own run, for a step of kind agent.
    """

    step_id: int | str = 0
    index: int = 0
    kind: StepKind = StepKind.TOOL
    name: str = ""
    input: Any = None
    output: Any = None
    error: StepError | None = None
    messages: tuple[Message, ...] = ()
    model: str | None = None
    usage: Usage | None = None
    metadata: dict[Any, Any] = {}
    attributes: dict[str, Any] = {}
    span_id: str | None = None
    parent_step_id: int | str | None = None
    abandoned: bool = False
    first_chunk_at_ns: int | None = None
    truncated: tuple[str, ...] = ()
    run: AgentRun | None = None
    tool_name: str | None = None
    tool_input: Any = None
    tool_output: Any = None

    def __post_init__(self) -> None:
        if self.kind is not StepKind.TOOL or (
            self.name
            and self.tool_name is self.name
            and self.tool_input is self.input
            and self.tool_output is self.output
        ):
            return
        for tool_field, field in (("tool_name", "name"), ("tool_input", "input"), ("tool_output", "output")):
            value = getattr(self, field)
            if value is None or (field == "name" and not value):
                value = getattr(self, tool_field)
                value = "" if value is None and field == "name" else value
                _set(self, field, value)
            _set(self, tool_field, value)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data; `from_dict` gives an equal step back."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentStep:
        """The step that `to_dict` was called on.

        Raises:
            ValueError: `data` is not of that shape; the message says where.
        """
        return _from_dict(cls, data)


class AgentRun(_Timed, frozen=True, kw_only=True, eq=False, gc=False):
    """One run of an agent.

    `steps` is flat and in order; a sub-agent is one step of kind agent whose `run` holds its own steps. `usage` is what
    was said of the whole run, else the sum over its model calls. `session_id` is the conversation the run belongs to.
    Of an agent that streams, `abandoned` says that its consumer closed it early, `first_chunk_at_ns` when it gave its
    first piece.
    `truncated` lists the paths of what limits cut. `interrupted` says of a running run whether its process is known to
    be gone (None where that cannot be known), `dialect` in which attribute scheme it was read (several are joined: ``langfuse + genai``), `sampling_probability`
    with which probability such a run was kept.
    """

    run_id: str
    agent_name: str | None = None
    user_input: Any = None
    user_id: str | None = None
    session_id: str | None = None
    model: str | None = None
    config: Any = None
    metadata: dict[Any, Any] = {}
    attributes: dict[str, Any] = {}
    status: RunStatus = RunStatus.RUNNING
    final_output: Any = None
    error: StepError | None = None
    usage: Usage | None = None
    steps: tuple[AgentStep, ...] = ()
    trace_id: str | None = None
    trace_ids: tuple[str, ...] = ()
    span_id: str | None = None
    parent_run_id: str | None = None
    service_name: str | None = None
    abandoned: bool = False
    first_chunk_at_ns: int | None = None
    truncated: tuple[str, ...] = ()
    interrupted: bool | None = None
    sampling_probability: float | None = None
    replay_of: str | None = None
    dialect: str | None = None

    @property
    def tool_steps(self) -> tuple[AgentStep, ...]:
        """The steps of kind tool."""
        return tuple(step for step in self.steps if step.kind is StepKind.TOOL)

    @property
    def model_steps(self) -> tuple[AgentStep, ...]:
        """The steps of kind model."""
        return tuple(step for step in self.steps if step.kind is StepKind.MODEL)

    def walk(self) -> Iterator[AgentRun]:
        """This run and all below it: the run itself first, then each sub-agent's in order of its step."""
        yield self
        for step in self.steps:
            if step.run is not None:
                yield from step.run.walk()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data; `from_dict` gives an equal run back."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentRun:
        """The run that `to_dict` was called on.

        Raises:
            ValueError: `data` is not of that shape; the message says where.
        """
        return _from_dict(cls, data)


for _class in (RunStatus, StepKind, StepError, Usage, Message, AgentStep, AgentRun):
    register_type(_class)  # in arguments and results they come back by themselves


def at_time(unix_ns: int) -> datetime:
    """An aware datetime in UTC for Unix nanoseconds; what lies outside the calendar becomes its nearest end."""
    try:
        return _EPOCH + timedelta(microseconds=unix_ns // 1000)
    except OverflowError:
        return (datetime.max if unix_ns > 0 else datetime.min).replace(tzinfo=timezone.utc)


# ── dictionaries ─────────────────────────────────────────────────────────────────────────────────────────────────────

_VALUE_FIELDS = frozenset(
    {"input", "output", "metadata", "attributes", "user_input", "final_output", "config", "details", "parts", "extra"}
)
_TYPES_KEY = "types"


def _to_dict(item: _Compared) -> dict[str, Any]:
    data: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    for name in item.__struct_fields__:
        value = getattr(item, name)
        if name in _VALUE_FIELDS or _needs_a_tag(value):
            encoded = _encode_parts(value) if name == "parts" else encode(value)
            data[name] = encoded.data
            if encoded.tag is not None:
                tags[name] = encoded.tag
        else:
            data[name] = _plain(value)
    if isinstance(item, AgentStep) and item.kind is StepKind.TOOL:
        data.update(tool_name=data["name"], tool_input=data["input"], tool_output=data["output"])
    if isinstance(item, _Timed):
        data["duration_s"] = item.duration_s
    if tags:
        data[_TYPES_KEY] = tags
    return data


def _needs_a_tag(value: Any) -> bool:
    """Whether it is a text or a number that some readers of JSON would change or refuse."""
    return (type(value) is str and not value.isascii()) or (type(value) is int and value.bit_length() > _INT64_BITS)


def _encode_parts(parts: tuple[dict[str, Any], ...]) -> Encoded:
    return encode(list(parts))


def _plain(value: Any) -> Any:
    if isinstance(value, _Compared):
        return _to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


def _from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    try:
        return msgspec.convert(_restored(data), cls)
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        msg = f"not the data of {cls.__name__}.to_dict(): {error}"
        raise ValueError(msg) from error


def _restored(data: Any) -> Any:
    """The data with its values brought back, nested items too, ready to be converted field by field."""
    tags = data.get(_TYPES_KEY) or {}
    ready = dict(data)
    for name, tag in tags.items():
        ready[name] = restore(data.get(name), tag)
    for name in ("error", "usage", "run"):
        if isinstance(ready.get(name), Mapping):
            ready[name] = _restored(ready[name])
    for name in ("steps", "messages"):
        if isinstance(ready.get(name), list | tuple):
            ready[name] = [_restored(item) for item in ready[name]]
    for name, value_name in (("tool_input", "input"), ("tool_output", "output")):
        if value_name in ready:
            ready.pop(name, None)
    return ready
