"""Values, messages, errors and whole run scripts, as users may tell them to the tracer."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import json
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pydantic
from hypothesis import strategies as st

from otel_agent_trace.model import TOKEN_FIELDS, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.values import register_type

UTC = datetime.timezone.utc


# ── classes that the reading program registered ──────────────────────────────────────────────────────────────────────


@register_type
@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@register_type
@dataclasses.dataclass
class Doubled:
    """What its constructor is given is not what it holds."""

    amount: int
    label: str = dataclasses.field(default="", init=False)

    def __post_init__(self) -> None:
        self.amount *= 2
        self.label = f"{self.label}!"


@register_type
class Colour(enum.Enum):
    RED = 1
    PAIR = (1, 2)
    TEXT = "text"


@register_type
class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


@register_type
class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@register_type
class Pair(NamedTuple):
    left: Any
    right: Any = None


@register_type
class City(pydantic.BaseModel):
    name: str
    inhabitants: int | None = None
    founded: datetime.date | None = None
    sister_city: City | None = None


@register_type
class Aliased(pydantic.BaseModel):
    name: str = pydantic.Field(alias="theName")
    inner: Aliased | None = None


@register_type
class Tag(msgspec.Struct):
    key: str
    weight: float = 1.0


class Celsius:
    """Knows nothing of what the library knows."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and repr(self.degrees) == repr(other.degrees)

    def __hash__(self) -> int:
        return hash(repr(self.degrees))


register_type(Celsius, name="celsius", to_data=lambda value: (value.degrees,), from_data=lambda data: Celsius(*data))


@register_type
class Token(str):
    """A text of a class of its own."""

    __slots__ = ()


class Unregistered(NamedTuple):
    left: Any


class OwnError(RuntimeError):
    """An error of the program's own."""


class ProviderError(Exception):
    """An error as the clients of providers raise them."""

    def __init__(self, message: str, code: str, status_code: int) -> None:
        super().__init__(message)
        self.code, self.status_code = code, status_code


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_ODD_TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "x\udc80y",
    "\ud83d\ude00",
    "\\ud800",
    "\\",
    "\u2028\u2029\x85",
    "\x1b[31mred\x1b[0m",
    "\r\n\t",
    "😀é漢",
    "\ufeff",
    "\ufffe\uffff",
    "null",
    "true",
    "1",
    "-0.0",
    "NaN",
    '"quoted"',
    "[]",
    "[1, 2]",
    '{"a": 1}',
    '{"a": ',
    '[{"role": "user", "parts": [{"type": "text", "content": "x"}]}]',
    "Infinity",
    "1e400",
    "hmac:00000000:",
    "a" * 300,
)


def texts(max_size: int = 20) -> st.SearchStrategy[str]:
    """Any text, also one that UTF-8 or JSON make trouble with."""
    return st.one_of(
        st.text(max_size=max_size),
        st.sampled_from(_ODD_TEXTS),
        st.text(alphabet=st.characters(), max_size=max_size),
    )


def plain_texts() -> st.SearchStrategy[str]:
    """Text that UTF-8 can say, not empty."""
    return st.text(min_size=1, max_size=12)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC")


