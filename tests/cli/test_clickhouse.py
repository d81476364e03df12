"""Every command takes the address of a ClickHouse server."""

from __future__ import annotations

import json

import pytest

from otel_agent_trace.runs import run_to_spans
from tests.support.sample_runs import make_run, write_runs_to

SECRET = "hunter2-hunter2"
COMMANDS = [
    ["list", "--json"],
    ["metrics", "--json"],
    ["show", "--json"],
    ["explain", "--json"],
    ["sessions", "--json"],
    ["list", "--since", "2026-11-23", "--tool", "search", "--sort", "time", "--limit", "1", "--json"],
    ["export", "--to", "otlp-json"],
]


@pytest.fixture
def runs():
    return [make_run(number) for number in range(3)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_commands_print_what_they_print_of_a_file(run_command, clickhouse, tmp_path, runs, command):
    clickhouse.insert(span for run in runs for span in run_to_spans(run))
    path = write_runs_to(tmp_path / "runs.jsonl", runs)
    name, *options = command
    one = [runs[1].run_id] if name in ("show", "explain") else []
    found, expected = run_command(name, clickhouse.url, *one, *options), run_command(name, path, *one, *options)
    assert (found.code, found.err.replace(clickhouse.url, str(path))) == (0, expected.err)
    if name == "export":
        assert sorted(span_ids(found.out)) == sorted(span_ids(expected.out))
    else:
        assert json.loads(found.out.replace(clickhouse.url, str(path))) == json.loads(expected.out)


def span_ids(text: str) -> list[str]:
    documents = map(json.loads, text.splitlines())
    resources = (resource for document in documents for resource in document["resourceSpans"])
    return [span["spanId"] for each in resources for scope in each["scopeSpans"] for span in scope["spans"]]


@pytest.mark.parametrize("command", ["list", "metrics", "show", "export"])
def test_nobody_there(run_command, free_port, command):
    options = ["--to", "otlp-json"] if command == "export" else []
    result = run_command(command, f"clickhouse://me:{SECRET}@127.0.0.1:{free_port}/db", *options)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert f"clickhouse://127.0.0.1:{free_port}/db: the connection was refused" in result.err
    assert SECRET not in result.err + result.out


def test_no_such_database_and_no_secret(run_process, clickhouse):
    """In a process of its own, where the client's log would reach stderr."""
    address = clickhouse.server.address("http")
    done = run_process("list", f"clickhouse://default:{SECRET}@{address}/none")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [f"error: clickhouse://{address}/none: there is no database 'none'"]
    assert done.stdout == b""
