"""Start and write spans of the SDK without the checks whose results are known.

`Tracer.start_span` takes 12 µs for a span with eight attributes, and `Span.set_attributes` more than 1 µs for a single
one. Most of that is spent in the sampler, whose decision is known, and in checking the type of each attribute, which our
writer has done. Here the same span is started in 3 µs.

This needs private names of the SDK. So a tracer is used in this way only if trial spans, made in both ways, do not
differ; otherwise, and for spans with a remote parent, the public methods are called.
"""

# ruff: noqa: SLF001 - for the reason given above
from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from otel_agent_trace.tracing.record_all import RECORD_ALL, RECORDED, samples_all

_TRACE_ID, _FLAGS, _TRACE_STATE, _IS_VALID = 0, 3, 4, 5
"""Indexes in a `SpanContext`: it is a tuple, whose properties are slower, being written in Python."""
_SCALARS = frozenset((str, int, bool, float))
_TEXT = frozenset((str,))


class TracerSpans:
    """Start the spans of a tracer and write their attributes, with the public methods."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer: Any = tracer

    def start(self, name: str, parent: Context, kind: SpanKind, attributes: Mapping[str, Any], start_ns: int) -> Span:
        """Start a span; `parent` is the context of its parent, `start_ns` its start in Unix nanoseconds."""
        span: Span = self._tracer.start_span(
            name,
            context=parent,
            kind=kind,
            attributes=attributes,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        return span

    def write(self, span: Span, attributes: Mapping[str, Any]) -> None:
        """Set attributes of an open span."""
        span.set_attributes(attributes)


class SpanModel(NamedTuple):
    """Describe the spans that a tracer of the SDK starts."""

    span_class: Any
    flags_below: dict[int | None, TraceFlags]
    """Flags of spans by those of their parents, by None for spans without a parent."""
    fields: dict[str, Any]
    """Fields that are the same object in every span."""


class SdkSpans(TracerSpans):
    """Start and write spans of a tracer of the SDK that samples everything, in less time.

    A span is made from the fields that all spans share and its own, as by the constructor, which takes 1 µs longer.
    Resource, processors, and whether the tracer is enabled are read from the tracer for each span.
    """

    def __init__(self, tracer: Any, model: SpanModel) -> None:
        super().__init__(tracer)
        self._class, self._flags_below, self._fields = model
        (self._key,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
        self._is_enabled = getattr(tracer, "_is_enabled", lambda: True)  # not in SDK 1.35
        self._metrics = getattr(tracer, "_tracer_metrics", None)  # likewise
        self._root_state = RECORDED if tracer.sampler is RECORD_ALL else None
        self._limits = limits = tracer._span_limits
        most = sys.maxsize if limits.max_span_attributes is None else limits.max_span_attributes
        self.most = most if limits.max_span_attribute_length is None else 0
        """Number of attributes up to which the SDK would store them unchanged."""

    def start(self, name: str, parent: Context, kind: SpanKind, attributes: Mapping[str, Any], start_ns: int) -> Span:
        """Start a span; with the tracer's method, unless it is a root span or its parent is a span of the same class."""
        tracer = self._tracer
        above: Any = parent.get(self._key)
        if above is None:
            of_parent, flags = None, self._flags_below.get(None)
        elif type(above) is self._class and above._context[_IS_VALID]:
            of_parent, flags = above._context, self._flags_below.get(above._context[_FLAGS])
        else:
            of_parent = flags = None
        if flags is None or not self._is_enabled():
            return super().start(name, parent, kind, attributes, start_ns)
        span: Any = object.__new__(self._class)
        span.__dict__.update(
            self._fields,
            _name=name,
            _context=self._context_below(of_parent, flags),
            _parent=of_parent,
            _kind=kind,
            _start_time=start_ns,
            _resource=tracer.resource,
            _span_processor=tracer.span_processor,
            _lock=threading.Lock(),
            _attributes=self._attributes(attributes),
            _events=BoundedList(self._limits.max_events),
            _links=BoundedList(self._limits.max_links),
        )
        if self._metrics is not None:
            span._record_end_metrics = self._metrics.start_span(of_parent, Decision.RECORD_AND_SAMPLE)
        try:
            tracer.span_processor.on_start(span, parent_context=parent)
        except BaseException:  # of a signal handler, or of another thread: nobody else would end it
            span.set_status(StatusCode.ERROR)
            span.end()
            raise
        return span  # type: ignore[no-any-return]

    def _context_below(self, parent: Any, flags: TraceFlags) -> SpanContext:
        ids = self._tracer.id_generator
        if parent is None:
            return SpanContext(ids.generate_trace_id(), ids.generate_span_id(), False, flags, self._root_state)
        state = parent[_TRACE_STATE]
        if self._root_state is not None and state is not self._root_state:
            state = RECORD_ALL.state_below(state)
        return SpanContext(parent[_TRACE_ID], ids.generate_span_id(), False, flags, state)

    def _attributes(self, given: Mapping[str, Any]) -> BoundedAttributes:
        limits = self._limits
        is_clean = len(given) <= self.most and _is_clean(given)
        attributes = BoundedAttributes(
            limits.max_span_attributes, None if is_clean else given, False, limits.max_span_attribute_length
        )
        if is_clean:
            attributes._dict.update(given)
        return attributes

    def write(self, span: Any, attributes: Mapping[str, Any]) -> None:
        """Set attributes of an open span; with the span's method, if they may exceed the limit."""
        if type(span) is self._class and _is_clean(attributes):
            with span._lock:
                known = span._attributes._dict
                if len(known) + len(attributes) <= self.most and span._end_time is None:
                    for key in known.keys() & attributes.keys():
                        del known[key]  # an attribute that is set again moves to the end, as in the SDK
                    known.update(attributes)
                    return
        span.set_attributes(attributes)