def integers() -> st.SearchStrategy[int]:
    """Integers of every length."""
    long = st.builds(
        lambda sign, digits, rest: sign * (10**digits + rest),
        st.sampled_from((-1, 1)),
        st.sampled_from((18, 19, 40, 639, 640, 1200, 4299, 4300, 4500, 5000)),
        st.integers(0, 2**64),
    )
    edges = st.sampled_from((0, -(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64, 2**53 + 1))
    return st.one_of(st.integers(), edges, long)


def zones() -> st.SearchStrategy[datetime.tzinfo]:
    """Zones by name, and fixed ones, the odd ones too."""
    seconds = st.integers(-86_399, 86_399).map(lambda seconds: datetime.timedelta(seconds=seconds))
    day = datetime.timedelta(microseconds=86_399_999_999)
    offsets = st.one_of(seconds, st.timedeltas(-day, day))
    named = st.builds(datetime.timezone, offsets, texts().filter(lambda name: len(name) <= 256))
    return st.one_of(st.sampled_from(_ZONES).map(zoneinfo.ZoneInfo), offsets.map(datetime.timezone), named)


@st.composite
def datetimes(draw: st.DrawFn) -> datetime.datetime:
    made = draw(st.datetimes(timezones=st.none() | zones()))
    return made.replace(fold=draw(st.sampled_from((0, 1))))


@st.composite
def times(draw: st.DrawFn) -> datetime.time:
    return draw(st.times(timezones=st.none() | zones())).replace(fold=draw(st.sampled_from((0, 1))))


def _paths() -> st.SearchStrategy[pathlib.PurePath]:
    names = st.one_of(
        st.sampled_from(("", ".", "/", "a/b", "/tmp/x y", "C:\\x", "\udcff\udc80", "a/\udcfe.txt")), texts()
    )
    return st.builds(
        lambda kind, name: kind(name),
        st.sampled_from((pathlib.Path, pathlib.PurePosixPath, pathlib.PureWindowsPath)),
        names,
    )


@functools.cache
def hashable_atoms() -> st.SearchStrategy[Any]:
    """Single values that can be keys."""
    return st.deferred(_hashable_atoms)


def _hashable_atoms() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        integers(),
        st.floats(),
        texts(),
        st.binary(max_size=20),
        datetimes(),
        st.dates(),
        times(),
        st.timedeltas(),
        zones(),
        st.decimals(allow_nan=True).filter(lambda number: not number.is_snan()),
        st.uuids(),
        _paths(),
        st.complex_numbers(),
        st.fractions(),
        st.sampled_from((*Colour, *Level, *Rights, Rights.READ | Rights.WRITE)),
        st.builds(Celsius, st.floats()),
        texts().map(Token),
    )


@functools.cache
def atoms() -> st.SearchStrategy[Any]:
    """Single values of every type that has no parts."""
    return st.one_of(
        hashable_atoms(),
        st.binary(max_size=20).map(bytearray),
        st.sampled_from((decimal.Decimal("sNaN"), decimal.Decimal("-0"), decimal.Decimal("1E+30"))),
        st.builds(range, st.integers(-5, 5), integers(), st.sampled_from((-3, -1, 1, 7))),
        st.builds(fractions.Fraction, integers(), st.integers(1, 10**30)),
        st.builds(Doubled, st.integers(-100, 100)),
        st.builds(
            City,
            name=st.text(max_size=5),
            inhabitants=st.none() | st.integers(-(2**80), 2**80),
            founded=st.none() | st.dates(),
        ),
        st.builds(Tag, texts(), st.floats()),
        st.sampled_from((*StepKind, *RunStatus)),
        st.builds(StepError, type=texts(), message=texts(), stacktrace=st.none() | texts()),
        st.builds(Message, role=texts(), parts=st.just(()) | st.just(({"type": "text", "content": "x"},))),
        st.builds(Usage, input_tokens=st.none() | integers()),
    )


@functools.cache
def hashables() -> st.SearchStrategy[Any]:
    """Values that can be keys, nested ones too."""
    return st.deferred(_hashables)


def _hashables() -> st.SearchStrategy[Any]:
    return st.recursive(
        hashable_atoms(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(tuple),
            st.frozensets(inner, max_size=3),
            st.builds(Pair, inner, inner),
            st.builds(Point, inner, inner),
        ),
        max_leaves=4,
    )


