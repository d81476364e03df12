"""Spans of one shape are looked at in one scan of what is new in them; nothing gets past that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from otel_agent_trace import Redactor, configure, semconv
from otel_agent_trace.policies.redaction import RedactionPolicy

PHRASE = "correct horse battery"
USUAL: dict[str, Any] = {
    semconv.OPERATION_NAME: "execute_tool",
    semconv.TOOL_NAME: "search",
    semconv.STEP_INDEX: 1,
    semconv.TOOL_ARGUMENTS: '{"query":"weather"}',
    semconv.TOOL_RESULT: "sunny",
}
PLACES = [*(name for name, value in USUAL.items() if type(value) is str), semconv.STEP_INDEX]


def span(
    attributes: dict[str, Any], name: str = "step", event: dict[str, Any] | None = None, status: str = ""
) -> ReadableSpan:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = provider.get_tracer("t").start_span(name, attributes=attributes)
    if event is not None:
        made.add_event("exception", event)
    if status:
        made.set_status(Status(StatusCode.ERROR, status))
    made.end()
    (ended,) = exporter.get_finished_spans()
    return ended


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.add_secret(PHRASE)
    return made


def test_usual_spans_are_clean(redactor: Redactor) -> None:
    policy = RedactionPolicy(redactor)
    look = policy.check_for(USUAL)
    for number in range(3):
        assert not look(span({**USUAL, semconv.STEP_INDEX: number}))
        assert not look(span(USUAL, event={semconv.EXCEPTION_MESSAGE: "no such place"}, status="no such place"))


@pytest.mark.parametrize("is_seen_before", [False, True])
@pytest.mark.parametrize("place", PLACES[:-1])
def test_a_secret_in_any_attribute_is_found(redactor: Redactor, place: str, *, is_seen_before: bool) -> None:
    look = RedactionPolicy(redactor).check_for(USUAL)
    if is_seen_before:
        assert not look(span(USUAL))
    assert look(span({**USUAL, place: f"a {PHRASE} staple"}))
    assert look(span({**USUAL, place: f"a {PHRASE} staple"}))


@pytest.mark.parametrize(
    "parts",
    [
        {"name": f"step {PHRASE}"},
        {"event": {semconv.EXCEPTION_MESSAGE: PHRASE}},
        {"event": {"password": "hunter2-and-more"}},
        {"event": {"further": ("x", PHRASE)}},
        {"status": f"refused {PHRASE}"},
    ],
)
def test_a_secret_beside_the_attributes_is_found(redactor: Redactor, parts: dict[str, Any]) -> None:
    assert RedactionPolicy(redactor).check_for(USUAL)(span(USUAL, **parts))


@pytest.mark.parametrize("place", PLACES[:-1])
def test_texts_that_were_clean_are_looked_at_again_for_a_new_secret(place: str) -> None:
    """Those that come again in many spans too, which are looked at once."""
    redactor = Redactor()
    look = RedactionPolicy(redactor).check_for(USUAL)
    given = span({**USUAL, place: f"sess-a {PHRASE}"})
    assert not look(given)
    assert not look(given)
    redactor.add_secret(PHRASE)
    assert look(given)


@pytest.mark.parametrize("place", PLACES[:-1])
def test_variables_that_are_set_meanwhile_are_noticed(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look = RedactionPolicy(Redactor()).check_for(USUAL)
    given = span({**USUAL, place: "with zPq7-Lm3x-Rt9w-Ks2v in it"})
    assert not look(given)
    monkeypatch.setenv("SOME_API_KEY", "zPq7-Lm3x-Rt9w-Ks2v")
    assert look(given)
    monkeypatch.setenv("SOME_API_KEY", "another1-Value2-for3-it4")
    assert not look(given)
    assert look(span({**USUAL, place: "with another1-Value2-for3-it4 in it"}))
    monkeypatch.delenv("SOME_API_KEY")
    assert not look(span({**USUAL, place: "with another1-Value2-for3-it4 in it"}))


@pytest.mark.parametrize("value", [f"1 {PHRASE}", (PHRASE,), 1.5, True])
def test_values_of_other_types_under_the_same_names_are_other_spans(redactor: Redactor, value: Any) -> None:
    """The shapes of two spans differ, so that the second is not looked at as the first is."""
    exporter = InMemorySpanExporter()
    provider = configure(backends=[exporter], redact=redactor)
    tracer = provider.get_tracer("t")
    for step in (1, value, 2, value):
        tracer.start_span("step", attributes={**USUAL, semconv.STEP_INDEX: step}).end()
    provider.shutdown()
    assert len(exporter.get_finished_spans()) == 4
    assert PHRASE not in "".join(one.to_json() for one in exporter.get_finished_spans())


def test_many_short_texts_that_are_long_together(redactor: Redactor) -> None:
    texts = ["weather " * 100] * 200
    assert not redactor.worth_a_look(texts)
    assert redactor.worth_a_look([*texts, PHRASE, "x" * (1 << 17), f"{'x' * (1 << 17)} {PHRASE}"]) == [
        PHRASE,
        f"{'x' * (1 << 17)} {PHRASE}",
    ]


# ── texts that were looked at when the span started ──────────────────────────────────────────────────────────────────

LONG = {**USUAL, semconv.TOOL_ARGUMENTS: '{"query":"' + "weather " * 100 + '"}'}
del LONG[semconv.TOOL_RESULT]


class CountingRedactor(Redactor):
    """Count the characters that are searched."""

    searched = 0

    def worth_a_look(self, texts: Sequence[str]) -> Sequence[str]:
        self.searched += sum(map(len, texts))
        return super().worth_a_look(texts)


def started(policy: RedactionPolicy) -> Any:
    """A span that the policy has found clean when it started."""
    made: Any = TracerProvider().get_tracer("t").start_span("step", attributes=LONG)
    assert not looked_at(policy, made)
    return made


def looked_at(policy: RedactionPolicy, given: Any) -> bool:
    return policy.check_for(given.attributes)(given)


def test_what_was_clean_at_the_start_is_not_searched_at_the_end() -> None:
    policy = RedactionPolicy(CountingRedactor())
    made = started(policy)
    made.set_attribute(semconv.TOOL_RESULT, "sunny")
    made.end()
    before = policy.redactor.searched
    assert not looked_at(policy, made)
    assert policy.redactor.searched - before == len("sunny")
    assert not policy._last_clean.started


@pytest.mark.parametrize(
    "place", [semconv.TOOL_RESULT, semconv.TOOL_ARGUMENTS, semconv.INPUT_MESSAGES, "name", "event"]
)
def test_a_secret_that_came_after_the_start_is_found_at_the_end(redactor: Redactor, place: str) -> None:
    policy = RedactionPolicy(redactor)
    made = started(policy)
    if place == "name":
        made.update_name(f"step {PHRASE}")
    elif place == "event":
        made.add_event("exception", {semconv.EXCEPTION_MESSAGE: PHRASE})
    else:
        made.set_attribute(place, f"a {PHRASE} staple")
    made.end()
    assert looked_at(policy, made)


@pytest.mark.parametrize("way", ["registered", "environment"])
def test_a_secret_that_is_known_only_after_the_start_is_found_at_the_end(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RedactionPolicy(Redactor())
    made = started(policy)
    if way == "registered":
        policy.redactor.add_secret("weather weather")
    else:
        monkeypatch.setenv("SOME_API_KEY", "weather weather weather")
    made.end()
    assert looked_at(policy, made)


def test_spans_that_never_end_do_not_fill_the_memory() -> None:
    policy = RedactionPolicy(Redactor())
    for _ in range(3000):
        started(policy)
    assert len(policy._last_clean.started) <= 1024
