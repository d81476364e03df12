"""Runs of users whose pseudonyms were made with another key than the one of the process that reads them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    RunQuery,
    iter_runs,
    load_runs,
    pseudonymize_user_id,
)
from otel_agent_trace.cli import main
from otel_agent_trace.keys import KEY_VARIABLE, default_key, key_file, known_keys
from otel_agent_trace.policies.user_ids import key_id_of
from otel_agent_trace.span import Notice, Problem

Record = Callable[..., Path]
KEY_IDS = {key: str(key_id_of(pseudonymize_user_id("ann", key=key))) for key in ("here", "there", "elsewhere")}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Records a run of each user under a key, and leaves the key "here" to the process."""

    def call(key: str, *users: str | None, **fields: Any) -> Path:
        monkeypatch.setenv(KEY_VARIABLE, key)
        path = tmp_path / "traces.jsonl"
        with AgentTracer(FileBackend(path)) as tracer:
            for user in users:
                tracer.end_run(tracer.start_run(user_id=user, **fields))
        monkeypatch.setenv(KEY_VARIABLE, "here")
        return path

    return call


@pytest.mark.parametrize("read", [load_runs, lambda *args, **options: list(iter_runs(*args, **options))])
def test_the_ids_of_both_keys_are_reported_once(record: Record, read: Callable[..., Any]) -> None:
    path = record("there", "ann", "bob", None)
    problems: list[Problem] = []
    assert read(path, user_id="ann", on_problem=problems.append) == []
    (notice,) = problems
    assert isinstance(notice, Notice)
    assert str(notice) == (
        "user_id: runs whose user ids are pseudonyms cannot be compared: "
        f"2 under the key {KEY_IDS['there']}; that of the id asked for is {KEY_IDS['here']}: "
        "to find them, set OTEL_AGENT_TRACE_USER_KEY to the key with that id, or give the pseudonym itself"
    )


def test_a_program_finds_it_in_its_log(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    """Also with strict=True, since everything could be read."""
    path = record("there", "ann")
    for strict in (False, True):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "otel_agent_trace"):
            assert load_runs(path, user_id="ann", strict=strict) == []
        (line,) = caplog.messages
        assert KEY_IDS["there"] in line
        assert "skipped" not in line


def test_nothing_is_reported_where_all_can_be_compared(record: Record) -> None:
    record("here", "ann", "bob")
    path = record("there", "cid")
    problems: list[Problem] = []
    pseudonym = pseudonymize_user_id("cid", key="there")
    assert len(load_runs(path, user_id="ann", agent="other", on_problem=problems.append)) == 0
    assert len(load_runs(record("here"), agent="other", on_problem=problems.append)) == 0
    assert len(load_runs(path, user_id="nobody", session_id="s", on_problem=problems.append)) == 0
    assert problems == []
    assert len(load_runs(path, user_id=pseudonym)) == 1


def test_runs_under_several_keys_are_counted_by_key(record: Record) -> None:
    """Those under the own key are found."""
    record("there", "ann", "bob")
    record("elsewhere", "ann")
    path = record("here", "ann")
    problems: list[Problem] = []
    assert len(load_runs(path, user_id="ann", on_problem=problems.append)) == 1
    (notice,) = problems
    assert f"2 under the key {KEY_IDS['there']}, 1 under the key {KEY_IDS['elsewhere']}" in notice.reason