def mappings(items: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    """Dictionaries, with keys of all kinds, and with keys that JSON takes for one."""
    colliding = st.lists(
        st.sampled_from((1, "1", "true", True, 1.0, "1.0", None, "null", b"a", "YQ==", "(1,)", (1,), "[1]", "NaN")),
        max_size=6,
        unique_by=lambda key: (type(key), key),
    )
    return st.one_of(
        st.dictionaries(texts(), items, max_size=4),
        st.dictionaries(hashables(), items, max_size=3),
        colliding.flatmap(lambda keys: st.fixed_dictionaries(dict.fromkeys(keys, items))),
    )


@functools.cache
def values(max_leaves: int = 10) -> st.SearchStrategy[Any]:
    """Any value that comes back as itself."""
    return st.recursive(
        atoms(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.lists(inner, max_size=4).map(collections.deque),
            st.sets(hashables(), max_size=4),
            st.frozensets(hashables(), max_size=4),
            mappings(inner),
            st.builds(Point, inner, inner),
            st.builds(Pair, inner, inner),
        ),
        max_leaves=max_leaves,
    )


# ── messages, tokens, errors: what is given, and what should come back ────────────────────────────────────────────────


class Case(NamedTuple):
    """What the tracer is given, and what it means."""

    given: Any
    meant: Any


_BLOCKS = frozenset({"text", "input_text", "output_text", "thinking", "tool_use", "tool_result"})


def parts() -> st.SearchStrategy[dict[str, Any]]:
    """Parts of messages as the conventions have them."""
    inner = values(4)
    return st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(("text", "reasoning")), "content": texts()}),
        st.fixed_dictionaries({"type": st.just("tool_call"), "id": texts(), "name": texts(), "arguments": inner}),
        st.fixed_dictionaries({"type": st.just("tool_call_response"), "id": texts(), "response": inner}),
        st.fixed_dictionaries({"type": st.just("blob"), "content": st.binary(max_size=9), "mime_type": texts()}),
        st.fixed_dictionaries({"type": texts().filter(lambda name: name not in _BLOCKS), "more": inner}),
    )


def _roles() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(("system", "user", "assistant", "tool")), texts())


@st.composite
def messages(draw: st.DrawFn) -> Case:
    """One message in one of the shapes that people hand around."""
    return draw(st.one_of(_model_messages(), _convention_messages(), _openai_messages(), _anthropic_messages()))


@st.composite
def _model_messages(draw: st.DrawFn) -> Case:
    keys = st.one_of(texts(), st.sampled_from(("role", "name", "parts", "content", "tool_calls", "finish_reason")))
    block = st.fixed_dictionaries({"type": st.sampled_from(sorted(_BLOCKS)), "text": texts()})
    message = Message(
        role=draw(_roles()),
        parts=tuple(draw(st.lists(parts() | block | mappings(values(3)), max_size=3))),
        name=draw(st.none() | texts()),
        extra=draw(st.just({}) | st.dictionaries(keys, values(3), max_size=3) | mappings(values(3))),
    )
    return Case(message, message)


def _is_something(value: Any) -> bool:
    return value is not None


@st.composite
def _convention_messages(draw: st.DrawFn) -> Case:
    data: dict[str, Any] = {"role": draw(_roles()), "parts": draw(st.lists(parts(), max_size=3))}
    if draw(st.booleans()):
        data["finish_reason"] = draw(texts())
    extra = {"finish_reason": data["finish_reason"]} if "finish_reason" in data else {}
    return Case(data, Message(role=data["role"], parts=tuple(data["parts"]), extra=extra))


@st.composite
def _openai_messages(draw: st.DrawFn) -> Case:
    content = draw(texts())
    shape = draw(st.sampled_from(("text", "bare", "calls", "result")))
    if shape == "bare":
        return Case(content, _text_message("user", content))
    if shape == "text":
        role = draw(st.sampled_from(("system", "user", "assistant", "developer")))
        return Case({"role": role, "content": content}, _text_message(role, content))
    called = draw(texts())
    if shape == "result":
        part: dict[str, Any] = {"type": "tool_call_response", "id": called, "response": content}
        return Case({"role": "tool", "tool_call_id": called, "content": content}, Message(role="tool", parts=(part,)))
    arguments = draw(st.dictionaries(st.text(max_size=5), st.integers(-9, 9), max_size=2))
    call = {"id": called, "type": "function", "function": {"name": "f", "arguments": json.dumps(arguments)}}
    part = {"type": "tool_call", "id": called, "name": "f", "arguments": arguments}
    return Case({"role": "assistant", "content": None, "tool_calls": [call]}, Message(role="assistant", parts=(part,)))


