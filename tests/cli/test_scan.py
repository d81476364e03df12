"""`scan` lists the secrets in traces that were recorded without masks, and `export --redact` writes a copy without them."""

from __future__ import annotations

import json
import shutil

import pytest

from otel_agent_trace.sources.listing import SUFFIXES
from otel_agent_trace.store.names import StoreFiles
from tests.support.made_up_secrets import alnum


@pytest.fixture
def leaky(write_runs, make_run):
    """A file with a token and a password, and the token."""
    token = "ghp_" + alnum(36)
    runs = [
        make_run("a" * 32, user_input=f"use {token}"),
        make_run("b" * 32, after_s=1, metadata={"password": "hunter2!", "max_tokens": 5}),
    ]
    return write_runs(runs), token


def test_a_row_for_each_find(run_command, leaky):
    path, token = leaky
    before = path.read_bytes()
    result = run_command("scan", path, "--json")
    rows = [(row["run_id"], row["rule"], row["place"]) for row in json.loads(result.out)]
    assert rows == [
        ("a" * 32, "github", "gen_ai.input.messages[0].parts[0].content"),
        ("b" * 32, "password", "agent_trace.metadata.password"),
    ]
    assert result.code == 1
    shown = run_command("scan", path)
    assert (shown.code, len(shown.out.splitlines())) == (1, 2)
    assert token not in result.out + result.err + shown.out + shown.err
    assert path.read_bytes() == before


def test_the_copy_has_none(run_command, leaky, tmp_path):
    path, token = leaky
    copy = tmp_path / "copy.jsonl"
    assert run_command("export", path, "--to", "otlp-json", "--redact", "--output", copy).code == 0
    assert token not in copy.read_text("utf-8")
    assert "hunter2!" not in copy.read_text("utf-8")
    result = run_command("scan", copy)
    assert (result.code, result.out) == (0, "")


def test_personal_data_on_request(run_command, write_runs, make_run):
    write_runs([make_run("a" * 32, user_input="write to ann.lee@corp.org")])
    assert run_command("scan").code == 0
    result = run_command("scan", "--pii", "email", "--json")
    assert (result.code, [row["rule"] for row in json.loads(result.out)]) == (1, ["email"])


def test_what_cannot_be_read_is_not_clean(run_command, write_runs, make_run):
    path = write_runs([make_run("a" * 32, user_input="hello")])
    with path.open("ab") as file:
        file.write(b'{{{ "ghp_\n')
    result = run_command("scan")
    assert (result.code, result.out) == (2, "")
    assert "1 piece could not be read, and not searched either" in result.err


@pytest.mark.parametrize("command", [("scan",), ("forget", "--user", "ann")], ids=lambda command: command[0])
def test_rotated_files_in_a_folder_are_named(run_command, write_runs, make_run, tmp_path, command):
    path = write_runs([make_run("a" * 32)])
    shutil.copy(path, f"{path}.1")  # which is of the store
    rotated = shutil.copy(path, f"{path}.1.bz2")
    assert not rotated.endswith(SUFFIXES)
    result = run_command(command[0], tmp_path, *command[1:])
    assert f"not looked at: {rotated}; a glob such as" in result.err


@pytest.mark.parametrize("command", [("scan",), ("forget", "--user", "ann")], ids=lambda command: command[0])
def test_segments_of_the_store_are_looked_at(run_command, write_runs, make_run, command, monkeypatch):
    """Also if the store is named by a relative path."""
    path = write_runs([make_run("a" * 32)])
    shutil.copy(path, StoreFiles(str(path)).new_segment(0))
    monkeypatch.chdir(path.parent)
    assert "not looked at" not in run_command(command[0], path.name, *command[1:]).err


def test_bad_input(run_command, tmp_path):
    missing = run_command("scan", tmp_path / "nothing.jsonl")
    assert (missing.code, missing.out) == (2, "")
    assert "No such file" in missing.err
    unknown = run_command("scan", tmp_path, "--pii", "shoe size")
    assert unknown.code == 2
    assert "shoe size" in unknown.err
