"""docs/cases.md: runs are scored and exported as cases, and an agent is run and scored over them again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otel_agent_trace import Case, load_cases, load_runs
from tests.support.case_page import EXPORT_AGAIN, PAGE, prepare, run_program, run_session
from tests.support.documents import blocks_in, section, shown_outputs

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path)
    return tmp_path


def test_the_case_that_is_shown_is_the_one_that_is_written(folder: Path) -> None:
    first, second = map(json.loads, (folder / "cases.jsonl").read_text().splitlines())
    (shown,) = map(json.loads, blocks_in(PAGE, "json"))
    assert list(first) == list(shown)
    assert first | {"id": shown["id"]} == shown
    assert (second["output"], second["expected"]) == ("sun", None)
    keys = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert [word.strip("` ") for cell in keys for word in cell.split(",")] == [*Case.__struct_fields__, "types"]


def test_nothing_of_what_is_captured_is_kept(folder: Path) -> None:
    before = (folder / "traces.jsonl").read_bytes()
    printed = run_program("again.py", folder, "-W", "error")
    assert printed == shown_outputs(section(PAGE, "Run the agent again"))[0]
    assert (folder / "traces.jsonl").read_bytes() == before


def test_new_runs_and_their_scores_are_kept(folder: Path) -> None:
    run_program("compare.py", folder, "-W", "error")
    run_session(EXPORT_AGAIN, folder)
    before, after = load_cases(folder / "cases.jsonl"), load_cases(folder / "v2.jsonl")
    assert [case.metadata["case"] for case in after] == [case.id for case in before]
    assert [(score.name, score.value, score.source) for case in after for score in case.scores] == [
        ("same", True, "CODE")
    ] * 2
    kept = load_runs(folder / "traces.jsonl")
    assert [run.run_id for run in kept] == [case.id for case in (*before, *after)]
    assert [run.run_id for run in load_runs(folder / "traces.jsonl", tag="v2")] == [case.id for case in after]


def test_a_test_for_each_case(folder: Path) -> None:
    before = (folder / "traces.jsonl").read_bytes()
    ids = [case.id for case in load_cases(folder / "cases.jsonl")]
    report = run_program("pytest", folder, "-m")
    assert "2 passed" in report
    weather = folder / "weather.py"
    weather.write_text(weather.read_text().replace('"sun"', '"fog"'))
    (folder / "rerun.py").write_text("import pytest, sys\nsys.exit(pytest.main(['-p', 'no:cacheprovider']) != 1)\n")
    report = run_program("rerun.py", folder)
    assert "1 failed, 1 passed" in report
    assert f"test_answer[{ids[1]}]" in report
    assert "same False" in report
    assert (folder / "traces.jsonl").read_bytes() == before