@st.composite
def _anthropic_messages(draw: st.DrawFn) -> Case:
    content, arguments = draw(texts()), draw(values(3))
    blocks = [
        {"type": "text", "text": content},
        {"type": "thinking", "thinking": content},
        {"type": "tool_use", "id": "t1", "name": "f", "input": arguments},
        {"type": "tool_result", "tool_use_id": "t1", "content": arguments},
    ]
    meant = (
        {"type": "text", "content": content},
        {"type": "reasoning", "content": content},
        {"type": "tool_call", "id": "t1", "name": "f", "arguments": arguments},
        {"type": "tool_call_response", "id": "t1", "response": arguments},
    )
    return Case({"role": "assistant", "content": blocks}, Message(role="assistant", parts=meant))


def _text_message(role: str, content: str) -> Message:
    return Message(role=role, parts=({"type": "text", "content": content},))


def conversations() -> st.SearchStrategy[Case]:
    """Lists of messages, or none."""
    several = st.lists(messages(), min_size=1, max_size=4)
    return st.one_of(
        st.just(Case(None, ())),
        several.map(lambda items: Case([item.given for item in items], tuple(item.meant for item in items))),
    )


def _counts() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 10_000), st.integers(0, 2**63 - 1), st.integers(0, 2**90))


def _has_more_cached_than_input(counts: dict[str, int]) -> bool:
    """Whether cached tokens can be no part of the input, so that a mapping would be taken for Anthropic's."""
    cached = counts.get("cache_read_input_tokens", 0) + counts.get("cache_write_input_tokens", 0)
    return cached > counts.get("input_tokens", cached)


@st.composite
def usages(draw: st.DrawFn) -> Case:
    """Token counts under the names of the model or of OpenAI, or none."""
    shape = draw(st.sampled_from(("none", "empty", "object", "mapping", "openai")))
    if shape in ("none", "empty"):
        return Case({} if shape == "empty" else None, None)
    if shape == "openai":
        given, answered = draw(_counts()), draw(_counts())
        data = {"prompt_tokens": given, "completion_tokens": answered, "total_tokens": given + answered}
        return Case(data, Usage(input_tokens=given, output_tokens=answered))
    counts = draw(st.fixed_dictionaries({}, optional={name: _counts() for name in TOKEN_FIELDS}))
    details = draw(st.dictionaries(plain_texts().map("x-{}".format), values(3).filter(_is_something), max_size=2))
    usage = Usage(**counts, details=details)
    meant = usage if counts or details else None
    is_object = shape == "object" or _has_more_cached_than_input(counts)
    return Case(usage if is_object and meant is not None else {**counts, **details}, meant)


class ErrorCase(NamedTuple):
    """An error as it is given, and what should come back of it; the stack where that was given as well."""

    given: Any
    type: str
    message: str
    category: str
    stacktrace: str | None = None


_CLASSES: tuple[tuple[Callable[[str], BaseException], str, str], ...] = (
    (ValueError, "ValueError", "validation"),
    (RuntimeError, "RuntimeError", "internal"),
    (TimeoutError, "TimeoutError", "timeout"),
    (ConnectionResetError, "ConnectionResetError", "network"),
    (OwnError, f"{OwnError.__module__}.OwnError", "internal"),
    (asyncio.CancelledError, "asyncio.exceptions.CancelledError", "cancelled"),
    (lambda text: ProviderError(text, "rate_limit_exceeded", 429), "rate_limit_exceeded", "rate_limit"),
)


