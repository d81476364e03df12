"""Make the row of each run: of scanned spans where a trace is as our own tracer writes it, else of the runs as they are read."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import dialects, semconv
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind
from otel_agent_trace.query import INTERRUPTED, STATUSES, status_of
from otel_agent_trace.runs.assemble import Assembled, assemble
from otel_agent_trace.runs.resume import is_paused, may_be_linked
from otel_agent_trace.runs.stitch import may_be_joined
from otel_agent_trace.sources.index.scan import OwnSpan, Value
from otel_agent_trace.sources.index.schema import Link, joined
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import encode

_TIME_END = 1 << 63
_MOST_AGENTS = 60
_QUESTION_CHARS, _ANSWER_CHARS = 96, 64
_PREVIEWED_BYTES = 4096

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
    """Hold what the index has of a run; names are texts, or several of them `joined`."""

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


def status_numbers(status: str) -> list[int]:
    """Return the numbers of the statuses of rows that match the filter `status`."""
    statuses = [status, INTERRUPTED] if status == RunStatus.RUNNING.value else [status]
    return [_STATUS_NUMBERS[each] for each in statuses]


# ── of scanned spans ─────────────────────────────────────────────────────────────────────────────────────────────────


class _UnusualError(Exception):
    """Indicate a trace that has to be read as a whole."""


def row_of_own(trace_id: str, spans: Sequence[OwnSpan]) -> tuple[RunRow, Link] | None:
    """Return the row of a trace that is one run of our own tracer, complete and usual; None for any other trace."""
    try:
        run = _OwnRun(trace_id, spans)
        for span in spans:
            run.add(span)
        return run.row(len(spans) - 1), run.link
    except (_UnusualError, msgspec.DecodeError, ValueError):
        return None


class _OwnRun:
    """Gather the row of a run from its spans."""

    def __init__(self, trace_id: str, spans: Sequence[OwnSpan]) -> None:
        self._trace_id = trace_id
        self._starts = {span.span_id: span.start_ns for span in spans}
        if len(self._starts) != len(spans):
            raise _UnusualError
        self._root: OwnSpan | None = None
        self._services, self._tools, self._failed_tools, self._models = set[str](), set[str](), set[str](), set[str]()
        self._run_ids: list[str] = []
        self._agents = self._errors = self._tokens = 0
        self._own_tokens: int | None = None
        self._first_step = (_TIME_END, True)
        self._has_model = False
        self.link = Link.NONE

    def add(self, span: OwnSpan) -> None:
        """Add a span.

        Raises:
            _UnusualError: the trace has to be read as a whole.
        """
        attributes = span.attributes
        shape = _shape_of(tuple(attributes))
        if shape.is_unusual or not 0 < span.start_ns <= span.end_ns < _TIME_END:
            raise _UnusualError
        if shape.has_types and any(name in _text(attributes[_TYPES]) for name in _TEXTS):
            raise _UnusualError
        operation = _name_in(attributes, _OPERATION)
        if span.service is not None:
            self._services.add(span.service)
        for key in shape.models:
            self._models.add(_name(attributes[key]))
        used = _tokens_in(attributes) if shape.has_usage else None
        if operation == _AGENT:
            self._add_agent(span, used)
            if not span.parent_id:
                return
        elif operation not in _OPERATIONS and not shape.has_kind:
            raise _UnusualError
        self._add_step(span, operation, used, shape)

    def _add_agent(self, span: OwnSpan, used: int | None) -> None:
        self._agents += 1
        run_id = _text_in(span.attributes, semconv.RUN_ID)
        if run_id is not None and not run_id.startswith(self._trace_id):
            self._run_ids.append(run_id)
        if span.parent_id:
            if used is not None:  # it replaces the tokens of the steps below
                raise _UnusualError
        elif self._root is not None:
            raise _UnusualError
        else:
            self._root, self._own_tokens = span, used

    def _add_step(self, span: OwnSpan, operation: str | None, used: int | None, shape: _Shape) -> None:
        if self._starts.get(span.parent_id, _TIME_END) >= span.start_ns:
            raise _UnusualError
        attributes = span.attributes
        has_error = bool(span.status or shape.has_error) and _has_error(span)
        self._errors += has_error
        is_tool = operation == _TOOL
        self._first_step = min(self._first_step, (span.start_ns, not is_tool))
        if is_tool:
            tool = _name_in(attributes, semconv.TOOL_NAME)
            if tool is None or (shape.has_result and _may_be_pending(attributes[semconv.TOOL_RESULT])):
                raise _UnusualError
            self._tools.add(tool)
            if has_error:
                self._failed_tools.add(tool)
        elif operation in semconv.MODEL_OPERATIONS:
            self._has_model = True
            self._tokens += used or 0
            if shape.has_messages and b"tool_call_response" in _raw(attributes[semconv.INPUT_MESSAGES]):
                self.link = Link.WITH_LINKED
        if shape.has_output and _may_be_pending(attributes[semconv.OUTPUT]):
            raise _UnusualError

    def row(self, steps: int) -> RunRow:
        """Return the row.

        Raises:
            _UnusualError: the trace has to be read as a whole.
        """
        root = self._root
        if root is None or self._agents > _MOST_AGENTS:
            raise _UnusualError
        attributes = root.attributes
        status = _status_of(root)
        if status == RunStatus.SUCCESS.value and self._has_model and semconv.OUTPUT_MESSAGES not in attributes:
            raise _UnusualError  # it may have been interrupted
        session = _text_in(attributes, semconv.CONVERSATION_ID)
        if session is not None and not self._first_step[1]:
            self.link = Link.WITH_LINKED
        user = _text_in(attributes, semconv.ENDUSER_PSEUDO_ID) or _text_in(attributes, semconv.USER_ID)
        tags = _texts_decoder.decode(_text(attributes[semconv.TAGS])) if semconv.TAGS in attributes else []
        probability = attributes.get(semconv.SAMPLING_PROBABILITY)
        return RunRow(
            tuple(self._run_ids),
            root.start_ns,
            root.end_ns,
            _STATUS_NUMBERS[status],
            _name_in(attributes, semconv.AGENT_NAME),
            user,
            session,
            joined(self._services),
            joined(self._tools),
            joined(self._failed_tools),
            joined(self._models),
            joined(tags),
            steps,
            self._errors,
            min(self._tokens if self._own_tokens is None else self._own_tokens, _TIME_END - 1),
            None if probability is None else probability.double_value,
            _preview_of_messages(attributes.get(semconv.INPUT_MESSAGES), _QUESTION_CHARS),
            _preview_of_messages(attributes.get(semconv.OUTPUT_MESSAGES), _ANSWER_CHARS),
        )


def _may_be_pending(value: Value | None) -> bool:
    """Return whether a result may only be a note that the actual one comes later."""
    return b"pending" in _raw(value)


class _Shape(NamedTuple):
    """Hold which attributes a span has, as spans of a kind have the same ones."""

    is_unusual: bool
    has_types: bool
    has_usage: bool
    has_kind: bool
    has_error: bool
    has_result: bool
    has_output: bool
    has_messages: bool
    models: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def _shape_of(names: tuple[str, ...]) -> _Shape:
    return _Shape(
        not _UNUSUAL.isdisjoint(names),
        _TYPES in names,
        not _USAGE.isdisjoint(names),
        semconv.STEP_KIND in names,
        semconv.ERROR_TYPE in names,
        semconv.TOOL_RESULT in names,
        semconv.OUTPUT in names,
        semconv.INPUT_MESSAGES in names,
        tuple([name for name in _MODELS if name in names]),
    )


def _status_of(root: OwnSpan) -> str:
    written = _text_in(root.attributes, semconv.RUN_STATUS)
    if written is not None and written in (RunStatus.TIMEOUT.value, RunStatus.ERROR.value):
        return written
    return str((RunStatus.ERROR if root.status == semconv.STATUS_ERROR else RunStatus.SUCCESS).value)


def _has_error(span: OwnSpan) -> bool:
    error_type = _text_in(span.attributes, semconv.ERROR_TYPE)
    if error_type is None and span.status != semconv.STATUS_ERROR:
        return False
    if error_type in (None, semconv.ERROR_TYPE_OTHER) and not span.has_message:
        raise _UnusualError
    return True


def _tokens_in(attributes: dict[str, Value | None]) -> int:
    total = 0
    for key in _TOKENS:
        value = attributes.get(key)
        if value is not None:
            if value.int_value is None:
                raise _UnusualError
            total += value.int_value
    return total


def _raw(value: Value | None) -> bytes:
    if value is None or value.string_value is None:
        raise _UnusualError
    return bytes(value.string_value)


@functools.lru_cache(maxsize=4096)
def _decoded_name(raw: bytes) -> str:
    text: str = _text_decoder.decode(raw)
    return text


def _name(value: Value | None) -> str:
    """Return a text that many spans have, such as the name of a tool."""
    return _decoded_name(_raw(value))


def _name_in(attributes: dict[str, Value | None], key: str) -> str | None:
    return _name(attributes[key]) if key in attributes else None


def _text(value: Value | None) -> str:
    if value is None or value.string_value is None:
        raise _UnusualError
    text: str = _text_decoder.decode(value.string_value)
    return text


def _text_in(attributes: dict[str, Value | None], key: str) -> str | None:
    return _text(attributes[key]) if key in attributes else None


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    content: Any = None


class _Message(msgspec.Struct, gc=False):
    parts: list[_Part] = []


_messages_decoder = msgspec.json.Decoder(list[_Message])


def _preview_of_messages(value: Value | None, most_chars: int) -> str | None:
    """Return the beginning of the first text in messages, as our tracer writes the question and the answer of a run."""
    if value is None or value.string_value is None:
        return None
    try:
        messages = _messages_decoder.decode(_text(value))
    except msgspec.DecodeError:
        return None
    texts = (part.content for message in messages for part in message.parts if type(part.content) is str)
    return _beginning(next(texts, None), most_chars)


def _beginning(text: str | None, most_chars: int) -> str | None:
    if text is None:
        return None
    line = " ".join(text[:_PREVIEWED_BYTES].split())[:most_chars]
    return line.replace("\0", "").encode("utf-8", "replace").decode()


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
    whole: list[AgentRun | AgentStep] = [*parts, *steps]
    models = [name for each in whole for name in (each.model, each.attributes.get(semconv.REQUEST_MODEL))]
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
        joined(_texts(models)),
        joined(_texts(run.tags)),
        len(steps),
        sum(step.error is not None for step in steps),
        _in_64_bits(run.usage.total_tokens if run.usage else 0),
        run.sampling_probability if type(run.sampling_probability) is float else None,
        _beginning(_as_text(run.user_input), _QUESTION_CHARS),
        _beginning(_as_text(run.final_output), _ANSWER_CHARS),
    )


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else str(msgspec.json.encode(encode(value).data), "utf-8")


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if type(value) is str]


def _in_64_bits(number: int) -> int:
    return min(max(number, -_TIME_END), _TIME_END - 1)
