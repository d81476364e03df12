"""Spans that are made without asking the SDK are those that it would have made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, TraceState

from otel_agent_trace.tracing.record_all import RECORD_ALL
from otel_agent_trace.tracing.sdk_spans import SdkSpans, TracerSpans, spans_of

RESOURCE = Resource({"service.name": "tests"})


class Ids(IdGenerator):
    def __init__(self, *, is_random: bool = False) -> None:
        self._is_random = is_random

    def is_trace_id_random(self) -> bool:
        return self._is_random

    def generate_span_id(self) -> int:
        return 7

    def generate_trace_id(self) -> int:
        return 8


class Heard(SpanProcessor):
    def __init__(self) -> None:
        self.starts: list[tuple[Span, Context | None]] = []
        self.ends: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.starts.append((span, parent_context))

    def on_end(self, span: ReadableSpan) -> None:
        self.ends.append(span)


def provider_with(limits: SpanLimits | None = None, **options: Any) -> TracerProvider:
    usual: dict[str, Any] = {
        "sampler": ALWAYS_ON,
        "id_generator": Ids(),
        "resource": RESOURCE,
        "shutdown_on_exit": False,
    }
    return TracerProvider(**usual | options, span_limits=limits)


def is_direct(spans: TracerSpans) -> bool:
    return isinstance(spans, SdkSpans)


def shown(span: Any) -> tuple[Any, ...]:
    context = span.get_span_context()
    return (
        *(*context, type(context.trace_flags)),
        *(span.name, span.kind, span.parent, span.start_time, span.end_time, span.status, span.resource),
        *(span.instrumentation_scope, list(span.attributes.items()), len(span.events), len(span.links)),
        *(span.dropped_attributes, span.dropped_events, span.dropped_links),
    )


def local(provider: TracerProvider, flags: int, *, is_valid: bool = True) -> Span:
    span: Any = provider.get_tracer("above").start_span("above", Context())
    state = TraceState([("vendor", "1")])
    span._context = SpanContext(5, 6 if is_valid else 0, False, TraceFlags(flags), state)
    return span


def remote(flags: int) -> Span:
    return NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(flags), TraceState([("vendor", "1")])))


def below(span: Span | None) -> Context:
    return Context() if span is None else trace.set_span_in_context(span, Context())


PARENTS: dict[str, Callable[[TracerProvider], Span | None]] = {
    "none": lambda _: None,
    "invalid": lambda _: trace.INVALID_SPAN,
    "of another process": lambda _: remote(1),
    "of another process, not sampled": lambda _: remote(0),
    "not recording": lambda _: NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(1))),
    "without ids": lambda provider: local(provider, 1, is_valid=False),
    **{f"flags {flags}": lambda provider, flags=flags: local(provider, flags) for flags in (0, 1, 2, 3, 255)},  # type: ignore[misc]
}
LIMITS = {
    "usual": None,
    "ours": SpanLimits(max_attributes=4096, max_span_attributes=4096, max_span_attribute_length=SpanLimits.UNSET),
    "few": SpanLimits(max_span_attributes=2),
    "none": SpanLimits(max_span_attributes=0),
    "short": SpanLimits(max_span_attribute_length=3),
}
SCALARS = st.one_of(st.text(max_size=6), st.integers(), st.booleans(), st.floats(allow_nan=False))
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["", "a", "b", "c", 0, 1]),  # no texts: a policy may put such keys there
    st.one_of(SCALARS, st.lists(st.text(max_size=2), max_size=2), st.none(), st.binary(max_size=3)),
    max_size=5,
)


@pytest.fixture(autouse=True)
def silent_sdk() -> Iterator[None]:
    log = logging.getLogger("opentelemetry")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@example(parent_kind="none", attributes={"a": 1}, later={"b": 1, "c": 2}, again={"a": 2})
@given(parent_kind=st.sampled_from(list(PARENTS)), attributes=ATTRIBUTES, later=ATTRIBUTES, again=ATTRIBUTES)
@pytest.mark.parametrize("sampler", [ALWAYS_ON, RECORD_ALL])
def test_a_span_is_what_the_sdk_makes(
    sampler: Sampler, limits: SpanLimits | None, parent_kind: str, attributes: Any, later: Any, again: Any
) -> None:
    seen = []
    for starter in (TracerSpans, spans_of):
        provider, heard = provider_with(limits, sampler=sampler), Heard()
        parent = below(PARENTS[parent_kind](provider))
        provider.add_span_processor(heard)
        spans = starter(provider.get_tracer("agents", "1"))
        assert is_direct(spans) == (starter is spans_of)
        span = spans.start("child", parent, SpanKind.CLIENT, attributes, 9)
        at_start = shown(span)
        spans.write(span, later)
        spans.write(span, again)
        span.end(10)
        assert (heard.starts, len(heard.ends)) == ([(span, parent)], 1)
        seen.append((at_start, *map(shown, heard.ends)))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("is_random", [True, False])
def test_a_random_trace_id_is_called_so(is_random: bool) -> None:
    flags = []
    for starter in (TracerSpans, spans_of):
        spans = starter(provider_with(id_generator=Ids(is_random=is_random)).get_tracer("agents"))
        flags.append(spans.start("root", Context(), SpanKind.INTERNAL, {}, 9).get_span_context().trace_flags)
    assert flags[0] == flags[1]


def test_a_span_that_has_ended_takes_no_attributes() -> None:
    spans = spans_of(provider_with().get_tracer("agents"))
    span: Any = spans.start("root", Context(), SpanKind.INTERNAL, {}, 9)
    span.end()
    spans.write(span, {"a": 1})
    assert dict(span.attributes) == {}


def test_a_span_of_others_is_written_as_ever() -> None:
    taken: dict[str, Any] = {}

    class Other(NonRecordingSpan):
        def set_attributes(self, attributes: Any) -> None:
            taken.update(attributes)

    spans_of(provider_with().get_tracer("agents")).write(Other(SpanContext(5, 6, False)), {"a": 1})
    assert taken == {"a": 1}


def test_attributes_that_are_given_are_not_the_spans_own() -> None:
    provider = provider_with()
    given_ones = {"a": 1}
    spans = spans_of(provider.get_tracer("agents"))
    span: Any = spans.start("child", below(local(provider, 1)), SpanKind.INTERNAL, given_ones, 9)
    span.set_attribute("b", 2)
    assert (given_ones, dict(span.attributes)) == ({"a": 1}, {"a": 1, "b": 2})


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_ON)])
def test_a_sampler_that_decides_is_asked(sampler: Any) -> None:
    assert not is_direct(spans_of(provider_with(sampler=sampler).get_tracer("agents")))


def test_tracers_of_others_start_their_spans_themselves() -> None:
    class Own(sdk.Tracer):
        pass

    tracer = provider_with().get_tracer("agents")
    tracer.__class__ = Own
    assert not is_direct(spans_of(tracer))
    assert not is_direct(spans_of(trace.NoOpTracer()))


def without_the_limits(patch: pytest.MonkeyPatch, tracer: Any) -> None:
    patch.delattr(tracer, "_span_limits")


def with_one_field_more(patch: pytest.MonkeyPatch, tracer: Any) -> None:
    init = sdk.Span.__init__

    def changed(self: Any, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        self._children = []

    patch.setattr(sdk.Span, "__init__", changed)


def with_another_class_of_attributes(patch: pytest.MonkeyPatch, tracer: Any) -> None:
    patch.setattr(sdk, "BoundedAttributes", type("Attributes", (BoundedAttributes,), {}))


def with_one_attribute_more(patch: pytest.MonkeyPatch, tracer: Any) -> None:
    start_span = sdk.Tracer.start_span

    def changed(*arguments: Any, **named: Any) -> Span:
        span = start_span(*arguments, **named)
        span.set_attribute("host.name", "h")
        return span

    patch.setattr(sdk.Tracer, "start_span", changed)


@pytest.mark.parametrize(
    "change",
    [without_the_limits, with_one_field_more, with_another_class_of_attributes, with_one_attribute_more],
)
def test_an_sdk_that_has_changed_starts_its_spans_itself(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch, Any], None]
) -> None:
    tracer = provider_with().get_tracer("agents")
    assert is_direct(spans_of(tracer))
    change(monkeypatch, tracer)
    assert not is_direct(spans_of(tracer))


def test_trials_leave_no_trace(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("opentelemetry").setLevel(logging.DEBUG)
    for limits in LIMITS.values():
        provider, heard, counted = provider_with(limits), Heard(), Counted()
        provider.add_span_processor(heard)
        tracer: Any = provider.get_tracer("agents")
        if hasattr(tracer, "_tracer_metrics"):
            monkeypatch.setattr(tracer, "_tracer_metrics", counted)
        assert is_direct(spans_of(tracer))
        assert (heard.starts, counted.started) == ([], [])
    assert caplog.records == []


class Counted:
    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ends = 0

    def start_span(self, parent: Any, decision: Any) -> Callable[[], None]:
        self.started.append((parent, decision))
        return self.end

    def end(self) -> None:
        self.ends += 1


@pytest.mark.skipif(not hasattr(provider_with().get_tracer("x"), "_tracer_metrics"), reason="this SDK does not count")
@pytest.mark.parametrize("starter", [TracerSpans, spans_of])
def test_the_sdks_own_metrics_count_each_span_once(starter: Callable[[Any], TracerSpans]) -> None:
    provider, counted = provider_with(), Counted()
    tracer: Any = provider.get_tracer("agents")
    tracer._tracer_metrics = counted
    above = local(provider, 1)
    starter(tracer).start("child", below(above), SpanKind.INTERNAL, {}, 9).end()
    assert (counted.started, counted.ends) == ([(above.get_span_context(), Decision.RECORD_AND_SAMPLE)], 1)


@pytest.mark.skipif(not hasattr(provider_with(), "_set_tracer_configurator"), reason="this SDK disables no tracer")
@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_tracer_that_is_disabled_meanwhile_records_nothing(is_enabled: bool) -> None:
    provider: Any = provider_with()
    tracer = provider.get_tracer("agents")
    spans = spans_of(tracer)
    assert is_direct(spans)
    provider._set_tracer_configurator(tracer_configurator=lambda _: sdk._TracerConfig(is_enabled=is_enabled))
    span = spans.start("child", below(local(provider_with(), 1)), SpanKind.INTERNAL, {}, 9)
    assert span.is_recording() is is_enabled
    assert is_direct(spans_of(tracer)) is is_enabled


def test_the_resource_is_the_tracers_of_that_moment() -> None:
    provider: Any = provider_with()
    tracer = provider.get_tracer("agents")
    spans = spans_of(tracer)
    tracer.resource = Resource({"process.pid": 5})
    span: Any = spans.start("child", below(local(provider, 1)), SpanKind.INTERNAL, {}, 9)
    assert span.resource.attributes == {"process.pid": 5}
