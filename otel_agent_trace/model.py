"""Define the classes that users think in: a run of an agent, its steps, their messages, tokens and errors.

These classes know nothing of OpenTelemetry. They are immutable, and equal when they are equal by type and value
(`otel_agent_trace.values.same`).
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.notebooks import Framed, ShownInNotebooks, framed
from otel_agent_trace.values import Truncated, encode, register_type, restore, same

T = TypeVar("T", bound="_Compared")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NS_PER_S = 1_000_000_000
_INT64_BITS = 63
_set = msgspec.structs.force_setattr


class RunStatus(str, enum.Enum):
    """Define how a run ended, or that it has not."""

    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"

    def __str__(self) -> str:
        return self.value


FAILED_STATUSES = (RunStatus.ERROR, RunStatus.TIMEOUT)
"""Statuses of runs that failed; a tuple, in which a status is found by its value as well."""


class StepKind(str, enum.Enum):
    """Define the kinds of steps."""

    TOOL = "tool"
    MODEL = "model"
    AGENT = "agent"
    RETRIEVAL = "retrieval"
    OTHER = "other"

    def __str__(self) -> str:
        return self.value


class _Compared(msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """Provide equality by type and value over all fields except those that describe where a thing was read from."""

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

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_shown(getattr(self, name))}" for name in _fields(type(self)))
        return f"{type(self).__qualname__}({fields})"


def _shown(value: Any) -> str:
    """Return the `repr` of a value; a log or a debugger shows a run also if a number in it has too many digits for one."""
    try:
        return repr(value)
    except ValueError as error:
        return f"<{type(value).__name__}: {error}>"


@functools.cache
def _fields(cls: type[_Compared]) -> tuple[str, ...]:
    """Return the fields of a class, those that it shares with others (`RunFacts`) last."""
    return tuple(sorted(cls.__struct_fields__, key=RunFacts.__struct_fields__.__contains__))


_PROVENANCE = frozenset({"dialect", "interrupted", "recorded_by", "not_recorded"})


class StepError(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """Represent the error of a step or a run.

    `type` is the ``error.type`` of the conventions (a class with its module, a provider's code, or ``_OTHER``);
    `category` one of `otel_agent_trace.categories.CATEGORIES` or a user's own. `exception` is the exception itself, as our
    tracer records it.
    """

    type: str
    message: str = ""
    category: str = "other"
    stacktrace: str | None = None
    exception: RecordedException | None = None

    def __str__(self) -> str:
        if self.type == semconv.ERROR_TYPE_OTHER:  # "no class known" is a word for programs, not for people
            return self.message or "other"
        return f"{self.type}: {self.message}" if self.message else self.type


class RecordedException(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """Represent an exception as it was recorded: everything that an equal one can be built from.

    `classes` are the names of its class and of the bases of that, in the order of resolution, up to the first built-in
    one; all others have their module. `attributes` are those of the instance, among them slots, and what a built-in class
    keeps beside `args`. `cause` is the exception that it was raised from, `members` are those of an exception group. Of
    these and of `attributes` there are at most 32, and exceptions within exceptions are recorded three levels deep.
    """

    classes: tuple[str, ...]
    args: tuple[Any, ...] = ()
    attributes: dict[Any, Any] = {}
    notes: tuple[str, ...] = ()
    cause: RecordedException | None = None
    members: tuple[RecordedException, ...] = ()


class Usage(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """Represent the tokens of a model call or of a whole run; None where they were not reported.

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
        """Return input and output tokens together."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __bool__(self) -> bool:
        return bool(self.details) or any(getattr(self, name) is not None for name in TOKEN_FIELDS)

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of the counts; details of several calls have no sum and are left out."""
        sums: dict[str, Any] = {name: _sum(getattr(self, name), getattr(other, name)) for name in TOKEN_FIELDS}
        return Usage(**sums)


TOKEN_FIELDS = tuple(name for name in Usage.__struct_fields__ if name != "details")


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Message(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """Represent a message to or from a model, in the shape of the GenAI conventions.

    `role` is system, user, assistant, tool or any other of the provider. Each part is a mapping with a ``type``:
    ``text`` and ``reasoning`` (``content``), ``tool_call`` (``id``, ``name``, ``arguments``), ``tool_call_response``
    (``id``, ``response``), ``blob``, ``file``, ``uri`` or any other. `extra` holds further keys of the message.
    """

    role: str
    parts: tuple[dict[Any, Any], ...] = ()
    name: str | None = None
    extra: dict[Any, Any] = {}

    @property
    def text(self) -> str:
        """Return the joined text parts; of one that a limit has cut, what is kept."""
        contents = [part.get("content", "") for part in self.parts if part.get("type") == "text"]
        return "".join(str(item.kept if type(item) is Truncated else item) for item in contents)

    @property
    def tool_calls(self) -> tuple[dict[str, Any], ...]:
        """Return the parts by which this message asks for tool calls."""
        return tuple(part for part in self.parts if part.get("type") == "tool_call")


class LogEntry(_Compared, frozen=True, kw_only=True, eq=False, gc=False):
    """Represent a line of a program's log that was written in a run.

    `at_ns` is Unix nanoseconds, `severity` the name of the level as it was recorded (``WARN`` and ``ERROR`` are those
    of OpenTelemetry), `logger` the name of the logger. `attributes` hold its place in the code, an exception, and what
    the program passed as ``extra``.
    """

    at_ns: int = 0
    severity: str = ""
    body: Any = None
    logger: str | None = None
    attributes: dict[str, Any] = {}

    @property
    def at(self) -> datetime:
        """Return the time as an aware datetime in UTC, truncated to microseconds."""
        return at_time(self.at_ns)


class Score(_Compared, frozen=True, eq=False, gc=False):
    """Represent what a person, a check or a model thought of a run or a step.

    `value` is a number or a bool, `label` a word for it (``pass``, ``relevant``); one of them may be None. `source` is
    who gave it: a kind (``HUMAN``, ``LLM``, ``CODE``) or the name of an evaluator. `at_ns` is Unix nanoseconds.
    """

    name: str = ""
    value: bool | int | float | None = None
    label: str | None = None
    explanation: str | None = None
    source: str | None = None
    at_ns: int = 0

    @property
    def at(self) -> datetime:
        """Return the time as an aware datetime in UTC, truncated to microseconds."""
        return at_time(self.at_ns)


class Facts(msgspec.Struct, kw_only=True, gc=False):
    """Define the fields that `AgentRun`, `AgentStep` and `SpanFacts` share: each is read from one place in a span."""

    error: StepError | None = None
    model: str | None = None
    usage: Usage | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    metadata: dict[Any, Any] = {}
    attributes: dict[str, Any] = {}
    abandoned: bool = False
    interrupted_for: Any = None
    first_chunk_at_ns: int | None = None
    truncated: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()


class RunFacts(Facts, kw_only=True, gc=False):
    """Define the further fields that `AgentRun` and `SpanFacts` share, which only runs have."""

    user_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    config: Any = None
    trace_ids: tuple[str, ...] = ()
    parent_run_id: str | None = None
    continues: str | None = None
    sampling_probability: float | None = None
    replay_of: str | None = None
    interrupted: bool | None = None
    recorded_by: str | None = None


class Timed:
    """Provide start and end as datetimes for what has `started_at_ns` and `ended_at_ns`."""

    __slots__ = ()
    started_at_ns: int
    ended_at_ns: int | None

    @property
    def started_at(self) -> datetime:
        """Return the start as an aware datetime in UTC, truncated to microseconds."""
        return at_time(self.started_at_ns)

    @property
    def ended_at(self) -> datetime | None:
        """Return the end as an aware datetime in UTC, truncated to microseconds; None while it runs."""
        return None if self.ended_at_ns is None else at_time(self.ended_at_ns)

    @property
    def duration_s(self) -> float | None:
        """Return the seconds from start to end; None while it runs."""
        return None if self.ended_at_ns is None else (self.ended_at_ns - self.started_at_ns) / _NS_PER_S


class AgentStep(_Compared, ShownInNotebooks, Timed, Facts, frozen=True, kw_only=True, eq=False, gc=False):  # type: ignore[misc]
    """Represent a step of a run: a call of a tool or of a model, a sub-agent, a retrieval, or something else.

    `input` and `output` are arguments and return value of every kind of step. `messages` are those that a model was
    sent and, last, its answer. `index` counts the steps of the run from 0 in the order of their start. `attributes` are
    those of the span that no other field holds. `prompt_name` and `prompt_version` name the template that a prompt was
    made from. `truncated` lists the paths of values that limits truncated, `redacted` the paths of values in which something was
    masked. `logs` are the lines that the program logged
    within it, `scores` what was thought of it, in the order in which they were given. `interrupted_for` is the value of the signal that ended it (LangGraph's `interrupt`, a deferred call),
    which is no error; None without one. `run` is the sub-agent's own run, for a step of kind agent, which has the logs
    and the scores.

    `chunks` are the items of a stream that also returned a value, which is `output` then; those of any other stream, one
    that failed too, are `output` itself. `input_after` is a dict of the arguments of a tool that may change in place (a
    dict, list, set or bytearray), as they were at the end of the call; None unless one had changed. `returned_as` is what a plain function or a
    coroutine function returned whose work was followed, outermost first: ``coroutine``, ``generator``,
    ``async_generator``, or the class of a task, a client's stream, or another object; it is empty where the result was the
    output itself. `not_recorded` names those of ``input`` and ``output`` that were not recorded; one that is None and is
    not named was None.
    """

    step_id: int | str = 0
    index: int = 0
    kind: StepKind = StepKind.TOOL
    name: str = ""
    input: Any = None
    output: Any = None
    input_after: Any = None
    chunks: Any = None
    returned_as: tuple[str, ...] = ()
    not_recorded: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    logs: tuple[LogEntry, ...] = ()
    scores: tuple[Score, ...] = ()
    started_at_ns: int = 0
    ended_at_ns: int | None = None
    span_id: str | None = None
    parent_step_id: int | str | None = None
    run: AgentRun | None = None

    @property
    def tool_name(self) -> str | None:
        """Return the name of a tool step, None for other kinds."""
        return self.name if self.kind is StepKind.TOOL else None

    @property
    def tool_input(self) -> Any:
        """Return the arguments of a tool step, None for other kinds."""
        return self.input if self.kind is StepKind.TOOL else None

    @property
    def tool_output(self) -> Any:
        """Return the result of a tool step, None for other kinds."""
        return self.output if self.kind is StepKind.TOOL else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable data, from which `from_dict` makes an equal step."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentStep:
        """Return the step that `to_dict` was called on.

        Raises:
            ValueError: `data` has another shape; the message names the place.
        """
        return _from_dict(cls, data)


class AgentRun(_Compared, ShownInNotebooks, Timed, RunFacts, frozen=True, kw_only=True, eq=False, gc=False):  # type: ignore[misc]
    """Represent a run of an agent.

    `steps` is flat and in order; a sub-agent is one step of kind agent whose `run` holds its own steps. `usage` is as
    reported for the whole run, else the sum over its model calls. `session_id` is the conversation the run belongs to.
    `tags` are labels to find it by, `prompt_name` and `prompt_version` name the template that its prompt was made from.
    `resource` holds the attributes of the program that emitted its span (`service_name`, `service_version` and
    `environment` are read from there). `trace_ids` are all the traces that it was joined from, in order of their start;
    where only one is known, that is `trace_id`. For an agent that streams, `abandoned` is whether its consumer closed
    it early, `first_chunk_at_ns` when it yielded its first chunk. `logs` are the lines that the program logged in the
    run, but not in its steps, `scores` what was thought of the run, in the order in which they were given.
    `interrupted_for` is the value of the signal that ended the run, which is no error; None
    without one. `continues` is the id of the run that this one resumes: one that was interrupted until a person answered,
    in the same conversation. `truncated` lists the paths of values that limits truncated, `redacted`
    the paths of values in which something was masked. `interrupted` is, for a running run, whether its process is known to be gone (None where that cannot be
    known), `dialect` the attribute scheme it was read in (several are joined: ``langfuse + genai``),
    `sampling_probability` the probability with which such a run was kept. `recorded_by` is the instrumentation scope that
    recorded it (``otel_agent_trace`` is ours; several are joined, as in `dialect`), None where none is known.
    """

    run_id: str
    agent_name: str | None = None
    user_input: Any = None
    status: RunStatus = RunStatus.RUNNING
    started_at_ns: int = 0
    ended_at_ns: int | None = None
    final_output: Any = None
    steps: tuple[AgentStep, ...] = ()
    logs: tuple[LogEntry, ...] = ()
    scores: tuple[Score, ...] = ()
    trace_id: str | None = None
    trace_ids: tuple[str, ...] = ()
    span_id: str | None = None
    resource: dict[str, Any] = {}
    dialect: str | None = None

    def __post_init__(self) -> None:
        if self.trace_id is not None and len(self.trace_ids) < 2:  # also where another trace id has replaced it
            _set(self, "trace_ids", (self.trace_id,))

    @property
    def service_name(self) -> str | None:
        """Return ``service.name`` of the resource."""
        return _text_among(self.resource, semconv.SERVICE_NAME)

    @property
    def service_version(self) -> str | None:
        """Return ``service.version`` of the resource."""
        return _text_among(self.resource, semconv.SERVICE_VERSION)

    @property
    def environment(self) -> str | None:
        """Return ``deployment.environment.name`` of the resource, or ``deployment.environment``, its older name."""
        return _text_among(self.resource, *semconv.ENVIRONMENTS)

    @property
    def is_lossless(self) -> bool:
        """Return whether our tracer recorded all of it, with the types of values: a tuple is not a list."""
        return self.recorded_by == semconv.SCOPE_NAME

    @property
    def tool_steps(self) -> tuple[AgentStep, ...]:
        """Return the steps of kind tool."""
        return tuple(step for step in self.steps if step.kind is StepKind.TOOL)

    @property
    def model_steps(self) -> tuple[AgentStep, ...]:
        """Return the steps of kind model."""
        return tuple(step for step in self.steps if step.kind is StepKind.MODEL)

    def walk(self) -> Iterator[AgentRun]:
        """Yield this run and all below it: the run itself first, then each sub-agent's in order of its step."""
        pending = [self]
        while pending:
            run = pending.pop()
            yield run
            pending += [step.run for step in reversed(run.steps) if step.run is not None]

    def view(self, *, height_px: int = 600) -> Framed:
        """Return the run as a page that a notebook shows in a frame; it needs no server and reaches no network.

        Args:
            height_px: the height of the frame in pixels.
        """
        return framed(self, height_px)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable data, from which `from_dict` makes an equal run."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentRun:
        """Return the run that `to_dict` was called on.

        Raises:
            ValueError: `data` has another shape; the message names the place.
        """
        return _from_dict(cls, data)


def _text_among(attributes: Mapping[str, Any], *keys: str) -> str | None:
    """Return the first of some attributes that has a value, as text."""
    value = next((attributes[key] for key in keys if attributes.get(key) is not None), None)
    return value if value is None or type(value) is str else str(value)


for _class in (RunStatus, StepKind, RecordedException, StepError, Usage, Message, LogEntry, Score, AgentStep, AgentRun):
    register_type(_class)  # in arguments and results they come back by themselves


def at_time(unix_ns: int) -> datetime:
    """Return Unix nanoseconds as an aware datetime in UTC; a time outside the calendar is moved to its nearest end."""
    try:
        return _EPOCH + timedelta(microseconds=unix_ns // 1000)
    except OverflowError:
        return (datetime.max if unix_ns > 0 else datetime.min).replace(tzinfo=timezone.utc)


# ── dictionaries ─────────────────────────────────────────────────────────────────────────────────────────────────────

_VALUE_FIELDS = frozenset(
    (
        *("input", "output", "metadata", "attributes", "user_input", "final_output", "config", "details", "parts"),
        *("extra", "resource", "body", "interrupted_for", "value", "args", "chunks", "input_after"),
    )
)
_ARRAY_FIELDS = frozenset(
    ("parts", "tags", "redacted", "trace_ids", "truncated", "args", "classes", "notes", "returned_as", "not_recorded")
)
"""Tuples that are arrays in JSON, without a type tag for that."""
_OF_RESOURCES = {
    "service_name": semconv.SERVICE_NAME,
    "service_version": semconv.SERVICE_VERSION,
    "environment": semconv.ENVIRONMENTS[0],
}
_TYPES_KEY = "types"


def _to_dict(item: _Compared) -> dict[str, Any]:
    data: dict[str, Any] = {}
    tags: dict[str, Any] = {}
    for name in _fields(type(item)):
        value = getattr(item, name)
        if name in _VALUE_FIELDS or _needs_a_tag(value):
            encoded = encode(list(value) if name in _ARRAY_FIELDS else value)
            data[name] = encoded.data
            if encoded.tag is not None:
                tags[name] = encoded.tag
        else:
            data[name] = _plain(value)
    if isinstance(item, AgentStep):
        for tool_field, field in _TOOL_FIELDS.items():
            data[tool_field] = data[field] if item.kind is StepKind.TOOL else None
    elif isinstance(item, AgentRun):
        for name in ("service_name", "service_version", "environment"):
            data[name] = encode(getattr(item, name)).data  # for readers of the JSON: from_dict takes the resource
        _leave_out_resources(item, data["steps"])
    if isinstance(item, Timed):
        data["duration_s"] = item.duration_s
    if tags:
        data[_TYPES_KEY] = tags
    return data


_TOOL_FIELDS = {"tool_name": "name", "tool_input": "input", "tool_output": "output"}


def _leave_out_resources(run: AgentRun, steps: list[dict[str, Any]]) -> None:
    """Remove the resource from the dictionaries of sub-agents that have the same as the run around them."""
    for step, data in zip(run.steps, steps, strict=True):
        if step.run is not None and same(step.run.resource, run.resource):
            del data["run"]["resource"]
            if "resource" in (tags := data["run"].get(_TYPES_KEY, {})):
                del tags["resource"]


def _needs_a_tag(value: Any) -> bool:
    """Return whether a value is, or holds, a text or a number that some readers of JSON would change or refuse."""
    if type(value) is tuple:
        return any(map(_needs_a_tag, value))
    return (type(value) is str and not value.isascii()) or (type(value) is int and value.bit_length() > _INT64_BITS)


def _plain(value: Any) -> Any:
    if isinstance(value, _Compared):
        return _to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


def _from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    try:
        return msgspec.convert(_restored(data, cls), cls)
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        msg = f"data does not have the shape of {cls.__name__}.to_dict(): {error}"
        raise ValueError(msg) from error


def _restored(data: Any, cls: type[_Compared]) -> Any:
    """Return the data with its values restored, nested items too, ready to be converted field by field."""
    tags = data.get(_TYPES_KEY) or {}
    ready = dict(data)
    for name, tag in tags.items():
        ready[name] = restore(data.get(name), tag)
    if cls is AgentStep:
        _take_tool_fields(ready)
    elif cls is AgentRun:
        _take_resource(ready)
    for name, nested in _NESTED.items():
        if isinstance(ready.get(name), Mapping):
            ready[name] = _restored(ready[name], nested)
        elif isinstance(ready.get(name), list | tuple):
            ready[name] = [_restored(item, nested) for item in ready[name]]
    return ready


_NESTED: dict[str, type[_Compared]] = {
    "error": StepError,
    "exception": RecordedException,
    "cause": RecordedException,
    "members": RecordedException,
    "usage": Usage,
    "run": AgentRun,
    "steps": AgentStep,
    "messages": Message,
    "logs": LogEntry,
    "scores": Score,
}


def _take_tool_fields(data: dict[str, Any]) -> None:
    """Fill in a tool step's name, input and output from its `tool_*` fields, where only these are given."""
    if data.get("kind", StepKind.TOOL) == StepKind.TOOL:
        for tool_field, field in _TOOL_FIELDS.items():
            if tool_field in data:
                data.setdefault(field, data[tool_field])


def _take_resource(data: dict[str, Any]) -> None:
    """Fill in the resource of a run, and of those below it, from `service_name` and the like, where it is missing."""
    if "resource" not in data:
        known = {key: data[name] for name, key in _OF_RESOURCES.items() if data.get(name) is not None}
        data.update({"resource": known} if known else {})
    steps = data.get("steps")
    if "resource" in data and isinstance(steps, list | tuple):
        data["steps"] = [_with_resource(step, data["resource"]) for step in steps]


def _with_resource(step: Any, resource: Any) -> Any:
    """Return a step whose sub-agent has a resource: its own, else that of the run around it."""
    run = step.get("run")
    return {**step, "run": {"resource": resource, **run}} if isinstance(run, Mapping) else step
