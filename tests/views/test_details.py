"""The details of one item: values of bounded size, messages, media, facts, and where they were read."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import AgentStep, LogEntry, Message, RunStatus, Score, StepError, StepKind, Usage, run_to_spans
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.values import Opaque, Truncated
from otel_agent_trace.views.details import run_head, step_details
from otel_agent_trace.views.explanation import rows_of_facts
from otel_agent_trace.views.json_values import LIMIT_CHARS, JsonWriter, whole_text
from otel_agent_trace.views.run_page import RunPage
from otel_agent_trace.views.runs import fact_rows
from otel_agent_trace.views.steps import step_rows
from tests.support.long_runs import BEGAN_NS, long_run, run_of, step, text
from tests.support.sample_runs import make_run
from tests.support.strategies import values

PICTURE = bytes(range(256)) * 20
DIGEST = sha256(PICTURE).hexdigest()
CHIP = {"type": "image/png", "bytes": len(PICTURE), "digest": DIGEST}


def details(one: AgentStep) -> dict[str, Any]:
    found = step_details(run_of((one,)), 1)
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return found


def test_the_details_of_a_step() -> None:
    error = StepError(type="ValueError", message="no", category="validation", stacktrace="Traceback")
    found = details(
        step(
            3,
            input={"q": 1},
            error=error,
            model="m",
            usage=Usage(input_tokens=1, output_tokens=2),
            logs=(LogEntry(at_ns=BEGAN_NS + 31_000_000, severity="WARN", body={"a": 1}, logger="app"),),
            scores=(Score(name="good", value=True, source="HUMAN", at_ns=BEGAN_NS),),
            truncated=(".input.q",),
            redacted=("output",),
            not_recorded=("output",),
            attributes={"a.b": 1},
        )
    )
    names = ("number", "span_id", "step_id", "kind", "name", "status", "model", "offset_text", "duration_text")
    assert [found[name] for name in names] == [1, f"{4:016x}", 4, "tool", "search", "error", "m", "+30ms", "5.0ms"]
    assert found["error"] == {
        "type": "ValueError",
        "message": "no",
        "category": "validation",
        "stacktrace": "Traceback",
    }
    assert (found["input"], found["output"], found["attributes"]) == ({"json": {"q": 1}}, None, {"json": {"a.b": 1}})
    assert found["logs"] == [{"offset_text": "+31ms", "severity": "WARN", "logger": "app", "text": '{"a": 1}'}]
    score = {"name": "good", "value": True, "label": None, "explanation": None, "source": "HUMAN"}
    assert found["scores"] == [{**score, "at": "2026-11-23T23:03:20+00:00"}]
    assert (found["cut"], found["masked"], found["missing"]) == (["input.q"], ["output"], ["output"])
    assert found["started_at"] == "2026-11-23T23:03:20.030000+00:00"


def test_the_details_of_the_run_itself() -> None:
    run = run_of((step(0),), user_input="Will it rain?", final_output=[1], resource={"service.name": "api"})
    found = step_details(run)
    assert (found["kind"], found["name"], found["step_id"]) == ("agent", "weather", None)
    assert (found["input"], found["output"]) == ({"json": "Will it rain?"}, {"json": [1]})
    assert found["resource"] == {"json": {"service.name": "api"}}
    assert run_head(run)["service_name"] == "api"


def test_facts_are_those_of_the_terminal() -> None:
    one = step(0, usage=Usage(input_tokens=1, output_tokens=2), prompt_name="greeting", prompt_version="7")
    run = run_of((one,), user_id="u", tags=("a",), usage=Usage(input_tokens=1))
    assert step_details(run, 1)["facts"] == [row._asdict() for row in step_rows(one, full=False)]
    assert step_details(run)["facts"] == [row._asdict() for row in fact_rows(run, full=False)]


def test_a_sub_agent_has_question_and_answer_of_its_run() -> None:
    inner = run_of((), run_id="inner", user_input="q", final_output="a", error=StepError(type="E"))
    found = details(step(0, kind=StepKind.AGENT, run=inner))
    assert (found["input"], found["output"], found["error"]["type"]) == ({"json": "q"}, {"json": "a"}, "E")


def test_an_item_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        step_details(run_of(()), 1)
    with pytest.raises(IndexError):
        RunPage(run_of((step(0),))).step(-1)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_that_is_too_long_is_cut_and_can_be_had_whole() -> None:
    long, nested = "é" * LIMIT_CHARS, {"rows": ["x" * 100] * 1000}
    page = RunPage(run_of((step(0, input=long, output=nested),)))
    found = page.step(1)
    assert found["input"] == {"text": long, "chars": LIMIT_CHARS, "path": "input"}  # its JSON has two bytes for each
    assert len(found["output"]["text"]) == LIMIT_CHARS
    assert found["output"]["chars"] == len(page.value(1, found["output"]["path"]))
    assert json.loads(page.value(1, "output")) == nested
    assert page.value(1, "input") == long
    short = details(step(0, input="x" * (LIMIT_CHARS - 2)))
    assert short["input"] == {"json": "x" * (LIMIT_CHARS - 2)}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "null": "b", "[1,2]": "c"}),
        ([float("nan"), float("inf"), -0.0], ["NaN", "Infinity", -0.0]),
        ("a\ud800b", "a\\ud800b"),
        (2**70, str(2**70)),
        (Opaque("app.Point", {"x": 1}), {"x": 1}),
        (Truncated("abc", 10, "bytes"), "abc"),
        (Truncated(None, None, "cycle"), None),
        ((1, {2}), [1, [2]]),
        (b"\x00\xff", "AP8="),
        ("\x1b[31m\u202e", "\x1b[31m\u202e"),
    ],
)
def test_special_values(value: Any, shown: Any) -> None:
    """The texts are those that were recorded: whatever shows them must treat them as text."""
    found = details(step(0, input=value))["input"]
    assert found == (None if value is None else {"json": shown})


@given(values(20))
def test_any_value_is_json_and_text(value: Any) -> None:
    found = details(
        step(0, input=value, output=[value], messages=(Message(role="x", parts=({"type": "y", "z": value},)),))
    )
    if found["input"] is not None and "json" in found["input"] and isinstance(found["input"]["json"], str):
        assert whole_text(value) == found["input"]["json"] or isinstance(value, bytes | bytearray)
    RunPage(run_of((step(0, input=value),))).rows(0, 9)


def test_values_may_be_nested_deeper_than_json_is_read() -> None:
    value: Any = "x"
    for _ in range(3000):
        value = [value]
    assert details(step(0, input=value))["input"]["json"] is not None


# ── media ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_BASE64 = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    "value",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_BASE64}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _BASE64}},
        {"type": "blob", "mime_type": "image/png", "content": _BASE64},
        f"data:image/png;base64,{_BASE64}",
    ],
    ids=["OpenAI", "Anthropic", "conventions", "data URI"],
)
def test_a_picture_is_not_sent_with_a_value(value: Any) -> None:
    page = RunPage(run_of((step(0, output={"shot": value}), step(1))))
    assert page.step(1)["output"] == {"json": {"shot": {"$media": CHIP}}}
    media = page.media(DIGEST)
    assert media is not None
    assert media == ("image/png", PICTURE)
    assert RunPage(page.run).media(DIGEST) == media  # a page that was made again has to look for it
    assert page.media("0" * 64) is None


def test_bytes_are_media_of_no_known_type() -> None:
    chip = {**CHIP, "type": "application/octet-stream"}
    assert details(step(0, output=[PICTURE]))["output"] == {"json": [{"$media": chip}]}


def test_bytes_of_a_picture_are_one() -> None:
    chip = details(step(0, output=b"\x89PNG\r\n\x1a\n" + PICTURE))["output"]["json"]["$media"]
    assert chip["type"] == "image/png"


def test_a_picture_in_a_message() -> None:
    parts = (
        {"type": "text", "content": "look"},
        {"type": "blob", "mime_type": "image/png", "content": _BASE64, "name": "shot.png"},
        {"type": "uri", "uri": "https://example.com/a.png", "modality": "image"},
        {"type": "blob", "mime_type": "image/png", "modality": "image"},
    )
    shown = details(step(0, kind=StepKind.MODEL, messages=(Message(role="user", parts=parts),)))["messages"][0]["parts"]
    assert shown == [
        {"type": "text", "text": "look"},
        {"type": "media", "media": {**CHIP, "name": "shot.png"}},
        {"type": "media", "media": {"type": "image", "uri": "https://example.com/a.png"}},
        {"type": "media", "media": {"type": "image/png"}},
    ]


@given(st.text(), st.sampled_from(("data:image/png;base64,{}", "data:x/y;base64,{}", "{}")))
def test_what_looks_like_media_never_raises(content: str, form: str) -> None:
    uri = form.format(content)
    writer = JsonWriter()
    for value in (uri, {"type": "blob", "content": uri}, {"type": "image", "data": uri}, {"type": "file", "file": uri}):
        json.dumps(writer.value(value, "input"), allow_nan=False)


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_parts_of_messages() -> None:
    parts = (
        {"type": "reasoning", "content": "hm"},
        {"type": "tool_call", "id": "c1", "name": "search", "arguments": {"q": 1}},
        {"type": "tool_call_response", "id": "c1", "response": "found"},
        {"type": "server_tool_call", "name": "x"},
        {"type": "text", "content": Truncated("cut", 10, "bytes")},
    )
    message = details(step(0, kind=StepKind.MODEL, messages=(Message(role="assistant", name="bob", parts=parts),)))[
        "messages"
    ]
    assert message[0]["role"] == "assistant"
    assert message[0]["name"] == "bob"
    assert message[0]["parts"] == [
        {"type": "reasoning", "text": "hm"},
        {"type": "tool_call", "name": "search", "id": "c1", "value": {"json": {"q": 1}}},
        {"type": "tool_result", "name": None, "id": "c1", "value": {"json": "found"}},
        {"type": "other", "value": {"json": {"type": "server_tool_call", "name": "x"}}},
        {"type": "text", "text": "cut"},
    ]


def test_all_messages_of_a_call_together_are_bounded() -> None:
    messages = tuple(text("user", "x" * 100_000) for _ in range(400))
    page = RunPage(run_of((step(0, kind=StepKind.MODEL, messages=messages),)))
    found = page.step(1)["messages"]
    assert len(json.dumps(found)) < 2_000_000
    part = found[399]["parts"][0]
    assert (part["chars"], len(page.value(1, part["path"]))) == (100_000, 100_000)


def test_how_many_messages_an_earlier_call_had() -> None:
    page = RunPage(long_run(20))
    assert [page.step(number)["new_from"] for number in (1, 2, 3, 5, 19)] == [0, 0, 3, 3, 3]


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_item_has_the_places_that_the_whole_explanation_names() -> None:
    spans = run_to_spans(make_run(1))
    (explanation,) = explain(spans)
    page = RunPage(explanation.run, spans=lambda: spans)
    inner = explanation.steps[2].run
    assert inner is not None
    facts = [explanation.facts, *(each.facts for each in explanation.steps), inner.steps[0].facts]
    facts[3] = (*facts[3], *inner.facts)
    assert [page.step(number)["source"] for number in range(5)] == [
        [row._asdict() for row in rows_of_facts(each)] for each in facts
    ]


def test_a_run_that_has_gone_on_has_steps_without_places() -> None:
    run = make_run(1)
    page = RunPage(run, spans=lambda: run_to_spans(replace(run, steps=run.steps[:2])))
    assert [bool(page.step(number)["source"]) for number in range(5)] == [True, True, True, False, False]
    assert RunPage(run).step(1)["source"] == []
    assert RunPage(run, spans=list).step(1)["source"] == []


def test_logs_are_bounded() -> None:
    logs = tuple(LogEntry(at_ns=BEGAN_NS, severity="INFO", body="x" * 100_000) for _ in range(600))
    found = details(step(0, logs=logs))
    assert (len(found["logs"]), found["logs_left_out"]) == (500, 100)
    assert all(len(entry["text"]) < 5000 for entry in found["logs"])


def test_a_run_in_flight() -> None:
    run = run_of((step(0, ended_at_ns=None),), status=RunStatus.RUNNING, ended_at_ns=None)
    found = step_details(run, 1)
    assert (found["status"], found["duration_text"]) == ("running", "-")
