"""What a page about one run asks for, as one object answers it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, AgentStep, StepError, StepKind, run_to_spans
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.json_values import JsonWriter
from otel_agent_trace.views.outline import outline_of
from otel_agent_trace.views.previews import preview_of
from otel_agent_trace.views.run_page import RunPage
from tests.support.long_runs import deep_run, failed, long_run, nested_run, run_of, step, text
from tests.support.sample_runs import make_run
from tests.support.strategies import values


def preview(one: AgentStep) -> str:
    return preview_of(RunItems(run_of((one,)))[1])


def test_the_outline_with_the_step_that_an_address_names() -> None:
    page = RunPage(run_of((step(0), step(1))), revision="7", command="replay")
    assert page.outline() == outline_of(page.run, revision="7", command="replay")
    assert page.outline(f"{2:016x}")["selected"] == 2
    assert (page.outline("unknown")["selected"], page.outline()["selected"]) == (None, None)
    assert page.outline(ids=True)["columns"]["ids"] == [None, f"{1:016x}", f"{2:016x}"]
    assert "ids" not in page.outline()["columns"]


def test_previews() -> None:
    assert preview(step(0, input={"q": 1, "n": 2}, output={"a": 3})) == '{"q": 1, "n": 2} → 3'
    assert preview(step(0, input={"q": "rain\n\nin  Oslo"}, output="wet")) == "rain in Oslo → wet"
    assert preview(failed(0, StepError(type="ValueError", message="no"), input="x")) == "x ✕ ValueError: no"
    assert (preview(step(0)), preview(step(0, output="wet")), preview(step(0, input="x"))) == ("", "→ wet", "x")
    messages = (text("system", "s"), text("user", "Will it rain?"), text("assistant", "Yes."))
    assert preview(step(0, kind=StepKind.MODEL, messages=messages)) == "Will it rain? → Yes."
    inner = run_of((), user_input="q", final_output="a")
    assert preview(step(0, kind=StepKind.AGENT, run=inner)) == "q → a"


@given(values(5), values(5), st.booleans())
def test_previews_are_short_and_one_line(given: Any, returned: Any, has_failed: bool) -> None:
    error = StepError(type="ValueError", message="x" * 300) if has_failed else None
    found = preview(step(0, input=[given] * 50, output=returned, error=error))
    assert len(found) <= 200
    assert len(found.splitlines()) <= 1


def test_long_sides_of_a_preview_are_both_shown() -> None:
    found = preview(step(0, input="x" * 10_000, output="y" * 10_000))
    assert found.startswith("x" * 90)
    assert found.endswith("y" * 50 + "…")


def test_rows_are_those_that_were_asked_for() -> None:
    page = RunPage(long_run(2000))
    assert page.rows(3, 5) == [{"number": 3, "preview": page.rows(3, 4)[0]["preview"]}, *page.rows(4, 5)]
    assert [row["number"] for row in page.rows(-5, 2)] == [0, 1]
    assert [len(page.rows(*bounds)) for bounds in ((0, 10**9), (1999, 3000), (5000, 6000), (5, 2))] == [500, 2, 0, 0]
    odd = RunPage(run_of((step(0, input="\ud800"),))).rows(0, 2)
    json.dumps(odd, ensure_ascii=False).encode()


def test_copies() -> None:
    page = RunPage(make_run(1), command="otel-agent-trace replay s r")
    assert AgentRun.from_dict(json.loads(page.copy("json"))) == page.run
    assert AgentStep.from_dict(json.loads(page.copy("json", 2))) == page.run.steps[1]
    assert page.copy("markdown").startswith("# Run `")
    assert page.copy("markdown", 2).startswith("# step 2, tool `search`")
    assert len(page.copy("markdown", budget=50)) <= 200
    assert page.copy("command") == "otel-agent-trace replay s r"
    with pytest.raises(ValueError, match="json, markdown or command"):
        page.copy("xml")
    with pytest.raises(ValueError, match="too deeply"):
        RunPage(nested_run(2000)).copy("json")


def test_values_by_path() -> None:
    error = StepError(type="ValueError", message="no", stacktrace="Traceback")
    call = {"type": "tool_call", "name": "f", "arguments": {"q": 1}}
    messages = (text("user", "Hi"), text("assistant", "Yo"))
    one = step(0, input=[1], error=error, messages=(*messages, type(messages[0])(role="assistant", parts=(call,))))
    page = RunPage(run_of((one, step(1)), resource={"service.name": "api"}, user_input="go"))
    assert page.value(1, "input") == "[\n  1\n]"
    assert page.value(1, "messages.0.parts.0") == "Hi"
    assert page.value(1, "messages.2.parts.0") == '{\n  "q": 1\n}'
    assert page.value(2, "@1.messages.1.parts.0") == "Yo"
    assert (page.value(1, "error.message"), page.value(1, "error.stacktrace")) == ("no", "Traceback")
    assert (page.value(1, "error"), page.value(0, "input")) == ("ValueError: no", "go")
    assert page.value(0, "resource") == '{\n  "service.name": "api"\n}'


@pytest.mark.parametrize(
    "path",
    ["", "output", "steps", "__class__", "messages.9.parts.0", "messages.0.parts.9", "messages.0", "error", "error.x"],
)
def test_a_path_that_leads_nowhere(path: str) -> None:
    page = RunPage(run_of((step(0, messages=(text("user", "Hi"),)),)))
    with pytest.raises(KeyError):
        page.value(1, path)


def test_a_path_to_an_item_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        RunPage(run_of(())).value(0, "@7.input")


def test_the_spans_are_read_once_and_only_for_details() -> None:
    calls: list[int] = []

    def spans() -> Any:
        calls.append(1)
        return run_to_spans(run)

    run = make_run(1)
    page = RunPage(run, spans=spans)
    page.outline()
    page.rows(0, 5)
    page.conversation()
    assert calls == []
    assert page.step(1)["source"]
    assert page.step(2)["source"]
    assert calls == [1]


def test_media_that_are_not_there_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    page = RunPage(long_run(10))
    assert page.media("0" * 64) is None
    monkeypatch.delattr(JsonWriter, "value")
    assert page.media("1" * 64) is None


def test_everything_is_there_for_runs_of_any_depth() -> None:
    for run in (deep_run(10_000), nested_run(10_000), long_run(50_000)):
        page = RunPage(run)
        assert page.step(0)["number"] == 0
        assert page.step(5000)["number"] == 5000
        assert page.rows(9000, 9010)[0]["number"] == 9000
        assert page.media("0") is None
