"""Lists of runs: rows, filters, counts, search, and results that stay as they are."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs, run_to_spans
from otel_agent_trace.viewer.filters import FIELD_OF
from otel_agent_trace.views.summaries import summary_of
from tests.support.fake_jaeger import FakeJaeger
from tests.support.sample_runs import make_run
from tests.support.viewed import Viewed, viewing
from tests.support.waiting import wait_until
from tests.viewer.conftest import ODD_ID

NEWEST_FIRST = ["two", "one", ODD_ID, "outer", "failed"]


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["run_id"] for row in answer["rows"]]


def test_rows_are_summaries(viewed: Viewed, store: Path) -> None:
    answer = viewed.json("api/runs")
    assert {key: answer[key] for key in ("total", "at_least", "from", "new")} == {
        "total": 5,
        "at_least": 5,
        "from": 0,
        "new": 0,
    }
    assert ids(answer) == NEWEST_FIRST
    for row, run in zip(answer["rows"], load_runs(str(store), newest_first=True), strict=True):
        summary = summary_of(run).to_dict()
        assert {key: row[key] for key in summary if key != "cost_usd"} == {
            key: summary[key] for key in summary if key != "cost_usd"
        }
        assert row["started_at_ns"] == str(run.started_at_ns)
        assert {"when_text", "duration_text", "tokens_text", "cost_text"} <= row.keys()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"status": "timeout"}, ["failed"]),
        ({"status": ""}, NEWEST_FIRST),
        ({"agent": "chief"}, ["outer"]),
        ({"tool": "look"}, ["outer"]),
        ({"tool_error": "*"}, ["failed"]),
        ({"session": "talk/1"}, ["two", "one"]),
        ({"tag": "nightly"}, ["outer"]),
        ({"tag": ["nightly", "other"]}, []),
        ({"text": "NEEDLE"}, [ODD_ID]),
        ({"run": "fail"}, ["failed"]),
        ({"where": "metadata.none=1"}, []),
        ({"since": "1h", "until": "2999-01-01"}, NEWEST_FIRST),
        ({"until": "1h"}, []),
        ({"min_duration": "1h"}, []),
        ({"sort": "steps"}, ["two", "one", "outer", "failed", ODD_ID]),
        ({"agent": "weather", "sort": "time"}, ["two", "one", ODD_ID, "failed"]),
        ({"count": 2}, NEWEST_FIRST[:2]),
        ({"from": 3, "count": 10}, NEWEST_FIRST[3:]),
        ({"from": 100}, []),
        ({"count": 0}, []),
    ],
)
def test_filters(viewed: Viewed, parameters: dict[str, Any], expected: list[str]) -> None:
    assert ids(viewed.json("api/runs", **parameters)) == expected


@pytest.mark.parametrize("path", ["api/runs", "api/facets", "api/search", "api/sessions", "api/metrics"])
@pytest.mark.parametrize(
    "parameters",
    [
        *({"status": "odd"}, {"since": "yesterday-ish"}, {"sort": "beauty"}, {"min_duration": "long"}, {"score": "<"}),
        *({"where": "novalue"}, {"where": ["a=1", "a=2"]}, {"agent": ["a", "b"]}, {"colour": "red"}),
    ],
)
def test_a_wrong_filter_is_an_error(viewed: Viewed, path: str, parameters: dict[str, Any]) -> None:
    answer = viewed.json(path, 400, **parameters)
    assert set(answer) == {"error"}
    assert any(
        name in answer["error"] for name in ("status", "time", "sort", "duration", "score", "like", "twice", "filter")
    )


@pytest.mark.parametrize("parameters", [{"from": "-1"}, {"count": "x"}, {"from": "1.5"}, {"count": "²"}])
def test_a_wrong_number_is_an_error(viewed: Viewed, parameters: dict[str, str]) -> None:
    assert "whole number" in viewed.json("api/runs", 400, **parameters)["error"]


def test_every_filter_of_the_commands_is_one_of_the_page() -> None:
    from otel_agent_trace.cli.options import FILTERS

    assert {name.removeprefix("--").replace("-", "_") for name in FILTERS} | {"run"} == set(FIELD_OF)


def test_what_runs_have_is_counted(viewed: Viewed) -> None:
    counts = viewed.json("api/facets")
    assert counts["status"] == {"success": 4, "timeout": 1}
    assert counts["agent"] == {"weather": 4, "chief": 1}
    assert counts["tool"] == {"fetch": 3, "search": 3, "look": 1}
    assert counts["error"] == {"timeout": 1}
    assert counts["is_exact"] is True
    assert sum(bucket["runs"] for bucket in counts["histogram"]) == 5
    assert sum(bucket["errors"] for bucket in counts["histogram"]) == 1
    assert viewed.json("api/facets", agent="chief")["status"] == {"success": 1}
    assert viewed.json("api/facets", agent="nobody")["histogram"] == []


def test_pages_of_a_result(viewed: Viewed) -> None:
    first = viewed.json("api/runs", count=2)
    second = viewed.json("api/runs", count=2, **{"result": first["result"], "from": 2})
    assert second["result"] == first["result"]
    assert ids(first) + ids(second) == NEWEST_FIRST[:4]
    assert viewed.json("api/runs", result="forgotten", agent="chief")["total"] == 1


def test_search_sends_what_it_finds(viewed: Viewed) -> None:
    lines = [json.loads(line) for line in viewed.client.get("api/search?text=needle").text.splitlines()]
    assert [line["row"]["run_id"] for line in lines if "row" in line] == [ODD_ID]
    assert lines[-1] == {"done": True, "found": 1}
    everything = viewed.client.get("api/search").text.splitlines()
    assert len([line for line in everything if line.startswith('{"row"')]) == 5


def test_answers_are_compressed_where_that_is_asked_for(viewed: Viewed) -> None:
    with viewed.client.stream("GET", "api/runs", headers={"accept-encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        packed = b"".join(answer.iter_raw())
    assert len(json.loads(gzip.decompress(packed))["rows"]) == 5
    assert "content-encoding" not in viewed.client.get("api/runs", headers={"accept-encoding": "identity"}).headers


def write_run(path: Path, run_id: str, agent: str = "weather") -> None:
    tracer = AgentTracer(backend=FileBackend(str(path)))
    with tracer.run(run_id=run_id, agent_name=agent) as run:
        run.final_output = "x"
    tracer.close()


def test_a_result_stays_as_it_is_and_counts_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    for number in range(3):
        write_run(path, f"run-{number}")
    with viewing(path, "--port", 0, "--no-open") as viewed:
        every, chief = viewed.json("api/runs", count=2), viewed.json("api/runs", agent="chief")
        write_run(path, "new-1")
        write_run(path, "new-2", agent="chief")

        def again(answer: dict[str, Any], **parameters: Any) -> dict[str, Any]:
            found: dict[str, Any] = viewed.json("api/runs", result=answer["result"], **parameters)
            return found

        wait_until(lambda: again(every)["new"] == 2, "two new runs")
        assert ids(again(every)) == ["run-2", "run-1", "run-0"]
        assert (again(chief, agent="chief")["new"], ids(again(chief))) == (1, [])
        assert ids(viewed.json("api/runs"))[:2] == ["new-2", "new-1"]
        assert ids(viewed.json("api/runs", agent="chief")) == ["new-2"]


def test_a_row_shows_how_its_run_is_now(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(str(path)))
    write_run(path, "first")
    with viewing(path, "--port", 0, "--no-open") as viewed:
        run_id = tracer.start_run(agent_name="slow", run_id="slow")
        wait_until(lambda: ids(viewed.json("api/runs")) == ["slow", "first"], "the run")
        answer = viewed.json("api/runs")
        assert answer["rows"][0]["status"] == "running"
        tracer.end_run(run_id, "done")

        def status() -> str:
            return viewed.json("api/runs", result=answer["result"])["rows"][0]["status"]

        wait_until(lambda: status() == "success", "its end")
    tracer.close()


def test_a_source_that_is_no_store(store: Path, tmp_path: Path) -> None:
    """A file of another format has the same lists, and is not followed."""
    pytest.importorskip("pyarrow")
    from otel_agent_trace.cli import main

    folder = tmp_path / "parquet"
    assert main(["export", str(store), "--to", "parquet", "--output", str(folder)]) == 0
    with viewing(folder, "--port", 0, "--no-open") as viewed:
        assert viewed.json("api/about")["is_live"] is False
        assert viewed.json("api/about")["can_score"] is False
        assert ids(viewed.json("api/runs")) == NEWEST_FIRST
        assert viewed.json("api/runs/one")["head"]["answer"] == "answer one"
        posted = viewed.client.post("api/runs/one/scores", json={"name": "helpful", "value": 1})
        assert (posted.status_code, set(posted.json())) == (502, {"error"})


def test_now_is_the_time_of_the_server(viewed: Viewed) -> None:
    now_s = int(viewed.json("api/about")["now_ns"]) / 1e9
    assert abs(now_s - datetime.now(timezone.utc).timestamp()) < 3600


def test_a_server_is_a_source() -> None:
    """Its runs are read as far as needed; it is not followed."""
    with FakeJaeger() as jaeger:
        jaeger.fresh(span for number in range(4) for span in run_to_spans(make_run(number)))
        with viewing(jaeger.url(), "--port", 0, "--no-open") as viewed:
            about = viewed.json("api/about")
            assert (about["source"], about["is_live"], about["can_score"]) == (jaeger.url(), False, False)
            found = viewed.json("api/runs")
            assert (found["total"], [int(run_id, 16) - 1 for run_id in ids(found)]) == (4, [3, 2, 1, 0])
            assert viewed.json(f"api/runs/{found['rows'][0]['run_id']}")["head"]["answer"] == "answer 3"
            jaeger.fresh(interfaces=())
            assert set(viewed.json("api/runs", 502, agent="weather")) == {"error"}
