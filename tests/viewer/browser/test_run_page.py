"""A run in a browser: the step that matters, its details, pictures, copies and scores."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from otel_agent_trace import AgentTracer, FileBackend, Limits, load_run
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepError
from otel_agent_trace.viewer.html_file import document_of
from tests.support.browser import Tabs, is_shown_at
from tests.support.viewed import Viewed, viewing
from tests.support.waiting import wait_until

LONG = "word " * 2_000_000
"""A text of 10 MB."""


_EMPTY_COLUMNS = """(selector) => {
  const paths = [...document.querySelectorAll(selector)];
  const isSet = (column) => paths.some((path) => path.isPointInFill(new DOMPoint(column + 0.5, 2.5)));
  return [...Array(400).keys()].filter((column) => !isSet(column));
}"""
"""Returns the columns of the minimap in whose first level no path is filled."""
_LABELS = """() => [...document.querySelectorAll(".axis > *")].map((label) => {
  const range = document.createRange();
  range.selectNodeContents(label);
  const { left, right, top } = range.getBoundingClientRect(), around = label.getBoundingClientRect();
  return [around.left, label.textContent, top < around.bottom && left >= around.left && right <= around.right];
}).sort(([one], [other]) => one - other).map(([, ...label]) => label)"""
"""Returns the labels of the axis from left to right, and whether each is in view, as a whole."""


_NO_CLIPBOARD = "delete Navigator.prototype.clipboard"
_NO_COPY = "Document.prototype.execCommand = () => false"


def run_of_equal_steps(count: int, failed: tuple[int, ...]) -> AgentRun:
    """A run of steps that follow each other, of a millisecond each, of which the last failed one ended it."""
    error = StepError(type="KeyError", message="'year'", category="other")
    began_ns, ms_ns = 1_795_475_000_000_000_000, 1_000_000
    steps = tuple(
        AgentStep(
            step_id=number + 1,
            index=number,
            span_id=f"{number + 1:016x}",
            name="search",
            started_at_ns=began_ns + number * ms_ns,
            ended_at_ns=began_ns + (number + 1) * ms_ns,
            error=error if number in failed else None,
        )
        for number in range(count)
    )
    times = {"started_at_ns": began_ns, "ended_at_ns": steps[-1].ended_at_ns}
    ids = {"run_id": "long", "trace_id": "a" * 32, "span_id": "b" * 16}
    return AgentRun(agent_name="worker", status=RunStatus.ERROR, error=error, steps=steps, **ids, **times)  # type: ignore[arg-type]


def png(side: int = 40) -> bytes:
    """A picture of stripes, so many pixels wide and high."""
    lines = b"".join(b"\0" + bytes(3 * column * line % 256 for column in range(3 * side)) for line in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    sums = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(sums)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Viewed, Path]]:
    """The page of a store of one run: with a picture and a long text, and errors that were handled before the last one."""
    path = tmp_path / "traces.jsonl"
    tracer = AgentTracer(backend=FileBackend(str(path)), limits=Limits(value_bytes=20_000_000))
    with pytest.raises(KeyError), tracer.run(run_id="own", agent_name="painter", user_input="draw it") as run:
        with pytest.raises(ValueError, match="handled"), run.step("first", {"n": 1}):
            raise ValueError("handled")
        with run.step("draw", {"picture": png(), "size": [2, 2]}) as step:
            step.output = "drawn"
        with run.step("read", {"text": LONG}):
            pass
        with run.step("last", {"n": 2}):
            raise KeyError("year")
    tracer.close()
    with viewing(path, "--port", 0, "--no-open") as running:
        yield running, path


def steps(page: Page) -> Locator:
    """The rows of the tree that are in the document."""
    return page.get_by_role("treegrid").get_by_role("row")


def selected(page: Page) -> Locator:
    """The selected row."""
    return page.locator("[role=treegrid] [aria-selected=true]")


def pane(page: Page) -> Locator:
    """What is shown of the selected step."""
    return page.get_by_role("region", name="Step", exact=True)


def heading(page: Page) -> Locator:
    """The name of the step that is shown."""
    return pane(page).get_by_role("heading", level=2)


def test_a_failed_run_opens_at_its_cause(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")

    expect(selected(page)).to_contain_text("query_table")
    expect(selected(page)).to_be_in_viewport()
    expect(heading(page)).to_contain_text("query_table")
    expect(pane(page)).to_contain_text("KeyError: 'year'")
    pane(page).get_by_text("Stack trace").click()
    expect(pane(page)).to_contain_text('File "tables.py", line 41')
    expect(pane(page)).to_contain_text("WARNING: table deliveries has no column year")


def test_keys_move_through_the_tree(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    tree = page.get_by_role("treegrid")
    expect(selected(page)).to_contain_text("query_table")
    for key, name in (
        ("Home", "researcher"),
        ("j", "gpt-4o-mini"),
        ("ArrowDown", "search"),
        ("k", "gpt-4o-mini"),
        ("e", "search"),
    ):
        page.keyboard.press(key)
        expect(selected(page)).to_contain_text(name)
        expect(tree).to_have_attribute("aria-activedescendant", selected(page).get_attribute("id") or "")
    page.keyboard.press("e")
    expect(selected(page)).to_contain_text("query_table")
    page.keyboard.press("e")
    expect(selected(page)).to_contain_text("search")


def test_a_sub_agent_is_folded_and_unfolded(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    reader = steps(page).filter(has_text="reader")
    reader.click()
    expect(reader).to_have_attribute("aria-expanded", "true")

    page.keyboard.press("ArrowLeft")
    expect(reader).to_have_attribute("aria-expanded", "false")
    expect(reader).to_contain_text("+6")
    expect(steps(page).filter(has_text="fetch_page")).to_have_count(0)
    page.keyboard.press("ArrowRight")

    expect(steps(page).filter(has=page.get_by_text("fetch_page", exact=True))).to_have_count(3)


def test_the_address_of_a_step_survives(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    expect(selected(page)).to_contain_text("query_table")
    steps(page).filter(has_text="penalty").click()
    expect(heading(page)).to_contain_text("contracts")
    is_shown_at(page, r"\?step=[0-9a-f]{16}$")

    page.reload()
    expect(heading(page)).to_contain_text("contracts")
    expect(selected(page)).to_contain_text("contracts")
    other = tabs.open_in(page.context, page.url)
    expect(heading(other)).to_contain_text("contracts")


def test_a_step_that_is_not_there_is_announced(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report?step=none")
    notice = page.get_by_role("alert")
    expect(notice).to_have_text("There is no step none in this run.")
    expect(heading(page)).to_contain_text("query_table")
    is_shown_at(page, r"\?step=[0-9a-f]{16}$")
    page.keyboard.press("k")

    expect(notice).to_have_count(0)


def test_bars_and_the_axis_follow_what_is_chosen(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    figure = steps(page).nth(1).locator(".figure")
    expect(figure).to_have_text("1.40s")
    gap = page.locator(".axis .gap")
    expect(gap).to_have_attribute("title", re.compile(r"^idle 1m3\ds$"))
    expect(gap).to_have_text(re.compile(r"^idle1m3\ds$"))
    expect(gap).to_have_css("border-left-style", "dashed")
    assert page.evaluate(_LABELS) == [["0ms", True], [gap.inner_text().replace("\n", ""), True], ["1m52s", True]]
    page.set_viewport_size({"width": 400, "height": 800})
    assert [is_seen for _, is_seen in page.evaluate(_LABELS)] == [True, False, False]
    page.set_viewport_size({"width": 1280, "height": 760})
    expect(page.get_by_role("treegrid")).to_have_css("background-image", re.compile("gradient"))
    page.get_by_role("button", name="tokens").click()
    expect(figure).to_have_text("720")
    page.get_by_role("button", name="cost", exact=True).click()
    expect(figure).to_have_text(re.compile(r"^\$0\.0"))
    page.get_by_role("button", name="time", exact=True).click()
    page.get_by_role("button", name="visible rows").click()

    expect(page.get_by_role("button", name="visible rows")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".axis")).to_contain_text("0ms")


def test_steps_without_tokens_have_no_bar_by_tokens(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    page.get_by_role("button", name="tokens").click()

    with_tokens, without = (
        steps(page).filter(has=page.get_by_text(name, exact=True)).first for name in ("gpt-4o-mini", "query_table")
    )
    expect(with_tokens.locator(".mark")).to_have_count(1)
    expect(without.locator(".mark")).to_have_count(0)
    page.get_by_role("button", name="time", exact=True).click()
    expect(without.locator(".mark")).to_have_count(1)


def test_the_minimap_shows_all_of_many_steps_and_each_error(tabs: Tabs, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(document_of(run_of_equal_steps(5001, failed=(1000, 4000))), encoding="utf-8")
    page = tabs.open(file.as_uri(), offline=True)
    expect(selected(page)).to_contain_text("search")

    assert page.evaluate(_EMPTY_COLUMNS, ".minimap path:not(.bad)") == []
    empty = page.evaluate(_EMPTY_COLUMNS, ".minimap path.bad")
    assert set(range(400)) - set(empty) == {80, 81, 320, 321}
    assert page.locator(".minimap .cause").get_attribute("x") == "320"
    assert page.locator(".minimap *").count() <= 10


def test_the_minimap_shows_when_the_rows_in_view_are(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report", viewport={"width": 1280, "height": 340})
    expect(selected(page)).to_contain_text("query_table")
    page.keyboard.press("End")
    expect(selected(page)).to_be_in_viewport()

    begin, width = (float(page.locator(".minimap .window").get_attribute(name) or "") for name in ("x", "width"))
    assert begin > 0
    assert begin + width == pytest.approx(400, abs=0.1)


def test_the_tabs_of_a_step_show_all_of_it(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("deliveries")
    page.keyboard.press("k")
    expect(heading(page)).to_contain_text("gpt-4o-mini")
    page.get_by_role("tab", name="Attributes").click()
    expect(panel).to_contain_text("gen_ai.provider.name")
    page.get_by_role("tab", name="Source").click()
    expect(panel).to_contain_text("gen_ai.usage.input_tokens")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Attributes")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tab", name="Attributes")).to_be_focused()


def test_a_run_is_one_conversation(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report?item=0")
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("You are a careful analyst.")
    expect(panel.get_by_text("Read the three contracts.").first).to_be_visible()
    assert panel.inner_text().count("You are a careful analyst.") == 1

    panel.get_by_role("button", name="query_table").last.click()
    expect(heading(page)).to_contain_text("query_table")


def test_a_call_of_a_model_shows_what_is_new(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    expect(selected(page)).to_contain_text("query_table")
    page.keyboard.press("k")
    panel = page.get_by_role("tabpanel")

    expect(panel.locator("summary").first).to_have_text(re.compile("earlier message"))
    expect(panel.get_by_text("You are a careful analyst.")).to_be_hidden()
    panel.locator("summary").first.click()
    expect(panel.get_by_text("You are a careful analyst.")).to_be_visible()


def test_a_text_is_found_in_the_steps(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report")
    expect(selected(page)).to_contain_text("query_table")
    page.keyboard.press("Home")
    page.keyboard.press("/")
    page.keyboard.type("penalty")

    expect(selected(page)).to_contain_text("contracts")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_a_step_is_copied(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report", permissions=["clipboard-read", "clipboard-write"])
    expect(heading(page)).to_contain_text("query_table")
    copied = {}
    for word in ("JSON", "Markdown", "command"):
        page.evaluate("() => navigator.clipboard.writeText('')")
        page.get_by_role("button", name=f"Copy as {word}").click()
        copied[word] = wait_until(lambda: page.evaluate("() => navigator.clipboard.readText()"), "nothing was copied")

    assert "deliveries" in json.dumps(json.loads(copied["JSON"]))
    assert "KeyError" in copied["Markdown"]
    assert copied["command"].startswith("otel-agent-trace replay ")
    assert "supplier-report" in copied["command"]


def test_a_step_is_copied_where_there_is_no_clipboard(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report", before=_NO_CLIPBOARD)
    page.get_by_role("button", name="Copy as command").click()
    expect(page.get_by_role("group", name="Copy")).to_contain_text("Copied")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("searchbox").press("ControlOrMeta+v")

    expect(page.get_by_role("searchbox")).to_have_value(re.compile("^otel-agent-trace replay .*supplier-report"))


def test_what_cannot_be_copied_is_shown(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "runs/supplier-report", before=f"{_NO_CLIPBOARD}; {_NO_COPY}")
    page.get_by_role("button", name="Copy as JSON").click()
    dialog = page.get_by_role("dialog", name="Copy")
    expect(dialog).to_contain_text("copy the selected text")
    assert "deliveries" in json.dumps(json.loads(dialog.get_by_role("textbox").input_value()))
    selected_text = "() => document.activeElement.selectionEnd - document.activeElement.selectionStart"
    assert page.evaluate(selected_text) == len(dialog.get_by_role("textbox").input_value())
    expect(page.get_by_role("group", name="Copy", include_hidden=True)).to_contain_text("Not copied")
    page.keyboard.press("Escape")

    expect(dialog).to_have_count(0)
    expect(heading(page)).to_contain_text("query_table")


def test_a_session_leads_to_its_run_and_back(tabs: Tabs, shown: Viewed) -> None:
    page = tabs.open(shown.url + "sessions")
    expect(page.locator(".session-row", has_text="board-report")).to_contain_text("Which of our three suppliers")
    page.get_by_role("link", name="board-report").click()
    is_shown_at(page, "/sessions/board-report$")
    expect(page.get_by_text("first failed turn")).to_be_visible()
    expect(page.locator("[aria-current=true]")).to_have_attribute("data-run", "supplier-report")
    page.keyboard.press("Enter")
    is_shown_at(page, "/runs/supplier-report")
    page.get_by_role("link", name="Session board-report").click()

    is_shown_at(page, "/sessions/board-report$")


def test_a_picture_is_shown_once_it_is_asked_for(own: tuple[Viewed, Path], tabs: Tabs) -> None:
    page = tabs.open(own[0].url + "runs/own")
    steps(page).filter(has_text="draw").last.click()
    chip = page.get_by_role("button", name=re.compile("^image.png"))
    expect(chip).to_be_visible()
    expect(page.locator("img")).to_have_count(0)
    chip.click()

    picture = page.locator("img")
    expect(picture).to_have_attribute("src", re.compile("^blob:"))
    page.wait_for_function("() => document.querySelector('img').naturalWidth === 40")


def test_all_of_a_long_text_is_shown_when_asked_for(own: tuple[Viewed, Path], tabs: Tabs) -> None:
    page = tabs.open(own[0].url + "runs/own")
    steps(page).filter(has_text="read").last.click()
    expect(heading(page)).to_contain_text("read")
    assert len(page.get_by_role("tabpanel").inner_text()) < 100_000
    page.get_by_role("button", name=re.compile("Show all")).click()

    page.wait_for_function(f"() => document.querySelector('[role=tabpanel]').textContent.length > {len(LONG)}")
    expect(steps(page).first).to_be_visible()


def test_a_score_is_given_by_a_thumb_and_a_word(own: tuple[Viewed, Path], tabs: Tabs) -> None:
    viewed, path = own
    page = tabs.open(viewed.url + "runs/own")
    expect(heading(page)).to_contain_text("last")
    page.get_by_label("Why").fill("wrong column")
    page.get_by_role("button", name="Not helpful").click()
    expect(page.get_by_text("Score kept")).to_be_visible()
    page.reload()
    expect(page.get_by_role("tabpanel")).to_contain_text("helpful false")

    run = load_run(path, "own")
    (score,) = run.steps[-1].scores
    assert (score.name, score.value, score.explanation, score.source) == ("helpful", False, "wrong column", "HUMAN")
