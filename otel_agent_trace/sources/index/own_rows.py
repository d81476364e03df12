"""Make the row of a run from its scanned spans, where its trace is as our own tracer writes it."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import RunStatus
from otel_agent_trace.sampling import probability_in
from otel_agent_trace.sources.index.own_attributes import (
    USAGE,
    Shape,
    WholeTraceError,
    decoded_names,
    has_word,
    shape_of,
)
from otel_agent_trace.sources.index.rows import ANSWER_CHARS, QUESTION_CHARS, STATUS_NUMBERS, TIME_END, RunRow
from otel_agent_trace.sources.index.scan import OwnSpan
from otel_agent_trace.sources.index.schema import Link, joined

_MOST_AGENTS = 60
_SPAN_ID = re.compile("(?!0{16})[0-9a-f]{16}")
_AGENT, _TOOL = semconv.OPERATION_INVOKE_AGENT, semconv.OPERATION_EXECUTE_TOOL
_OPERATIONS = frozenset({_AGENT, _TOOL, semconv.OPERATION_RETRIEVAL, *semconv.MODEL_OPERATIONS})
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
        *USAGE,
    }
)
_texts_decoder = msgspec.json.Decoder(list[str])


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
        self._first_step = TIME_END, True
        self._has_model = self._has_tool_result = False

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, span: OwnSpan) -> None:
        """Add a span, unless the trace has to be read as a whole, which `is_unusual` is."""
        if not self.is_unusual:
            try:
                self._add(span)
            except (WholeTraceError, msgspec.DecodeError, ValueError):
                self.is_unusual = True

    def _add(self, span: OwnSpan) -> None:
        attributes, span_id, start_ns = span.attributes, span.span_id, span.start_time_unix_nano
        shape = shape_of(tuple([pair.key for pair in attributes]))
        if shape.is_unusual or not 0 < start_ns <= span.end_time_unix_nano < TIME_END:
            raise WholeTraceError
        if span_id in self._starts or not _SPAN_ID.fullmatch(span_id):
            raise WholeTraceError
        self._starts[span_id] = start_ns
        types = shape.text(span, semconv.TYPES)
        if types is not None and any(name in types for name in _TEXTS):
            raise WholeTraceError
        operation = shape.name(span, semconv.OPERATION_NAME)
        if span.service is not None:
            self._services.add(span.service)
        for place in shape.models:
            self._models.add(decoded_names[bytes(attributes[place].value.string_value)])
        used = shape.tokens(span) if shape.has_usage else None
        if operation == _AGENT:
            self._add_agent(span, shape, used)
            if not span.parent_span_id:
                return
        elif operation not in _OPERATIONS and not shape.has_kind:
            raise WholeTraceError
        self._parents.append((span.parent_span_id, start_ns))
        self._add_step(span, operation, used, shape)

    def _add_agent(self, span: OwnSpan, shape: Shape, used: int | None) -> None:
        self._agents += 1
        run_id = shape.text(span, semconv.RUN_ID)
        if run_id is not None and not run_id.startswith(self._trace_id):
            self._run_ids.append(run_id)
        if span.parent_span_id:
            if used is not None:  # it replaces the tokens of the steps below
                raise WholeTraceError
        elif self._root is not None:
            raise WholeTraceError
        else:
            self._root = _root_of(span, shape, used, run_id)

    def _add_step(self, span: OwnSpan, operation: str | None, used: int | None, shape: Shape) -> None:
        has_error = (span.status is not None or semconv.ERROR_TYPE in shape.places) and shape.has_error(span)
        self._errors += has_error
        is_tool = operation == _TOOL
        if span.start_time_unix_nano <= self._first_step[0]:
            self._first_step = min(self._first_step, (span.start_time_unix_nano, not is_tool))
        if is_tool:
            tool = shape.name(span, semconv.TOOL_NAME)
            if tool is None:
                raise WholeTraceError
            self._tools.add(tool)
            if has_error:
                self._failed_tools.add(tool)
        elif operation in semconv.MODEL_OPERATIONS:
            self._has_model = True
            self._tokens += used or 0
            if shape.messages is not None and has_word(span.attributes[shape.messages], b"tool_call_response"):
                self._has_tool_result = True
        for place in shape.tool_results if is_tool else shape.results:
            if has_word(span.attributes[place], b"pending"):  # it may only be a note that the actual one comes later
                raise WholeTraceError

    def row(self) -> tuple[RunRow, Link] | None:
        """Return the row, and how the trace is linked with others; None where it has to be read as a whole."""
        root = self._root
        if self.is_unusual or root is None or self._agents > _MOST_AGENTS:
            return None
        if root.status == RunStatus.SUCCESS.value and self._has_model and not root.has_output:
            return None  # it may have been interrupted
        if any(self._starts.get(parent_id, TIME_END) >= start_ns for parent_id, start_ns in self._parents):
            return None
        may_resume = self._has_tool_result or (root.session is not None and not self._first_step[1])
        row = RunRow(
            tuple(self._run_ids),
            root.start_ns,
            root.end_ns,
            STATUS_NUMBERS[root.status],
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
            min(self._tokens if root.tokens is None else root.tokens, TIME_END - 1),
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


def _root_of(span: OwnSpan, shape: Shape, used: int | None, run_id: str | None) -> _Root:
    tags = shape.text(span, semconv.TAGS)
    return _Root(
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        shape.status(span),
        shape.name(span, semconv.AGENT_NAME),
        shape.text(span, semconv.ENDUSER_PSEUDO_ID) or shape.text(span, semconv.USER_ID),
        shape.text(span, semconv.CONVERSATION_ID),
        None if tags is None else joined(_texts_decoder.decode(tags)),
        used,
        probability_in(span.trace_state, shape.number(span, semconv.SAMPLING_PROBABILITY)),
        shape.messages_preview(span, semconv.INPUT_MESSAGES, QUESTION_CHARS),
        shape.messages_preview(span, semconv.OUTPUT_MESSAGES, ANSWER_CHARS),
        run_id,
        semconv.OUTPUT_MESSAGES in shape.places,
    )