def exceptions() -> st.SearchStrategy[ErrorCase]:
    """Exceptions that a step or a run may raise."""
    return st.builds(
        lambda row, text: ErrorCase(row[0](text), row[1], text, row[2]), st.sampled_from(_CLASSES), texts()
    )


def errors() -> st.SearchStrategy[ErrorCase | None]:
    """Errors as callers give them: none, an exception, a text, a description."""
    texts_alone = texts().map(lambda text: ErrorCase(text, "_OTHER", text, "other"))
    described = st.builds(
        lambda kind, message, category, stack: ErrorCase(
            StepError(type=kind, message=message, category=category, stacktrace=stack), kind, message, category, stack
        ),
        texts().filter(bool),
        texts(),
        texts().filter(bool),
        st.none() | texts(),
    )
    return st.one_of(st.none(), exceptions(), texts_alone, described)


# ── attributes and metadata ──────────────────────────────────────────────────────────────────────────────────────────

_MEANING = ("gen_ai.", "agent_trace.", "error.", "user.", "enduser.")
_ODD_KEYS = (
    "",
    "error",
    "span.kind",
    "service.name",
    "agent_trace.attribute.mine",
    "agent_trace.attribute.",
    "gen_ai.response.id",
    "gen_ai.request.temperature",
    "gen_ai.operation.name",
    "agent_trace.types",
    "agent_trace.truncated",
    "agent_trace.run.id",
    "agent_trace.run.parent_id",
    "agent_trace.step.id",
    "agent_trace.step.index",
    "agent_trace.step.kind",
    "agent_trace.input",
    "agent_trace.metadata",
    "agent_trace.something.else",
    "name",
    "a.b[0]",
)


def attributes() -> st.SearchStrategy[dict[str, Any]]:
    """Span attributes of the user's own."""
    keys = st.one_of(st.sampled_from(_ODD_KEYS), st.text(max_size=8).filter(lambda key: not key.startswith(_MEANING)))
    return st.dictionaries(keys, values(4), max_size=3)


def metadatas() -> st.SearchStrategy[dict[Any, Any]]:
    """Metadata with keys and values of all kinds."""
    return st.one_of(st.just({}), mappings(values(4)))


def unknown_fields() -> st.SearchStrategy[dict[str, Any]]:
    """Keys that no field is called."""
    return st.dictionaries(plain_texts().map("x-{}".format), values(4).filter(_is_something), max_size=2)


# ── scripts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Step:
    """A step that is logged, or that a block is around."""

    how: str  # logged, block, model
    fields: dict[str, Any]
    kind: StepKind
    name: str | None
    input: Any
    output: Any
    error: ErrorCase | None
    messages: Case
    model: str | None
    usage: Case
    prompt: dict[str, str]
    metadata: dict[Any, Any]
    unknown: dict[str, Any]
    attributes: dict[str, Any]
    step_id: int | str | None
    parent_of_last: int | None
    when: tuple[int, int] | None
    time_form: str
    raises: bool
    inside: list[Step | Run]


@dataclasses.dataclass
class Run:
    """A run, what happens in it, and how it ends."""

    how: str  # imperative, block
    fields: dict[str, Any]
    metadata: dict[Any, Any]
    unknown: dict[str, Any]
    attributes: dict[str, Any]
    changed: dict[str, Any]
    events: list[Step | Run]
    final_output: Any
    status: str | None
    usage: Case
    error: ErrorCase | None
    raises: bool


_YEARS_2000_TO_2200 = (946_684_800, 7_258_118_400)


@st.composite
def _whens(draw: st.DrawFn) -> tuple[int, int]:
    """Start and end, in microseconds."""
    few = st.integers(0, 3).map(lambda number: 1_700_000_000_000_000 + number)
    any_time = st.integers(*(second * 1_000_000 for second in _YEARS_2000_TO_2200))
    return draw(few | any_time), draw(few | any_time)


def prompts() -> st.SearchStrategy[dict[str, str]]:
    """Name and version of a prompt, either or none."""
    return st.fixed_dictionaries({}, optional={"prompt_name": texts(), "prompt_version": texts()})


