"""Make the row of each run: of scanned spans where a trace is as our own tracer writes it, else of runs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import dialects, semconv
from otel_agent_trace.model import FAILED_STATUSES, AgentRun, RunStatus, StepKind
from otel_agent_trace.query import INTERRUPTED, STATUSES, models_in, status_of
from otel_agent_trace.runs.assemble import Assembled, assemble
from otel_agent_trace.runs.resume import is_paused, may_be_linked
from otel_agent_trace.runs.stitch import may_be_joined
from otel_agent_trace.sampling import probability_in
from otel_agent_trace.sources.index.scan import OwnSpan, Pair
from otel_agent_trace.sources.index.schema import UNKNOWN, Link, is_storable, joined
from otel_agent_trace.span import SpanRecord

_TIME_END = 1 << 63
_MOST_AGENTS = 60
_QUESTION_CHARS, _ANSWER_CHARS = 96, 64
_PREVIEWED_CHARS = 1600
_MOST_NAMES, _MOST_NAME_BYTES = 4096, 256
_SPAN_ID = re.compile("(?!0{16})[0-9a-f]{16}")

_OPERATION, _TYPES = semconv.OPERATION_NAME, semconv.TYPES
_AGENT, _TOOL = semconv.OPERATION_INVOKE_AGENT, semconv.OPERATION_EXECUTE_TOOL
_OPERATIONS = frozenset({_AGENT, _TOOL, semconv.OPERATION_RETRIEVAL, *semconv.MODEL_OPERATIONS})
_MODELS = (semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
_TOKENS = (semconv.USAGE["input_tokens"], semconv.USAGE["output_tokens"])
_USAGE = frozenset((*semconv.USAGE.values(), semconv.USAGE_DETAILS))
_UNUSUAL = frozenset(
    {semconv.INTERRUPTED_FOR, semconv.INTERRUPTED, semconv.RUN_TRACE_IDS, semconv.USAGE_DETAILS, semconv.RUN_PARENT_ID}
)
_TEXTS = frozenset(
    {
        semconv.RUN_ID,
        semconv.AGENT_NAME,
        semconv.TOOL_NAME,
        semconv.CONVERSATION_ID,
        semconv.ENDUSER_PSEUDO_ID,
        semconv.USER_ID,
        semconv.TAGS,
        semconv.REQUEST_MODEL,
        semconv.RESPONSE_MODEL,
        semconv.ERROR_TYPE,
        *_USAGE,
    }
)
_STATUS_NUMBERS = {status: number for number, status in enumerate(STATUSES)}
_text_decoder = msgspec.json.Decoder(str)
_texts_decoder = msgspec.json.Decoder(list[str])


class RunRow(NamedTuple):
    """Hold what the index has of a run; names are texts, or several of them `joined`.

    `run_id` is None where it is the id of the trace; `question` and `answer` are the beginnings of texts, and `UNKNOWN`
    where they are none.
    """

    run_ids: tuple[str, ...]
    start_ns: int
    end_ns: int | None
    status: int
    agent: str | None
    user: str | None
    session: str | None
    services: str | None
    tools: str | None
    failed_tools: str | None
    models: str | None
    tags: str | None
    steps: int
    errors: int
    tokens: int
    probability: float | None
    question: str | None
    answer: str | None
    run_id: str | None


def status_numbers(status: str) -> list[int]:
    """Return the numbers of the statuses of rows that match the filter `status`."""
    statuses = [status, INTERRUPTED] if status == RunStatus.RUNNING.value else [status]
    return [_STATUS_NUMBERS[each] for each in statuses]


# ── of scanned spans ─────────────────────────────────────────────────────────────────────────────────────────────────


class _UnusualError(Exception):
    """Indicate a trace that has to be read as a whole."""


class OwnRun:
    """Gather the row of a trace that is one run of our own tracer, complete and usual, from its spans.

    Args:
        trace_id: the id of the trace.
    """

    def __init__(self, trace_id: str) -> None:
        self.is_unusual = False
        self._trace_id = trace_id
        self._starts: dict[str, int] = {}
        self._parents: list[tuple[str, int]] = []
        self._root: _Root | None = None
        self._services, self._tools, self._failed_tools, self._models = set[str](), set[str](), set[str](), set[str]()
        self._run_ids: list[str] = []
        self._agents = self._errors = self._tokens = 0
        self._first_step = _TIME_END, True
        self._has_model = self._has_tool_result = False

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, span: OwnSpan) -> None:
        """Add a span, unless the trace has to be read as a whole, which `is_unusual` is."""
        if not self.is_unusual:
            try:
                self._add(span)
            except (_UnusualError, msgspec.DecodeError, ValueError):
                self.is_unusual = True

    def _add(self, span: OwnSpan) -> None:
        attributes, span_id, start_ns = span.attributes, span.span_id, span.start_time_unix_nano
        shape = _shape_of(tuple([pair.key for pair in attributes]))
        if shape.is_unusual or not 0 < start_ns <= span.end_time_unix_nano < _TIME_END:
            raise _UnusualError
        if span_id in self._starts or not _SPAN_ID.fullmatch(span_id):
            raise _UnusualError
        self._starts[span_id] = start_ns
        types = _text_in(span, shape, _TYPES)
        if types is not None and any(name in types for name in _TEXTS):
            raise _UnusualError
        operation = None if shape.operation is None else _names[bytes(attributes[shape.operation].value.string_value)]
        if span.service is not None:
            self._services.add(span.service)
        for place in shape.models:
            self._models.add(_names[bytes(attributes[place].value.string_value)])
        used = _tokens_in(span, shape) if shape.has_usage else None
        if operation == _AGENT:
            self._add_agent(span, shape, used)
            if not span.parent_span_id:
                return
        elif operation not in _OPERATIONS and not shape.has_kind:
            raise _UnusualError
        self._parents.append((span.parent_span_id, start_ns))
        self._add_step(span, operation, used, shape)

    def _add_agent(self, span: OwnSpan, shape: _Shape, used: int | None) -> None:
        self._agents += 1
        run_id = _text_in(span, shape, semconv.RUN_ID)
        if run_id is not None and not run_id.startswith(self._trace_id):
            self._run_ids.append(run_id)
        if span.parent_span_id:
            if used is not None:  # it replaces the tokens of the steps below
                raise _UnusualError
        elif self._root is not None:
            raise _UnusualError
        else:
            self._root = _root_of(span, shape, used, run_id)

    def _add_step(self, span: OwnSpan, operation: str | None, used: int | None, shape: _Shape) -> None:
        has_error = (span.status is not None or semconv.ERROR_TYPE in shape.places) and _has_error(span, shape)
        self._errors += has_error
        is_tool = operation == _TOOL
        if span.start_time_unix_nano <= self._first_step[0]:
            self._first_step = min(self._first_step, (span.start_time_unix_nano, not is_tool))
        if is_tool:
            tool = _name_in(span, shape, semconv.TOOL_NAME)
            if tool is None:
                raise _UnusualError
            self._tools.add(tool)
            if has_error:
                self._failed_tools.add(tool)
        elif operation in semconv.MODEL_OPERATIONS:
            self._has_model = True
            self._tokens += used or 0
            if shape.messages is not None and _has_word(span.attributes[shape.messages], b"tool_call_response"):
                self._has_tool_result = True
        for place in shape.tool_results if is_tool else shape.results:
            if _has_word(span.attributes[place], b"pending"):  # it may only be a note that the actual one comes later
                raise _UnusualError

    def row(self) -> tuple[RunRow, Link] | None:
        """Return the row, and how the trace is linked with others; None where it has to be read as a whole."""
        root = self._root
        if self.is_unusual or root is None or self._agents > _MOST_AGENTS:
            return None
        if root.status == RunStatus.SUCCESS.value and self._has_model and not root.has_output:
            return None  # it may have been interrupted
        if any(self._starts.get(parent_id, _TIME_END) >= start_ns for parent_id, start_ns in self._parents):
            return None
        may_resume = self._has_tool_result or (root.session is not None and not self._first_step[1])
        row = RunRow(
            tuple(self._run_ids),
            root.start_ns,
            root.end_ns,
            _STATUS_NUMBERS[root.status],
            root.agent,
            root.user,
            root.session,
            joined(self._services),
            joined(self._tools),
            joined(self._failed_tools),
            joined(self._models),
            root.tags,
            len(self._starts) - 1,
            self._errors,
            min(self._tokens if root.tokens is None else root.tokens, _TIME_END - 1),
            root.probability,
            root.question,
            root.answer,
            None if root.run_id == self._trace_id else root.run_id,
        )
        return row, Link.WITH_LINKED if may_resume else Link.NONE


class _Root(NamedTuple):
    """Hold what the root has of the row."""

    start_ns: int
    end_ns: int
    status: str
    agent: str | None
    user: str | None
    session: str | None
    tags: str | None
    tokens: int | None
    probability: float | None
    question: str | None
    answer: str | None
    run_id: str | None
    has_output: bool


def _root_of(span: OwnSpan, shape: _Shape, used: int | None, run_id: str | None) -> _Root:
    tags = _text_in(span, shape, semconv.TAGS)
    return _Root(
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _status_of(span, shape),
        _name_in(span, shape, semconv.AGENT_NAME),
        _text_in(span, shape, semconv.ENDUSER_PSEUDO_ID) or _text_in(span, shape, semconv.USER_ID),
        _text_in(span, shape, semconv.CONVERSATION_ID),
        None if tags is None else joined(_texts_decoder.decode(tags)),
        used,
        probability_in(span.trace_state, _number_in(span, shape, semconv.SAMPLING_PROBABILITY)),
        _preview_of_messages(span, shape, semconv.INPUT_MESSAGES, _QUESTION_CHARS),
        _preview_of_messages(span, shape, semconv.OUTPUT_MESSAGES, _ANSWER_CHARS),
        run_id,
        semconv.OUTPUT_MESSAGES in shape.places,
    )


class _Shape(NamedTuple):
    """Hold which attributes a span has and where, as spans of a kind have the same ones."""

    is_unusual: bool
    has_usage: bool
    has_kind: bool
    operation: int | None
    messages: int | None
    models: tuple[int, ...]
    results: tuple[int, ...]
    tool_results: tuple[int, ...]
    places: dict[str, int]


@functools.lru_cache(maxsize=1024)
def _shape_of(keys: tuple[str, ...]) -> _Shape:
    places = {name: place for place, name in enumerate(keys)}
    return _Shape(
        len(places) < len(keys) or not _UNUSUAL.isdisjoint(places),
        not _USAGE.isdisjoint(places),
        semconv.STEP_KIND in places,
        places.get(_OPERATION),
        places.get(semconv.INPUT_MESSAGES),
        tuple([places[key] for key in _MODELS if key in places]),
        tuple([places[key] for key in (semconv.OUTPUT,) if key in places]),
        tuple([places[key] for key in (semconv.OUTPUT, semconv.TOOL_RESULT) if key in places]),
        places,
    )


def _status_of(root: OwnSpan, shape: _Shape) -> str:
    written = _text_in(root, shape, semconv.RUN_STATUS)
    if written is not None and written in FAILED_STATUSES:
        return written
    is_error = root.status is not None and root.status.code == semconv.STATUS_ERROR
    return str((RunStatus.ERROR if is_error else RunStatus.SUCCESS).value)


def _has_error(span: OwnSpan, shape: _Shape) -> bool:
    error_type, status = _text_in(span, shape, semconv.ERROR_TYPE), span.status
    if error_type is None and (status is None or status.code != semconv.STATUS_ERROR):
        return False
    if error_type in (None, semconv.ERROR_TYPE_OTHER) and not (status is not None and status.message):
        raise _UnusualError
    return True


def _tokens_in(span: OwnSpan, shape: _Shape) -> int:
    total = 0
    for key in _TOKENS:
        if key in shape.places:
            number = span.attributes[shape.places[key]].value.int_value
            if number is None:
                raise _UnusualError
            total += number
    return total


def _number_in(span: OwnSpan, shape: _Shape, key: str) -> float | None:
    place = shape.places.get(key)
    if place is None:
        return None
    value = span.attributes[place].value
    number = value.int_value if value.double_value is None else value.double_value
    if number is None:  # it may be a text
        raise _UnusualError
    return float(number)


def _has_word(pair: Pair, word: bytes) -> bool:
    raw = bytes(pair.value.string_value)
    if not raw:  # no text
        raise _UnusualError
    return word in raw


class _Names(dict[bytes, str]):
    """Map the JSON of texts that many spans have, such as names of tools, to the texts."""

    def __missing__(self, raw: bytes) -> str:
        """Decode a text."""
        text: str = _text_decoder.decode(raw)
        if len(self) >= _MOST_NAMES:
            self.clear()
        if len(raw) <= _MOST_NAME_BYTES:
            self[raw] = text
        return text


_names = _Names()


def _name_in(span: OwnSpan, shape: _Shape, key: str) -> str | None:
    place = shape.places.get(key)
    return None if place is None else _names[bytes(span.attributes[place].value.string_value)]


def _text_in(span: OwnSpan, shape: _Shape, key: str) -> str | None:
    place = shape.places.get(key)
    if place is None:
        return None
    text: str = _text_decoder.decode(span.attributes[place].value.string_value)
    return text


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    content: Any = None


class _Message(msgspec.Struct, gc=False):
    parts: list[_Part] = []


_messages_decoder = msgspec.json.Decoder(list[_Message])


def _preview_of_messages(span: OwnSpan, shape: _Shape, key: str, most_chars: int) -> str | None:
    """Return the beginning of the only text in messages, as our tracer writes the question and the answer of a run."""
    place = shape.places.get(key)
    if place is None:
        return None
    if _TYPES in shape.places and key in (_text_in(span, shape, _TYPES) or ""):
        return UNKNOWN  # it is no text
    try:
        messages = _messages_decoder.decode(_text_decoder.decode(span.attributes[place].value.string_value))
    except msgspec.DecodeError:
        return UNKNOWN
    contents = [part.content for message in messages for part in message.parts]
    return _preview(contents[0] if len(contents) == 1 else contents, most_chars)


def _preview(value: Any, most_chars: int) -> str | None:
    """Return the beginning of a text on one line, as lists show it; `UNKNOWN` of what is not kept as it is."""
    if value is None:
        return None
    if not isinstance(value, str):
        return UNKNOWN
    head = value[: most_chars + 1]
    if not (head.isprintable() and "  " not in head and head == head.strip()):
        head = " ".join(value[:_PREVIEWED_CHARS].split())
    line = head if len(head) <= most_chars else head[: most_chars - 1].rstrip() + "…"
    return line if is_storable(line) else UNKNOWN


# ── of whole spans ───────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of(spans: Sequence[SpanRecord]) -> tuple[list[RunRow], Link]:
    """Return a row for each outermost run in a trace, and how the trace is linked with others."""
    runs = assemble(spans)
    whole = tuple(spans)
    is_linked = may_be_joined(spans, runs) or any(map(is_paused, runs))
    link = Link.NONE
    if is_linked:
        link = Link.LINKED
    elif not dialects.is_ours(spans[0]) or any(may_be_linked(Assembled(run, whole)) for run in runs):
        link = Link.WITH_LINKED
    return [_row_of(run, spans) for run in runs], link


def _row_of(run: AgentRun, spans: Sequence[SpanRecord]) -> RunRow:
    parts = [*run.walk()]
    steps = [step for part in parts for step in part.steps]
    tools = [step for step in steps if step.kind is StepKind.TOOL]
    services = [part.service_name for part in parts]
    services += [span.resource.attributes.get(semconv.SERVICE_NAME) for span in spans]
    trace_id = spans[0].trace_id
    ids = (*(part.run_id for part in parts), *run.trace_ids)
    return RunRow(
        tuple([known for known in ids if not known.startswith(trace_id)]),
        _in_64_bits(run.started_at_ns),
        None if run.ended_at_ns is None else _in_64_bits(run.ended_at_ns),
        _STATUS_NUMBERS[status_of(run)],
        run.agent_name,
        run.user_id,
        run.session_id,
        joined(_texts(services)),
        joined(_texts(tool.name for tool in tools)),
        joined(_texts(tool.name for tool in tools if tool.error is not None)),
        joined(models_in(run)),
        joined(_texts(run.tags)),
        len(steps),
        sum(step.error is not None for step in steps),
        _in_64_bits(run.usage.total_tokens if run.usage else 0),
        run.sampling_probability if type(run.sampling_probability) is float else None,
        _preview(run.user_input, _QUESTION_CHARS),
        _preview(run.final_output, _ANSWER_CHARS),
        None if run.run_id == trace_id else run.run_id,
    )


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if type(value) is str]


def _in_64_bits(number: int) -> int:
    return min(max(number, -_TIME_END), _TIME_END - 1)
