"""Record what a program logs inside runs, as log records below the span in which it was logged.

The records of `logging` are read where a logger passes them to its handlers. A handler of ours would be seen by the
program: `logging.basicConfig` does nothing if the root logger has one, and warnings are printed without configuration
only as long as there is none. Loggers that do not propagate, and those that `dictConfig` sets up later, are read too.
Sentry's SDK does it in the same way.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import SpanContext

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.mapping.attributes import both_ends
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord, Scope
from otel_agent_trace.tracing.active import ActiveRun, ActiveStep
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, current_context
from otel_agent_trace.tracing.failures import error_message, error_type, stack_text
from otel_agent_trace.tracing.log_intake import LogIntake
from otel_agent_trace.tracing.processor import AgentSpanProcessor, processors_in
from otel_agent_trace.values import Limits, encode, encode_string, encode_text

_MAX_EXTRA = 32
_LIMITS = Limits(value_bytes=16_384, depth=8)
"""Limits of a message, and of each attribute: those of the message of an error, as a run has many log records."""
_NOT_RECORDED = ("otel_agent_trace", "opentelemetry")
"""Loggers that are about the tracing itself; a record of theirs could cause another."""
_AGENT_NAMESPACES = frozenset({"gen_ai", "openinference", "traceloop", "langfuse", "mlflow", "ai"})
"""First parts of attribute names on spans of agents, models and tools that other instrumentations make."""
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_TRACE_CONTEXT = frozenset({"otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName"})
"""Attributes that OpenTelemetry's instrumentation of `logging` adds to every record."""
_SEVERITIES = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}
_LEVELS_A_SEVERITY, _NUMBERS_A_SEVERITY = 10, 4
_HIGHEST = max(_SEVERITIES) // _LEVELS_A_SEVERITY
_STRUCTURED = (dict, list, tuple, int, float, type(None))
_NS_PER_S = 1_000_000_000


def level_of(logs: str | int) -> int:
    """Return the number of a level of `logging`, given by its name or its number.

    Raises:
        ConfigurationError: it is no level.
    """
    level = logging.getLevelName(logs.strip().upper()) if isinstance(logs, str) else logs
    if type(level) is not int or level < 0:
        names = ", ".join(map(logging.getLevelName, _SEVERITIES))
        raise ConfigurationError(f"logs={logs!r} must be None, or a level of logging: {names}, or its number")
    return level


def record_logs(processors: Iterable[AgentSpanProcessor], level: int) -> None:
    """Record logs of at least a level in the runs of some processors, in place of the level that was set before."""
    for processor in processors:
        if processor.logs is None or processor.logs.level != level:
            processor.logs = LogIntake(level)
    _WATCHED.add(level)


# ── the loggers ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Watched:
    """Watch what all loggers of the process pass to their handlers, from the first level that is added on."""

    def __init__(self) -> None:
        self.lowest: int | None = None
        """Lowest level that any provider records."""

    def add(self, level: int) -> None:
        """Watch records of at least a level."""
        is_first = self.lowest is None
        self.lowest = level if self.lowest is None else min(level, self.lowest)
        if is_first:
            logging.Logger.callHandlers = _watching(logging.Logger.callHandlers)  # type: ignore[method-assign]


_WATCHED = _Watched()


