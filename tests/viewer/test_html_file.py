"""The document of a run: its policy, its blocks and their contents, as a browser gets them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings

from otel_agent_trace import AgentRun, AgentStep, Message, RunStatus, StepKind, Usage
from otel_agent_trace.model import LogEntry, RecordedException, Score, StepError
from otel_agent_trace.prices import NO_COST, Prices
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.semconv import SCOPE_NAME
from otel_agent_trace.viewer.html_file import BLOCK_STEPS, document_of
from otel_agent_trace.viewer.html_index import index_document
from otel_agent_trace.views.run_page import RunPage
from otel_agent_trace.views.summaries import summary_of
from tests.support import long_runs
from tests.support.run_strategies import agent_runs
from tests.support.sample_runs import make_run

ALLOWED = {"html", "head", "meta", "title", "style", "body", "script"}
INDEX_ALLOWED = ALLOWED | {
    "main",
    "h1",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "a",
    "span",
    "form",
    "input",
    "select",
    "option",
}
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "</title><img src=x onerror=alert(1)>",
    "</style><style>*{background:url(//evil.example/x)}",
    '"><svg onload=alert(1)>',
    "]]>\u2028\u2029\x00\x1b[2J\u202e\ud800",
)
PRICES = Prices.of({"no-such-model": {"input": 1, "output": 1}})
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()


class Document(HTMLParser):
    """What a parser finds in a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._is_open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append((tag, ""))
        self._is_open = True

    def handle_endtag(self, tag: str) -> None:
        self._is_open = False

    def handle_data(self, data: str) -> None:
        if self._is_open:
            tag, before = self.texts[-1]
            self.texts[-1] = (tag, before + data)

    @property
    def blocks(self) -> dict[str, Any]:
        """The blocks by name, unpacked."""
        places = [place for place, (_, attributes) in enumerate(self.elements) if "id" in attributes]
        return {
            str(self.elements[place][1]["id"]).removeprefix("block-"): _unpacked(self.texts[place][1])
            for place in places
            if self.elements[place][1].get("type") == "application/octet-stream"
        }

    def content_of(self, tag: str, **wanted: str) -> str:
        """The text of the only such element."""
        (place,) = [
            place
            for place, (name, attributes) in enumerate(self.elements)
            if name == tag and wanted.items() <= attributes.items()
        ]
        return self.texts[place][1]


def _unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text.strip(), validate=True)))


def checked(text: str, allowed: set[str]) -> Document:
    """A document, which loads nothing, and in which only the script and the style run that its policy names."""
    document = Document(text)
    assert {tag for tag, _ in document.elements} <= allowed
    for _, attributes in document.elements:
        assert not any(name.startswith("on") or name in ("src", "style", "srcdoc") for name in attributes)
        assert re.fullmatch(r"[\w.%-]+\.html", attributes.get("href") or "x.html")
    (policy,) = [
        each["content"] for _, each in document.elements if each.get("http-equiv") == "Content-Security-Policy"
    ]
    directives = dict(each.split(" ", 1) for each in str(policy).split("; "))
    script = document.content_of("script", type="module")
    assert directives == {
        "default-src": "'none'",
        "script-src": f"'sha256-{_digest(script)}'",
        "style-src": f"'sha256-{_digest(document.content_of('style'))}'",
        "img-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return document


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def blocks_of(run: AgentRun, **options: Any) -> dict[str, Any]:
    """The blocks of the document of a run, which was checked."""
    return checked(document_of(run, PRICES, **options), ALLOWED).blocks


def test_the_policy_comes_before_whatever_it_is_about() -> None:
    text = document_of(make_run(1))
    assert text.index("Content-Security-Policy") < min(
        text.index("<style"), text.index("<script"), text.index("<title")
    )


def test_the_script_has_the_modules_and_neither_imports_nor_exports() -> None:
    script = checked(document_of(make_run(1)), ALLOWED).content_of("script", type="module")
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    assert "</script" not in script.lower()
    names = re.findall(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)), "names of the modules are in one scope"


@settings(max_examples=8)
@given(agent_runs())
def test_blocks_have_what_a_page_asks_for(run: AgentRun) -> None:
    page, blocks = RunPage(run, PRICES), blocks_of(run)
    assert blocks["run"] == same(page.outline(ids=True))
    assert blocks["steps-0"]["steps"] == [same(page.step(number)) for number in range(page.count)]
    assert blocks["steps-0"]["rows"] == same(page.rows(0, page.count))
    assert blocks["conversation-0"] == same(page.conversation(0, 0))
    assert blocks["markdown"] == page.copy("markdown")


