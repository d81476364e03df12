"""The page of a run: what the server answers about it, scores that are given there, and comparisons, sessions and metrics."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_run
from otel_agent_trace.metrics.engines import source_metrics
from tests.support.viewed import Viewed, viewing
from tests.viewer.conftest import ODD_ID, PNG, write_runs

ODD_PATH = f"api/runs/{quote(ODD_ID, safe='')}"


def test_an_outline(viewed: Viewed, store: Path) -> None:
    outline = viewed.json("api/runs/failed")
    assert outline["run_id"] == "failed"
    assert [outline["names"][name] for name in outline["columns"]["name"]] == ["weather", "search", "fetch"]
    assert outline["cause"] == 2
    assert outline["head"]["status"] == "timeout"
    assert outline["head"]["command"] == f"otel-agent-trace replay {store} failed"


def test_a_step_is_selected_by_its_span(viewed: Viewed) -> None:
    span_id = viewed.json("api/runs/one/steps/31")["span_id"]
    assert viewed.json("api/runs/one", step=span_id)["selected"] == 31
    assert viewed.json("api/runs/one", step="none")["selected"] is None


@pytest.mark.parametrize("path", ["", "/rows", "/steps/0", "/conversation", "/copy"])
def test_an_id_may_be_any_text(viewed: Viewed, path: str) -> None:
    assert viewed.client.get(ODD_PATH + path).status_code == 200
    assert viewed.client.get(f"/runs/{quote(ODD_ID, safe='')}").status_code == 200


def test_the_page_of_an_address_below_finds_its_files(viewed: Viewed) -> None:
    assert '"assets/' in viewed.client.get("/metrics").text
    assert '"../assets/' in viewed.client.get("/runs/one").text
    assert '"../assets/' in viewed.client.get(f"/runs/{quote(ODD_ID, safe='')}").text


def test_files_are_sent_once(viewed: Viewed) -> None:
    answer = viewed.client.get("/assets/icon.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    again = viewed.client.get("/assets/icon.svg", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert viewed.client.head("/").status_code == 200


def test_parts_of_a_run(viewed: Viewed) -> None:
    assert [row["number"] for row in viewed.json("api/runs/one/rows", **{"from": 2, "to": 5})] == [2, 3, 4]
    assert len(viewed.json("api/runs/one/rows")) == 32
    step = viewed.json("api/runs/one/steps/1")
    assert step["input"] == {"json": {"number": 0}}
    assert {"fact", "value", "place", "span", "note"} == set(step["source"][0])
    assert viewed.json("api/runs/one/conversation")["blocks"][0]["role"] == "user"
    assert viewed.json("api/runs/one/conversation", step=1)
    assert viewed.client.get("api/runs/one/value?step=0&path=output").text == "answer one"


def test_copies(viewed: Viewed, store: Path) -> None:
    def copy(**parameters: Any) -> str:
        answer = viewed.client.get("api/runs/failed/copy", params=parameters)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        return answer.text

    assert json.loads(copy(format="json")) == load_run(str(store), "failed").to_dict()
    assert json.loads(copy(format="json", step=2))["name"] == "fetch"
    assert "too slow" in copy(format="markdown")
    assert copy(format="command") == f"otel-agent-trace replay {store} failed"
    assert "format" in viewed.json("api/runs/failed/copy", 400, format="pdf")["error"]


def test_media(viewed: Viewed) -> None:
    """A picture of a step, as its bytes, and never as a document."""
    digest = hashlib.sha256(PNG).hexdigest()
    step = next(viewed.json(f"api/runs/outer/steps/{number}") for number in (2,))
    assert digest in json.dumps(step)
    answer = viewed.client.get(f"api/runs/outer/media/{digest}")
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'; sandbox"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        *((f"api/runs/none{part}", 404) for part in ("", "/rows", "/steps/0", "/conversation", "/copy", "/media/0")),
        *((f"api/runs/one/{part}", 404) for part in ("steps/32", "steps/999999999", "media/0", "value?step=1&path=x")),
        *((f"api/runs/one/{part}", 404) for part in ("conversation?step=32", "copy?step=99", "nowhere", "steps")),
        *((f"api/runs/one/{part}", 400) for part in ("steps/x", "steps/-1", "rows?from=x", "conversation?step=-1")),
        *(
            ("api/runs/o", 400),
            ("api/compare?a=one", 400),
            ("api/compare?a=one&b=none", 404),
            ("api/sessions/none", 404),
        ),
        *(("api/metrics?by=beauty", 400), ("api/metrics?bucket=x", 400), ("api/sessions?count=x", 400), ("api", 404)),
        *(("api/runs/one/scores", 405), ("api/login", 405), ("runs/one/more", 404), ("runs", 404), ("api/runs/", 404)),
    ],
)
def test_what_is_not_there(viewed: Viewed, path: str, code: int) -> None:
    answer = viewed.client.get(path)
    assert answer.status_code == code
    assert set(answer.json()) == {"error"}
    assert "Traceback" not in answer.text


def test_a_comparison(viewed: Viewed) -> None:
    compared = viewed.json("api/compare", a="one", b="two")
    assert [compared[side]["answer"] for side in "ab"] == ["answer one", "answer two"]
    run, equal, changed = compared["rows"]
    assert (run["mark"], run["a"], [each["label"] for each in run["differences"]]) == ("changed", 0, ["answer"])
    assert (equal["mark"], equal["equal_steps"], equal["a"], equal["b"]) == ("equal", 30, 1, 1)
    assert (changed["mark"], changed["a"], changed["title_a"]) == ("changed", 31, "tool fetch")
    assert changed["differences"] == [{"label": "in", "lines": [["-", '{"page": "one"}'], ["+", '{"page": "two"}']]}]
    assert compared["first"] == 2
    assert [delta["label"] for delta in compared["deltas"]] == ["duration", "steps", "tokens", "cost"]


def test_a_comparison_of_one_run_with_itself(viewed: Viewed) -> None:
    compared = viewed.json("api/compare", a="one", b="one")
    (row,) = compared["rows"]
    assert (row["mark"], row["equal_steps"], compared["first"]) == ("equal", 31, None)
    assert {delta["delta_text"] for delta in compared["deltas"]} == {""}


def test_a_comparison_of_runs_that_have_nothing_in_common(viewed: Viewed) -> None:
    marks = {row["mark"] for row in viewed.json("api/compare", a="failed", b="outer")["rows"]}
    assert {"only_a", "only_b"} <= marks


def test_sessions(viewed: Viewed) -> None:
    (session,) = viewed.json("api/sessions")["sessions"]
    assert (session["session_id"], session["turns"], session["status"]) == ("talk/1", 2, "success")
    assert session["question"] == "same"
    found = viewed.json(f"api/sessions/{quote('talk/1', safe='')}")
    assert found["session"] == session
    assert [(turn["run_id"], turn["question"], turn["answer"]) for turn in found["turns"]] == [
        ("one", "same", "answer one"),
        ("two", "same", "answer two"),
    ]
    assert found["first_failed"] is None
    page = viewed.json("api/sessions/talk%2F1", **{"from": 1, "count": 5})
    assert ([turn["run_id"] for turn in page["turns"]], page["from"]) == (["two"], 1)
    assert viewed.json("api/sessions", agent="chief") == {"sessions": []}


def test_metrics(viewed: Viewed, store: Path) -> None:
    found = viewed.json("api/metrics", by=["agent", "status"], bucket="1h")
    assert found["report"] == source_metrics(str(store), by=["agent", "status"], bucket="1h").to_dict()
    assert "5 runs" in found["texts"]["title"][0]["text"]
    columns = [[column["title"] for column in table["columns"]] for table in found["texts"]["tables"]]
    assert columns[0][:2] == ["tools", "calls"]
    assert viewed.json("api/metrics", agent="chief")["report"]["runs"] == 1


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    path = tmp_path / "t.jsonl"
    write_runs(path)
    return path


def test_scores_are_kept_as_the_tracer_keeps_them(scored: Path) -> None:
    with viewing(scored, "--port", 0, "--no-open") as viewed:
        assert viewed.json("api/about")["can_score"] is True

        def give(run_id: str, **body: Any) -> Any:
            answer = viewed.client.post(f"api/runs/{run_id}/scores", json=body)
            assert answer.status_code == 201, answer.text
            return answer.json()

        assert give("one", name="helpful", value=1, step=None)["source"] == "HUMAN"
        span_id = viewed.json("api/runs/one/steps/3")["span_id"]
        give("one", name="verdict", label="wrong", explanation="no\u0007such <b>page</b>", step=span_id)
        inner = viewed.json("api/runs/outer/steps/2")["step_name"]
        assert (inner, viewed.json("api/runs/outer", step=inner)["selected"]) == ("1/1", 2)
        give("outer", name="relevant", value=0.25, step=inner)
        (shown,) = viewed.json("api/runs/one/steps/3")["scores"]
        assert (shown["name"], shown["label"]) == ("verdict", "wrong")
    run = load_run(str(scored), "one")
    (score,) = run.scores
    assert (score.name, score.value, score.source) == ("helpful", 1, "HUMAN")
    (of_step,) = run.steps[2].scores
    assert (of_step.name, of_step.label, of_step.explanation) == ("verdict", "wrong", "no\u0007such <b>page</b>")
    (of_inner,) = load_run(str(scored), "outer").steps[0].run.steps[0].scores
    assert (of_inner.name, of_inner.value) == ("relevant", 0.25)


@pytest.mark.parametrize(
    ("run_id", "body", "code"),
    [
        ("one", {"value": 1}, 400),
        ("one", {"name": ""}, 400),
        ("one", {"name": "helpful"}, 400),
        ("one", {"name": "helpful", "value": "much"}, 400),
        ("one", {"name": "helpful", "value": 1, "run_id": "two"}, 400),
        ("one", {"name": 5, "value": 1}, 400),
        ("one", {"name": "helpful", "value": 1, "step": "none"}, 404),
        ("none", {"name": "helpful", "value": 1}, 404),
    ],
)
def test_a_wrong_score_is_an_error(viewed: Viewed, store: Path, run_id: str, body: dict[str, Any], code: int) -> None:
    before = store.read_bytes()
    answer = viewed.client.post(f"api/runs/{run_id}/scores", json=body)
    assert (answer.status_code, set(answer.json())) == (code, {"error"})
    assert store.read_bytes() == before


def test_hostile_contents_are_text(tmp_path: Path) -> None:
    """Whatever a run has comes as JSON or plain text, with nothing that a browser would run."""
    hostile = "</script><script>alert(1)</script>\u202e\u0000\ud800"
    tracer = AgentTracer(backend=FileBackend(str(tmp_path / "t.jsonl")))
    with tracer.run(run_id="bad", agent_name=hostile, user_input=hostile) as run, run.step(hostile, {"x": hostile}):
        pass
    tracer.close()
    with viewing(tmp_path / "t.jsonl", "--port", 0, "--no-open") as viewed:
        for path in ("api/runs", "api/facets", "api/runs/bad", "api/runs/bad/steps/1", "api/runs/bad/conversation"):
            answer = viewed.client.get(path)
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()
        copied = viewed.client.get("api/runs/bad/copy?format=json")
        assert copied.headers["content-type"] == "text/plain; charset=utf-8"
        assert "alert" not in viewed.client.get("/runs/bad").text