def tags() -> st.SearchStrategy[list[str]]:
    """Words to find a run by."""
    return st.lists(texts(), max_size=3)


def _step_ids() -> st.SearchStrategy[int | str | None]:
    return st.one_of(st.none(), st.none(), st.integers(-2, 5), integers(), texts())


@st.composite
def steps(draw: st.DrawFn, how: str, depth: int) -> Step:
    """A step of any kind; inside of a block there may be others."""
    kind = StepKind.MODEL if how == "model" else draw(st.sampled_from(StepKind))
    inside: list[Step | Run] = []
    if how != "logged" and depth > 0:
        inside = draw(st.lists(_block_events(depth - 1), max_size=2))
    error = draw(st.none() | (errors() if how == "logged" else exceptions()))
    return Step(
        how=how,
        fields={},
        kind=kind,
        name=draw(st.none() | texts()) if how != "block" else draw(texts()),
        input=draw(values(6)),
        output=draw(st.one_of(texts(), values(6))),
        error=error,
        messages=draw(conversations()),
        model=draw(st.none() | texts()),
        usage=draw(usages()),
        prompt=draw(prompts()),
        metadata=draw(metadatas()),
        unknown=draw(unknown_fields()) if how == "logged" else {},
        attributes=draw(attributes()) if how != "logged" else {},
        step_id=draw(_step_ids()),
        parent_of_last=draw(st.none() | st.integers(0, 3)) if how == "logged" else None,
        when=draw(st.none() | _whens()) if how == "logged" else None,
        time_form=draw(st.sampled_from(("datetime", "zone", "duration"))),
        raises=draw(st.booleans()),
        inside=inside,
    )


def _block_events(depth: int) -> st.SearchStrategy[Step | Run]:
    steps_here = [steps("logged", 0), steps("block", depth), steps("model", depth)]
    return st.one_of(*steps_here, *([runs("block", depth)] if depth > 0 else []))


@st.composite
def runs(draw: st.DrawFn, how: str | None = None, depth: int = 2) -> Run:
    """A whole run."""
    how = how or draw(st.sampled_from(("imperative", "block")))
    fields = {
        "user_input": st.one_of(texts(), values(6)),
        "model": texts(),
        "agent_name": texts(),
        "user_id": st.one_of(texts(), st.integers(), st.just("hmac:01234567:" + "0" * 64)),
        "session_id": st.one_of(texts(), st.integers()),
        "config": values(6),
        "tags": tags(),
        "prompt_name": texts(),
        "prompt_version": texts(),
        "run_id": st.builds(lambda text, unique: f"{text}{unique.hex}", texts(), st.uuids(version=4)),
    }
    changed = {
        "user_input": st.one_of(texts(), values(6)),
        "config": values(6),
        "session_id": texts(),
        "model": texts(),
        "user_id": texts(),
        "tags": tags(),
        "prompt_name": st.none() | texts(),
        "prompt_version": texts(),
        "metadata": metadatas(),
    }
    events = steps("logged", 0) if how == "imperative" else _block_events(depth)
    given = draw(st.fixed_dictionaries({}, optional=fields))
    return Run(
        how=how,
        fields={name: value for name, value in given.items() if value is not None},
        metadata=draw(metadatas()),
        unknown=draw(unknown_fields()),
        attributes=draw(attributes()) if how == "block" else {},
        changed=draw(st.just({}) | st.fixed_dictionaries({}, optional=changed)) if how == "block" else {},
        events=draw(st.lists(events, max_size=4)),
        final_output=draw(st.one_of(texts(), values(6))),
        status=draw(st.sampled_from((None, None, "success", "error", "timeout"))),
        usage=draw(usages()),
        error=draw(st.none() | (errors() if how == "imperative" else exceptions())),
        raises=draw(st.booleans()),
    )


def new_id() -> str:
    """An id that no other example has."""
    return uuid.uuid4().hex
