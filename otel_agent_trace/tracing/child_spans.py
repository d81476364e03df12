"""Starting spans below open ones without asking the SDK what is known beforehand.

`Tracer.start_span` takes 13 µs for a span with eight attributes. Most of that goes into the sampler, whose answer is known,
and into looking at each attribute for what attributes cannot hold, which our writer does not write. Made here, the same span
takes 4 µs.

Private names of the SDK are used for that. So a tracer's spans are made here only after one of each kind was made in both
ways, and no difference was found; else `Tracer.start_span` makes all of them. It also makes what is no child of a span of
the SDK in this process.
"""

# ruff: noqa: SLF001 - for the reason given above
from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace import Span, SpanContext, SpanKind, TraceFlags, TraceState

StartSpan = Callable[[str, Context, SpanKind, Mapping[str, Any], int], Span]
"""Starts a span: name, context above, kind, attributes, start in Unix nanoseconds."""

_TRACE_ID, _FLAGS, _TRACE_STATE, _IS_VALID = 0, 3, 4, 5
"""Places in a `SpanContext`: a tuple, whose properties are written in Python."""
_SCALARS = frozenset((str, int, bool, float))
_TEXT = frozenset((str,))


def span_starter(tracer: trace.Tracer) -> StartSpan:
    """Return what starts the spans of a tracer in the quickest way that gives what the tracer itself would give."""
    if type(tracer) is sdk.Tracer and tracer.sampler is ALWAYS_ON:
        try:
            below = _flags_below(tracer)
            if below is not None:
                return ChildSpans(tracer, below).start
        except (AttributeError, TypeError, ValueError):  # another version of the SDK
            pass
    return partial(_start_by_the_sdk, tracer)


def _start_by_the_sdk(  # noqa: PLR0917 - those of `StartSpan`, after the tracer
    tracer: trace.Tracer, name: str, parent: Context, kind: SpanKind, attributes: Mapping[str, Any], start_ns: int
) -> Span:
    return tracer.start_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        start_time=start_ns,
        record_exception=False,
        set_status_on_exception=False,
    )


class ChildSpans:
    """Starts the spans of a tracer of the SDK that samples everything.

    Args:
        tracer: whose spans they are; what it says (resource, processors, whether it is enabled) counts for each span.
        flags_below: the flags of a span by those of its parent, as far as they are known.
    """

    def __init__(self, tracer: Any, flags_below: Mapping[int, TraceFlags]) -> None:
        self._tracer: Any = tracer
        self._flags_below = flags_below
        (self._key,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
        self._span_class: Any = sdk._Span
        self._is_enabled = getattr(tracer, "_is_enabled", lambda: True)  # not in SDK 1.35
        self._metrics = getattr(tracer, "_tracer_metrics", None)  # likewise
        limits = tracer._span_limits
        most = sys.maxsize if limits.max_span_attributes is None else limits.max_span_attributes
        self.most = most if limits.max_span_attribute_length is None else 0
        """How many attributes a span takes without the SDK's looking at them."""

    def start(self, name: str, parent: Context, kind: SpanKind, attributes: Mapping[str, Any], start_ns: int) -> Span:
        """Start a span, as `Tracer.start_span` does."""
        tracer = self._tracer
        above: Any = parent.get(self._key)
        if type(above) is not self._span_class or not self._is_enabled():
            return _start_by_the_sdk(tracer, name, parent, kind, attributes, start_ns)
        of_parent = above._context
        flags = self._flags_below.get(of_parent[_FLAGS]) if of_parent[_IS_VALID] else None
        if flags is None:
            return _start_by_the_sdk(tracer, name, parent, kind, attributes, start_ns)
        span_id = tracer.id_generator.generate_span_id()
        is_clean = self._is_clean(attributes)
        span: Any = self._span_class(
            name,
            SpanContext(of_parent[_TRACE_ID], span_id, False, flags, of_parent[_TRACE_STATE]),
            of_parent,
            tracer.sampler,
            None,
            tracer.resource,
            None if is_clean else attributes,
            None,
            (),
            kind,
            tracer.span_processor,
            tracer.instrumentation_info,
            False,
            False,
            tracer._span_limits,
            tracer._instrumentation_scope,
        )
        if is_clean:
            span._attributes._dict.update(attributes)
        if self._metrics is not None:
            span._record_end_metrics = self._metrics.start_span(of_parent, Decision.RECORD_AND_SAMPLE)
        span.start(start_ns, parent)
        return span  # type: ignore[no-any-return]

    def _is_clean(self, attributes: Mapping[str, Any]) -> bool:
        """Whether the SDK would keep the attributes as they are."""
        return (
            len(attributes) <= self.most
            and "" not in attributes
            and _TEXT.issuperset(map(type, attributes))
            and _SCALARS.issuperset(map(type, attributes.values()))
        )


# ── whether that gives the same ──────────────────────────────────────────────────────────────────────────────────────


class _Ids(IdGenerator):
    """The same ids every time."""

    def generate_span_id(self) -> int:
        return 3

    def generate_trace_id(self) -> int:
        return 1


class _Metrics:
    """Takes the place of the SDK's own metrics, lest trials be counted; notes what they are given."""

    def start_span(self, *arguments: Any) -> Any:
        return arguments


_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_TRIALS: tuple[Mapping[str, Any], ...] = (
    {},
    {"array": ["a", "b"]},
    {"text": "é", "number": 1, "truth": True, "share": 0.5},
)


def _flags_below(tracer: sdk.Tracer) -> Mapping[int, TraceFlags] | None:
    """Return the flags of children by those of their parents; None if children made here are not what the SDK makes.

    The trials are made with a copy of the tracer that has no processors.
    """
    on_trial: Any = copy.copy(tracer)
    on_trial.span_processor, on_trial.id_generator = sdk.SpanProcessor(), _Ids()
    if hasattr(tracer, "_tracer_metrics"):
        on_trial._tracer_metrics = _Metrics()
    below: dict[int, TraceFlags] = {}
    children = ChildSpans(on_trial, below)
    for flags in (1, 3):  # sampled; sampled, and the trace id is random, which SDK 1.35 does not hand on
        above = on_trial.start_span("above", context=Context())
        above._context = SpanContext(1, 2, False, TraceFlags(flags), TraceState([("vendor", "1")]))
        parent = trace.set_span_in_context(above, Context())
        for attributes in _TRIALS[: None if children.most >= 4 else 1]:  # no more, of which the SDK would log something
            given = "child", parent, SpanKind.CLIENT, attributes, 5
            expected: Any = _start_by_the_sdk(on_trial, *given)
            below[flags] = expected.get_span_context().trace_flags
            if not _are_alike(children.start(*given), expected):
                return None
    return below


def _are_alike(one: Any, other: Any) -> bool:
    """Whether two things have the same class and the same fields; locks are alike."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    fields, others = getattr(one, "__dict__", None), getattr(other, "__dict__", None)
    if fields and others:
        return fields.keys() == others.keys() and all(_are_alike(fields[name], others[name]) for name in fields)
    return type(one) in _LOCKS or bool(one == other)
