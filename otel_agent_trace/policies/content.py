"""Keep content out of spans and logs: what goes into runs and steps, what comes out, or anything a person may have written."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast, get_args

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.guard import warn
from otel_agent_trace.policies.rewriting import attributes_in
from otel_agent_trace.span import LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)

ContentMode = Literal["all", "no_inputs", "no_outputs", "none"]
"""Modes of recording content: everything, no inputs, no outputs, or nothing but names, structure and figures."""
CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""Variable of the conventions; we write no events, so that content that goes to events only is not recorded."""
_OF_VARIABLE: dict[str, ContentMode] = {
    "no_content": "none",
    "event_only": "none",
    "false": "none",  # of instrumentations before the four values
    "span_only": "all",
    "span_and_event": "all",
    "true": "all",
}
_MODES = get_args(ContentMode)


def check_content(mode: str) -> ContentMode:
    """Return a mode that is valid.

    Raises:
        ConfigurationError: the mode is not one of `ContentMode`.
    """
    if mode not in _MODES:
        msg = f"content={mode!r} must be one of {', '.join(_MODES)}"
        raise ConfigurationError(msg)
    return cast("ContentMode", mode)


def content_of_environment() -> ContentMode:
    """Return the mode of the conventions' variable; all content without it, none where its value is unknown."""
    given = os.environ.get(CONTENT_VARIABLE, "").strip().lower()
    if not given:
        return "all"
    if given not in _OF_VARIABLE:
        _warn_of(given)
    return _OF_VARIABLE.get(given, "none")


@functools.lru_cache(maxsize=16)
def _warn_of(given: str) -> None:
    """Warn of a value that is not known, once."""
    warn("%s=%s is not known: no content is recorded; use SPAN_ONLY or NO_CONTENT", CONTENT_VARIABLE, given)


class ContentPolicy:
    """Remove content from spans and logs of any instrumentation.

    A span of ours that was started under a mode of its own names it, and that mode holds for it.

    Args:
        mode: the mode of all other spans, and of logs.

    Raises:
        ConfigurationError: there is no such mode.
    """

    traces = False

    def __init__(self, mode: str = "all") -> None:
        self.mode = check_content(mode)
        self._is_removing = mode != "all"
        if self._is_removing:
            _without_content(_NOTHING, mode)  # it is loaded now: while the interpreter ends, nothing can be imported

    def violates(self, span: Any) -> bool:
        """Return whether a span of the SDK may have content that its mode does not allow."""
        return self._is_removing or semconv.CONTENT in attributes_in(span)

    def check_for(self, attributes: Mapping[str, Any]) -> Callable[[Any], bool] | None:
        """Return `violates` if something is removed from spans with attributes of these names, else None."""
        return self.violates if self._is_removing or semconv.CONTENT in attributes else None

    def __call__(self, record: R) -> R:
        """Return a span or log record without the content that its mode does not allow; the same one if there is none."""
        mode = record.attributes.get(semconv.CONTENT, self.mode)
        if mode == "all":
            return record
        changed = _without_content(record, mode if mode in _MODES else "none")
        return record if changed is record else _with_mode(changed, mode)


_OURS = frozenset({semconv.RUN_ID, semconv.STEP_INDEX})
"""Attributes by which spans of our tracers are recognised."""


def _with_mode(record: R, mode: str) -> R:
    """Return a span of our tracers with the mode that left content out, so that readers do not take it for None."""
    attributes = record.attributes
    if semconv.CONTENT in attributes or _OURS.isdisjoint(attributes):
        return record
    return msgspec.structs.replace(record, attributes={**attributes, semconv.CONTENT: mode})


_NOTHING = SpanRecord("", "", None, "", 0, None)


def _without_content(record: R, mode: str) -> R:
    """Return a record without the content that a mode does not allow; what does that is loaded by programs that need it."""
    with NO_FORK:
        from otel_agent_trace.policies.content_removal import without_content  # noqa: PLC0415 - see above

    return without_content(record, mode)