def same(data: Any) -> Any:
    """Data as JSON has it."""
    return json.loads(json.dumps(data))


def test_steps_and_conversation_are_divided_and_whole() -> None:
    run = long_runs.long_run(2 * BLOCK_STEPS + 1)
    blocks = blocks_of(run)
    steps = [blocks[f"steps-{number}"]["steps"] for number in range(3)]
    assert [len(each) for each in steps] == [BLOCK_STEPS, BLOCK_STEPS, 2]  # the run itself is an item
    assert [step["number"] for each in steps for step in each] == [*range(2 * BLOCK_STEPS + 2)]
    found: list[Any] = []
    place: int | None = 0
    while place is not None:
        found += blocks[f"conversation-{place}"]["blocks"]
        place = blocks[f"conversation-{place}"]["next"]
    assert len(found) > BLOCK_STEPS


def test_the_rest_of_a_long_value_and_pictures_are_in_blocks_of_their_own() -> None:
    long, blob = "é" * 200_000, {"type": "blob", "modality": "image", "mime_type": "image/png", "content": PIXEL}
    message = Message(role="user", parts=({"type": "text", "content": "m" * 100_000}, blob))
    model = long_runs.step(1, kind=StepKind.MODEL, name="m", messages=(message,))
    blocks = blocks_of(long_runs.run_of((long_runs.step(0, input=long, output={"deep": [long]}), model)))
    assert blocks["value-@1.input"] == long
    assert json.loads(blocks["value-@1.output"]) == {"deep": [long]}
    assert "m" * 100_000 in blocks.values()
    (media,) = [value for name, value in blocks.items() if name.startswith("media-")]
    assert media == {"type": "image/png", "data": PIXEL}


@pytest.mark.parametrize("value", [{"path": "a.py", "chars": 3}, {"path": 5, "chars": 3}, {"digest": ["x"]}])
def test_recorded_values_that_look_like_cut_ones_are_shown_as_they_are(value: Any) -> None:
    blocks = blocks_of(long_runs.run_of((long_runs.step(0, input=value, output={"json": {"$media": value}}),)))
    assert blocks["steps-0"]["steps"][1]["input"] == {"json": value}
    assert not any(name.startswith(("value-", "media-")) for name in blocks)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_cannot_leave_their_place(text: str) -> None:
    step = AgentStep(
        step_id=text,
        name=text,
        span_id=text,
        input={text: text},
        output=text,
        messages=(
            Message(role=text, name=text, parts=({"type": text, "content": text}, {"type": "text", "content": text})),
        ),
        error=StepError(type=text, message=text, stacktrace=text),
        kind=StepKind.MODEL,
        model=text,
    )
    run = long_runs.run_of((step,), run_id=text, agent_name=text, user_input=text, tags=(text,), session_id=text)
    blocks = blocks_of(run)
    assert blocks["run"]["head"]["agent"]
    checked(document_of(run, has_content=False), ALLOWED)
    index = checked(index_document([(summary_of(run, NO_COST), "a-1.html")]), INDEX_ALLOWED)
    assert [each["href"] for tag, each in index.elements if tag == "a"] == ["a-1.html"]


def test_5000_steps_with_their_sources_are_at_most_a_megabyte() -> None:
    """A tenth of them takes a tenth of the room beside what each document has."""
    none, some = long_runs.long_run(0), long_runs.long_run(500)
    text = document_of(some, spans=lambda: run_to_spans(some))
    fixed_bytes = len(document_of(none).encode())
    assert len(text.encode()) - fixed_bytes <= (1_000_000 - fixed_bytes) / 10
    assert checked(text, ALLOWED).blocks["steps-2"]["steps"][-1]["source"]


def test_a_run_of_ours_says_where_its_facts_were_read_and_others_need_their_spans() -> None:
    own, other = make_run(1, recorded_by=SCOPE_NAME), make_run(1, recorded_by="langfuse-sdk")
    for steps in (steps_in(own), steps_in(other, spans=lambda: run_to_spans(other))):
        (search,) = [step for step in steps if step["name"] == "search"]
        assert any(fact["place"] == "gen_ai.tool.call.result" for fact in search["source"])
    assert all(step["source"] == [] for step in steps_in(other))


def steps_in(run: AgentRun, **options: Any) -> list[Any]:
    return list(blocks_of(run, **options)["steps-0"]["steps"])


