"""What each command does with a Parquet export, with several, and with a file of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from otel_agent_trace.cli import main
from otel_agent_trace.errors import SourceError
from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.sampling import NS_PER_HOUR, DroppedTraces
from tests.support.sample_runs import make_run

RUNS = [make_run(number) for number in range(4)]
READING = [
    ["list"],
    ["status"],
    ["scan"],
    ["sessions"],
    ["metrics"],
    ["metrics", "--engine", "duckdb"],
    ["metrics", "--engine", "parse"],
    ["export", "--to", "cases"],
]
OF_FILES = [
    ["tail"],
    ["tail", "--follow"],
    ["verify"],
    ["index"],
    ["score", "helpful=1"],
    ["prune", "--until", "1d"],
    ["prune", "--until", "1d", "--apply"],
    ["forget", "--user", "user-1", "--apply"],
    ["compact"],
]


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Two exports, which share a run."""
    write_parquet(RUNS[:3], tmp_path / "exports" / "a")
    write_parquet(RUNS[2:], tmp_path / "exports" / "b")
    return tmp_path / "exports"


def called(capsys: pytest.CaptureFixture[str], words: list[str], source: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([words[0], source, *words[1:]])
    return (code, *capsys.readouterr())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_commands_that_read_take_an_export(exports: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, out, err = called(capsys, words, str(exports / "a"))
    assert (code, err if words[0] != "scan" else "") == (0, "")
    assert words[0] == "scan" or out


@pytest.mark.parametrize("words", OF_FILES, ids=" ".join)
def test_commands_of_files_say_what_it_is_and_change_nothing(
    exports: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    before = contents(exports / "a")
    for source in (str(exports / "a"), f"{exports}/*"):
        code, out, err = called(capsys, words, source)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {exports / 'a'}: a Parquet export, which only list, show,")
        assert err.count("\n") == 1
    assert contents(exports / "a") == before


@pytest.mark.parametrize("words", READING + OF_FILES, ids=" ".join)
def test_a_file_of_an_export_names_its_folder(
    exports: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    for source in (f"{exports}/a/runs.parquet", f"{exports}/a/dropped.parquet", f"{exports}/*/runs.parquet"):
        code, _, err = called(capsys, words, source)
        assert code == 2
        assert f"a file of a Parquet export, which is read as a whole: name its folder, {exports / 'a'}\n" in err


def test_status_counts_what_an_export_has(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, ["status", "--json"], str(exports / "a"))
    status = json.loads(out)
    assert status["sampling"] == {"dropped": None, "bytes": 0}
    size = sum(path.stat().st_size for path in (exports / "a").iterdir())
    assert (code, status["runs"], status["bytes"], status["segments"]["closed"]) == (0, 3, size, 3)
    assert status["spans"] == 3 + sum(len(part.steps) for run in RUNS[:3] for part in run.walk())
    assert status["first_ns"] == min(run.started_at_ns for run in RUNS[:3])


# ── several ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_glob_or_a_list_of_exports_reads_them_all(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = load_runs(exports / "a") + load_runs(exports / "b")[1:]
    assert load_runs(f"{exports}/*") == expected
    assert load_runs([exports / "a", exports / "b"]) == expected
    assert load_runs(f"{exports}/*", user_id="user-1") == load_runs(exports / "a", user_id="user-1")
    assert source_metrics(f"{exports}/*").runs == len(expected)
    code, out, _ = called(capsys, ["list", "--json"], f"{exports}/*")
    assert (code, len(json.loads(out))) == (0, len(expected))


def test_exports_beside_files_of_spans(exports: Path) -> None:
    main(["export", str(exports / "b"), "--to", "otlp-json", "--output", str(exports / "more.jsonl")])
    shutil.rmtree(exports / "b")
    expected = sorted(run.run_id for run in RUNS)
    assert sorted(run.run_id for run in load_runs(f"{exports}/*")) == expected


def test_the_engine_counts_one_export(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, ["metrics", "--engine", "duckdb"], f"{exports}/*")
    assert code == 2
    assert "DuckDB counts files, and one folder that" in err


def test_a_folder_of_exports_is_named_by_those_in_it(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, ["list"], str(exports))
    assert code == 2
    assert f"a Parquet export in it is read by its own name, as {exports / 'a'}" in err


def test_one_damaged_export_among_several_is_an_error(exports: Path) -> None:
    (exports / "b" / "spans.parquet").unlink()
    with pytest.raises(SourceError, match="belong together"):
        load_runs(f"{exports}/*")


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_an_export_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    write_parquet([], tmp_path)
    assert called(capsys, words, str(tmp_path))[0] == 0


@pytest.mark.parametrize("name", ["runs.parquet", "spans.parquet", "dropped.parquet"])
@pytest.mark.parametrize("damage", ["cut", "foreign"])
@pytest.mark.parametrize("words", [["status"], ["metrics", "--engine", "duckdb"], ["metrics", "--engine", "parse"]])
def test_a_damaged_file_is_one_error(
    exports: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str, words: list[str]
) -> None:
    path = exports / "a" / name
    other = exports / "a" / ("spans.parquet" if name != "spans.parquet" else "runs.parquet")
    path.write_bytes(path.read_bytes()[:-50] if damage == "cut" else other.read_bytes())
    code, _, err = called(capsys, words, str(exports / "a"))
    assert (code, err.count("\n")) == (2, 1)
    assert str(exports / "a") in err


def test_status_of_several_exports_is_their_sum(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, both = (json.loads(called(capsys, ["status", "--json"], f"{exports}/{name}")[1]) for name in "ab*")
    assert one["runs"] + other["runs"] == both["runs"]
    assert one["spans"] + other["spans"] == both["spans"]
    assert one["bytes"] + other["bytes"] == both["bytes"]
    assert one["segments"]["closed"] + other["segments"]["closed"] == both["segments"]["closed"]
    assert both["first_ns"] == min(one["first_ns"], other["first_ns"])
    assert both["last_ns"] == max(one["last_ns"], other["last_ns"])


def test_status_shows_what_sampling_dropped(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What perhaps belongs to an export is no part of the number."""
    counts = [DroppedTraces("a", "success", 0, 366), DroppedTraces("a", "success", NS_PER_HOUR, 7, is_certain=False)]
    write_parquet(RUNS[:3], exports / "a", dropped=counts)
    size = (exports / "a" / "dropped.parquet").stat().st_size
    for source in ("a", "*"):
        status = json.loads(called(capsys, ["status", "--json"], f"{exports}/{source}")[1])
        assert status["sampling"] == {"dropped": 366, "bytes": size}
        assert "366 traces dropped" in called(capsys, ["status"], f"{exports}/{source}")[1]


def test_status_takes_exports_or_files(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exports / "t.jsonl").touch()
    code, out, err = called(capsys, ["status"], f"{exports}/*")
    assert (code, out) == (2, "")
    assert err == f"error: {exports}/*: Parquet exports and something else; name either\n"