def _is_clean(attributes: Mapping[str, Any]) -> bool:
    """Return whether the SDK would store attributes unchanged, unless they are too many or too long."""
    return (
        _SCALARS.issuperset(map(type, attributes.values()))
        and _TEXT.issuperset(map(type, attributes))
        and "" not in attributes
    )


# ── comparing both ways ──────────────────────────────────────────────────────────────────────────────────────────────


def spans_of(tracer: trace.Tracer) -> TracerSpans:
    """Return an object that starts and writes spans of a tracer in the fastest way with the same result."""
    if type(tracer) is sdk.Tracer and samples_all(tracer.sampler):
        try:
            model = _model_of(tracer)
        except (AttributeError, TypeError, ValueError):  # another version of the SDK
            model = None
        if model is not None:
            return SdkSpans(tracer, model)
    return TracerSpans(tracer)


class _Ids(IdGenerator):
    """Generate the same ids every time, with the flag for random ids of another generator."""

    def __init__(self, generator: IdGenerator) -> None:
        if hasattr(generator, "is_trace_id_random"):  # not in SDK 1.35
            self.is_trace_id_random = generator.is_trace_id_random  # type: ignore[method-assign]

    def generate_span_id(self) -> int:
        return 3

    def generate_trace_id(self) -> int:
        return 1


class _Metrics:
    """Replace the SDK's own metrics, which would count trial spans; return the arguments, which are compared."""

    def start_span(self, *arguments: Any) -> Any:
        return arguments


_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_FEW: Mapping[str, Any] = {"text": "é", "number": 1, "truth": True, "share": 0.5}
_LATER: Mapping[str, Any] = {"later": "x", "number": 2}


def _model_of(tracer: Any) -> SpanModel | None:
    """Return a model of a tracer's spans; None if spans made from it differ from those that the tracer makes.

    The trial spans are made with a copy of the tracer without processors.
    """
    on_trial = copy.copy(tracer)
    on_trial.span_processor, on_trial.id_generator = sdk.SpanProcessor(), _Ids(tracer.id_generator)
    if hasattr(tracer, "_tracer_metrics"):
        on_trial._tracer_metrics = _Metrics()
    public = TracerSpans(on_trial)
    one = public.start("one", Context(), SpanKind.INTERNAL, {}, 3)
    other = public.start("other", trace.set_span_in_context(one, Context()), SpanKind.SERVER, {}, 4)
    if not isinstance(one, sdk.Span):  # the tracer is disabled
        return None
    shared = {name: field for name, field in vars(one).items() if vars(other).get(name) is field}
    model = SpanModel(type(one), {}, shared)
    direct = SdkSpans(on_trial, model)
    has_room = direct.most >= len(_FEW) + len(_LATER)  # otherwise the SDK would log the attributes that it drops
    for flags in (None, 1, 3):  # no parent; sampled; sampled with a random trace id, a flag that SDK 1.35 drops
        parent = Context()
        if flags is not None:
            above = on_trial.start_span("above", context=parent)
            above._context = SpanContext(1, 2, False, TraceFlags(flags), TraceState([("vendor", "1")]))
            parent = trace.set_span_in_context(above, parent)
        for attributes in ({"array": ["a", "b"]}, _FEW) if has_room else ({},):
            arguments = "trial", parent, SpanKind.CLIENT, attributes, 5
            expected = public.start(*arguments)
            model.flags_below[flags] = expected.get_span_context().trace_flags
            made = direct.start(*arguments)
            if has_room:
                public.write(expected, _LATER)
                direct.write(made, _LATER)
            if not _are_alike(made, expected):
                return None
    return model


def _are_alike(one: Any, other: Any) -> bool:
    """Return whether two objects have the same class and the same fields; any two locks are alike."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    fields, others = getattr(one, "__dict__", None), getattr(other, "__dict__", None)
    if fields and others:
        return fields.keys() == others.keys() and all(_are_alike(fields[name], others[name]) for name in fields)
    return type(one) in _LOCKS or bool(one == other)