# ── without content ──────────────────────────────────────────────────────────────────────────────────────────────────

CANARY = "canary"
NAMES = "name-"


def full(number: int, inner: AgentRun | None = None) -> AgentRun:
    """A run with something in each field; what is content has the canary, what may be shown does not."""
    error = StepError(
        type="ValueError",
        message=CANARY,
        category="invalid_request",
        stacktrace=CANARY,
        exception=RecordedException(classes=(CANARY,), args=(CANARY,), attributes={CANARY: CANARY}, notes=(CANARY,)),
    )
    facts: dict[str, Any] = {
        "error": error,
        "usage": Usage(input_tokens=7, output_tokens=3, details={CANARY: CANARY}),
        "prompt_name": CANARY,
        "prompt_version": CANARY,
        "metadata": {CANARY: CANARY},
        "attributes": {CANARY: CANARY, f"x.{CANARY}": [CANARY]},
        "interrupted_for": {CANARY: CANARY},
        "truncated": (f".{CANARY}",),
        "redacted": (f".{CANARY}",),
        "logs": (LogEntry(at_ns=1, severity=CANARY, body=CANARY, logger=CANARY, attributes={CANARY: CANARY}),),
        "scores": (Score(name=CANARY, value=1, label=CANARY, explanation=CANARY, source=CANARY),),
    }
    step = AgentStep(
        step_id=1,
        name=f"{NAMES}step",
        kind=StepKind.MODEL if inner is None else StepKind.AGENT,
        model=f"{NAMES}model",
        input={CANARY: CANARY},
        output=CANARY,
        input_after=CANARY,
        chunks=[CANARY],
        returned_as=(CANARY,),
        not_recorded=(CANARY,),
        messages=(
            Message(role=CANARY, name=CANARY, parts=({"type": "text", "content": CANARY},), extra={CANARY: CANARY}),
        ),
        span_id=f"{number:016x}",
        run=inner,
        started_at_ns=long_runs.BEGAN_NS,
        ended_at_ns=long_runs.BEGAN_NS + 5,
        **facts,
    )
    run_facts = {
        "user_input": CANARY,
        "final_output": CANARY,
        "user_id": CANARY,
        "session_id": CANARY,
        "tags": (CANARY,),
        "config": {CANARY: CANARY},
        "continues": CANARY,
        "replay_of": CANARY,
        "resource": {"service.name": f"{NAMES}service", CANARY: CANARY, "host.name": CANARY},
    }
    named = {"run_id": f"run-{number}", "agent_name": f"{NAMES}agent", "status": RunStatus.ERROR}
    return long_runs.run_of((step,), **named, **facts, **run_facts)


def test_without_content_nothing_is_left_but_names_times_tokens_and_classes_of_errors() -> None:
    run = full(1, full(2))
    set_fields = {name for name in run.__struct_fields__ if getattr(run, name) not in (None, (), {}, False)}
    content = set(AgentRun.__struct_fields__) - set_fields
    assert content <= {"trace_id", "trace_ids", "span_id", "parent_run_id", "interrupted", "recorded_by", "dialect"} | {
        *("abandoned", "first_chunk_at_ns", "sampling_probability", "model")
    }, "each field with content has the canary"
    whole, bare = json.dumps(blocks_of(run)), json.dumps(blocks_of(run, has_content=False))
    assert whole.count(CANARY) > 50
    assert CANARY not in bare
    for kept in ("name-agent", "name-step", "name-model", "name-service", "ValueError", "invalid_request"):
        assert kept in bare
    head = blocks_of(run, has_content=False)["run"]["head"]
    assert (head["input_tokens"], head["output_tokens"], head["status"]) == (7, 3, "error")


def test_without_content_the_outline_is_the_same() -> None:
    paused = long_runs.step(2, interrupted_for={"ask": "him"})
    run = long_runs.run_of((*long_runs.long_run(2).steps, paused), interrupted_for={"ask": "him"})
    whole, bare = (blocks_of(run, has_content=has_content)["run"] for has_content in (True, False))
    for outline in (whole, bare):
        assert outline["columns"].pop("cost_nano_usd")
    assert bare["columns"] == whole["columns"]
    assert bare["head"]["status"] == whole["head"]["status"] == "paused"


def test_spans_of_a_bare_run_have_no_content_either() -> None:
    text = document_of(full(1), has_content=False)
    assert CANARY not in text
    assert len([*run_to_spans(full(1))]) == 2