def test_a_process_without_a_key_is_told_that_of_the_runs(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = record("there", "ann")
    monkeypatch.delenv(KEY_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    problems: list[Problem] = []
    assert load_runs(path, user_id="ann", on_problem=problems.append) == []
    assert f"1 under the key {KEY_IDS['there']}; there is no key here" in problems[0].reason
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", "--json"],
        ["metrics"],
        ["metrics", "--json"],
        ["export", "--to", "otlp-json", "--limit", "3"],
        ["export", "--to", "http://127.0.0.1:1", "--limit", "3"],
        ["export", "--to", "http://127.0.0.1:1"],
    ],
    ids=" ".join,
)
def test_the_commands_report_it_on_standard_error(
    record: Record, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    path = record("there", "ann")
    assert main([command[0], str(path), *command[1:], "--user", "ann"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: user_id: ")]
    assert len(warnings) == 1
    assert KEY_IDS["there"] in warnings[0]
    assert KEY_IDS["here"] in warnings[0]


def test_with_the_other_key_they_are_found(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record("there", "ann", "bob")
    monkeypatch.setenv(KEY_VARIABLE, "there")
    problems: list[Problem] = []
    assert len(load_runs(path, user_id="ann", on_problem=problems.append)) == 1
    assert problems == []


# ── several keys ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rotated(record: Record, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of ann and bob under "old", and later under "new,old", which is left to the process."""
    record("old", "ann", "bob")
    path = record("new,old", "ann", "bob")
    monkeypatch.setenv(KEY_VARIABLE, "new,old")
    return path


def test_the_first_key_writes_and_all_find(rotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_ann = [pseudonymize_user_id("ann", key=key) for key in ("old", "new")]
    problems: list[Problem] = []
    assert [run.user_id for run in load_runs(rotated, user_id="ann", on_problem=problems.append)] == of_ann
    assert [run.user_id for run in load_runs(rotated, RunQuery(user_id="ann"))] == of_ann
    assert pseudonymize_user_id("ann") == of_ann[1]
    assert main(["list", str(rotated), "--user", "ann", "--json"]) == 0
    captured = capsys.readouterr()
    assert sorted(run["user_id"] for run in json.loads(captured.out)) == sorted(of_ann)
    assert (problems, captured.err) == ([], "")


def test_one_pseudonym_finds_its_own_runs_only(rotated: Path) -> None:
    pseudonym = pseudonymize_user_id("ann", key="old")
    assert [run.user_id for run in load_runs(rotated, user_id=pseudonym)] == [pseudonym]


def test_the_backends_of_a_running_program_find_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, memory = FileBackend(tmp_path / "traces.jsonl"), InMemoryBackend()
    with AgentTracer([file, memory]) as tracer:
        for keys in ("old", "new, old"):
            monkeypatch.setenv(KEY_VARIABLE, keys)
            with tracer.run(user_id="ann"):
                pass
        for backend in (file, memory):
            assert len(load_runs(backend, user_id="ann")) == 2


def test_a_key_with_a_comma_from_before_there_were_lists_finds_its_runs(record: Record, tmp_path: Path) -> None:
    """It is two keys now, of which the first writes."""
    path = tmp_path / "traces.jsonl"
    pseudonym = pseudonymize_user_id("ann", key="a,b")
    with AgentTracer(FileBackend(path)) as tracer, tracer.run(user_id=pseudonym):
        pass
    record("a,b", "ann")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, "a,b")
        runs = load_runs(path, user_id="ann")
    assert [run.user_id for run in runs] == [pseudonym, pseudonymize_user_id("ann", key="a")]


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("key", ["key"]),
        (" key ", [" key "]),
        ("new,old", ["new", "old", "new,old"]),
        (" new , old ,, ", ["new", "old", " new , old ,, "]),
        ("same,same", ["same", "same,same"]),
    ],
)
def test_the_keys_of_the_variable(value: str, keys: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(KEY_VARIABLE, value)
    assert known_keys() == tuple(key.encode() for key in keys)
    assert default_key() == keys[0].encode()


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (b"key\n", [b"key"]),
        (b"new\nold\n", [b"new", b"old", b"new\nold"]),
        (b"\r\nnew\r\n\r\nold", [b"new", b"old", b"new\r\n\r\nold"]),
        (b"one,key\n", [b"one,key"]),
        (b"\xf0\n\x01 random bytes", [b"\xf0\n\x01 random bytes"]),
    ],
)
def test_the_keys_of_the_file(
    content: bytes, keys: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(KEY_VARIABLE)
    key_file().parent.mkdir(parents=True)
    key_file().write_bytes(content)
    assert known_keys() == tuple(keys)
    assert default_key() == keys[0]
    monkeypatch.setenv(KEY_VARIABLE, "new")
    assert known_keys()[0] == default_key() == b"new"
    assert set(keys) <= set(known_keys())


def test_the_key_file_finds_beside_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that a program recorded before it got a key of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(KEY_VARIABLE)
    memory = InMemoryBackend()
    with AgentTracer(memory) as tracer:
        with tracer.run(user_id="ann"):
            pass
        monkeypatch.setenv(KEY_VARIABLE, "new")
        with tracer.run(user_id="ann"):
            pass
    assert len({run.user_id for run in load_runs(memory, user_id="ann")}) == 2