def _watching(call_handlers: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(call_handlers)
    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802 - as `logging` names it
        try:
            call_handlers(self, record)
        finally:  # afterwards: a filter of the program's handlers may have taken a secret out of the record
            guarded(_DIAGNOSTICS, "logs", _on_record, record)

    return callHandlers


# ── where a record belongs ───────────────────────────────────────────────────────────────────────────────────────────


class _Place(NamedTuple):
    """Describe where a record belongs.

    Attributes:
        span: its span.
        processors: the processors that take it.
        run_key: the key of the run, for counting.
        content: the mode of recording content that the run or the step asked for, None for that of the processors.
    """

    span: Any
    processors: list[AgentSpanProcessor]
    run_key: Any
    content: str | None = None


_AT_WORK = AtWork()
_DIAGNOSTICS = Diagnostics()
_READER = SdkReader()


def _on_record(record: logging.LogRecord) -> None:
    if _WATCHED.lowest is None or record.levelno < _WATCHED.lowest:
        return
    context = current_context()
    run, span = context.get(RUN_KEY), trace.get_current_span(context)
    if not isinstance(run, ActiveRun) and not _is_of_an_agent(span):
        return
    if context.get(_SUPPRESS_INSTRUMENTATION_KEY) or str(record.name).partition(".")[0] in _NOT_RECORDED:
        return
    place = _place_of(context, run, span, record.levelno)
    if place.processors and not _AT_WORK.is_here():  # else a policy, or an object in the record, logs itself
        _AT_WORK.call(_pass_on, record, place)


def _is_of_an_agent(span: Any) -> bool:
    """Return whether another instrumentation made the span, for an agent, a model or a tool."""
    attributes = getattr(span, "attributes", None) or ()
    return not _AGENT_NAMESPACES.isdisjoint([key.partition(".")[0] for key in attributes])


def _place_of(context: Context, run: Any, span: Any, level: int) -> _Place:
    """Return where a record of a level belongs.

    That is the current span, if it goes where the run's span goes; else, as in a forked child or below the span of
    another provider, the step or the run around it.
    """
    if not isinstance(run, ActiveRun):
        return _Place(span, _processors_of(span, level), span.get_span_context().trace_id)
    step = context.get(STEP_KEY)
    active: ActiveRun | ActiveStep = step if isinstance(step, ActiveStep) and step.run is run else run
    own = active.span
    processors = _processors_of(own, level)
    if span is not own and any(processor in processors for processor in _processors_of(span, level)):
        own = span
    return _Place(own, processors, run.span.get_span_context()[:2], active.asked_content())


def _processors_of(span: Any, level: int) -> list[AgentSpanProcessor]:
    """Return the processors that receive the span, if it is sampled, and take logs of a level."""
    given = getattr(span, "_span_processor", None)  # the SDK has no public attribute for it
    if given is None or not span.get_span_context().trace_flags.sampled:
        return []
    return [each for each in processors_in(given) if each.logs is not None and level >= each.logs.level]


def _pass_on(record: logging.LogRecord, place: _Place) -> None:
    converted: LogRecord | None = None
    for processor in place.processors:
        diagnostics = processor.diagnostics
        if processor.logs is None or not processor.logs.takes(place.run_key, diagnostics):
            continue
        converted = converted or guarded(diagnostics, "log record", converted_record, record, place.span, place.content)
        if converted is not None:
            processor.on_log(place.span, converted)


# ── what a record holds ──────────────────────────────────────────────────────────────────────────────────────────────


def converted_record(record: logging.LogRecord, span: Any, content: str | None = None) -> LogRecord:
    """Return a record of `logging` as plain data that belongs to a span of the SDK, and names the mode for its content."""
    context: SpanContext = span.get_span_context()
    attributes = dict(_attributes(record))
    if content is not None:
        attributes[semconv.CONTENT] = content
    number, text = _severity(record.levelno)
    return LogRecord(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        str(attributes.pop(semconv.EVENT_NAME, "")),
        round(record.created * _NS_PER_S) if type(record.created) is float else time.time_ns(),
        attributes,
        _body(record),
        number,
        text,
        _READER.resource(span),
        _scope(str(record.name)),
    )


@functools.lru_cache(maxsize=1024)
def _scope(logger: str) -> Scope:
    return Scope(logger)


def _severity(level: int) -> tuple[int, str]:
    """Return the number and the text of a level, as OpenTelemetry's own handler writes them."""
    tens = min(level // _LEVELS_A_SEVERITY, _HIGHEST)
    above = min(level - tens * _LEVELS_A_SEVERITY, _NUMBERS_A_SEVERITY - 1)
    return 1 + tens * _NUMBERS_A_SEVERITY + above, _SEVERITIES.get(level) or str(logging.getLevelName(level))


def _body(record: logging.LogRecord) -> Any:
    """Return the message; a mapping, a list or a number that was logged in place of a text as JSON has it."""
    if not record.args and isinstance(record.msg, _STRUCTURED):
        return _value(record.msg)
    try:
        return _value(record.getMessage())
    except BaseException as error:  # arguments that do not fit; the program's handlers report it
        if is_of_signal_handler(error):
            raise
        return _value(record.msg)


def _attributes(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a record: those that the program passed as ``extra``, its place in the code, an exception."""
    extra = [
        (key, value)
        for key, value in list(vars(record).items())
        if key not in _STANDARD and key not in _TRACE_CONTEXT and not str(key).startswith("_")  # structlog's own
    ]
    for key, value in extra[:_MAX_EXTRA]:
        yield str(key), _value(value)
    yield semconv.CODE_FILE_PATH, _value(record.pathname)
    yield semconv.CODE_FUNCTION_NAME, _value(record.funcName)
    yield semconv.CODE_LINE_NUMBER, _value(record.lineno)
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(error, BaseException):
        yield semconv.EXCEPTION_TYPE, error_type(error)
        yield semconv.EXCEPTION_MESSAGE, _value(error_message(error))
        yield semconv.EXCEPTION_STACKTRACE, _value(stack_text(error))
    if record.stack_info:
        yield semconv.CODE_STACKTRACE, _value(record.stack_info)


def _value(value: Any) -> Any:
    """Return a copy of a value as JSON has it, within the limits; of a text that is too long, both ends are kept."""
    if isinstance(value, str):
        return encode_string(both_ends(str.__str__(value), _LIMITS.value_bytes)).text
    if value is None or isinstance(value, int | float):
        return encode(value, _LIMITS).data
    return msgspec.json.decode(encode_text(value, _LIMITS).text)
