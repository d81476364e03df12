"""How the command ends: exit statuses, one line for each failure, broken pipes, other encodings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_agent_trace.cli import COMMANDS
from otel_agent_trace.version import __version__
from tests.support.processes import ROOT


@pytest.fixture
def bad_sources(write_runs, make_run, tmp_path):
    write_runs([make_run("abc-1"), make_run("abc-2")])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jsonl").write_text("hello\nworld\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected_message"),
    [
        (["list", "nowhere.jsonl"], "nowhere.jsonl"),
        (["list", "*.nothing"], "*.nothing"),
        (["list", "empty"], "empty"),
        (["list", "text.jsonl"], "looks like text"),
        (["show", "traces.jsonl", "nope"], "nope"),
        (["show", "nope"], "taken for a run id"),
        (["show", "abc"], "abc-1, abc-2"),
        (["replay", "traces.jsonl#zzz"], "zzz"),
        (["list", "--since", "yesterday-ish"], "yesterday-ish"),
        (["list", "--status", "great"], "success"),
        (["list", "--limit", "-1"], "-1"),
        (["metrics", "--bucket", "often"], "often"),
        (["replay", "--speed", "0"], "--speed"),
        (["replay", "--speed", "nan"], "--speed"),
        (["show", "a", "b", "c"], "c"),
        (["shwo"], "list, show, explain, replay"),
        (["list", "--nope"], "--nope"),
        (["demo", "--file", "empty"], "empty"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run_command, bad_sources, arguments, expected_message):
    """A failure says in one line of standard error what and where, and ends with status 2."""
    result = run_command(*arguments)
    assert (result.code, result.out) == (2, "")
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert expected_message in errors[0]
    assert "Traceback" not in result.err


def test_missing_default_source_says_where_to_begin(run_command):
    """Without traces the message says how to get some."""
    assert "otel-agent-trace demo" in run_command("list").err


def test_every_failure_of_a_process(run_process, bad_sources):
    """A process of its own gives the same status and no traceback."""
    done = run_process("show", "nowhere.jsonl")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: nowhere.jsonl")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help(run_command, arguments):
    """Help goes to standard output, status 0."""
    result = run_command(*arguments)
    assert result.code == 0
    assert result.out.startswith("Usage: otel-agent-trace")
    assert all(name in result.out for name in COMMANDS) or arguments[:1] != ["--help"]


def test_version(run_command):
    """`--version` says which."""
    assert run_command("--version") == (0, f"otel-agent-trace {__version__}\n", "")


def test_help_imports_no_command():
    """Neither help nor version imports a command, rich or OpenTelemetry."""
    script = (
        "import sys; from otel_agent_trace.cli import main; main(['--help']); main(['--version'])\n"
        "heavy = [m for m in sys.modules if m.split('.')[0] in ('rich', 'opentelemetry', 'msgspec')]\n"
        "heavy += [m for m in sys.modules if m in %r]\n"
        "sys.exit(repr(heavy) if heavy else 0)" % [module for module, _ in COMMANDS.values()]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["list", "show", "replay", "metrics"])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_reader_that_stops_is_no_failure(write_runs, make_run, make_step, command, as_json):
    """`| head` ends the command without a word."""
    steps = tuple(make_step(i, "tool", "t", i, i, input="x" * 500) for i in range(200))
    write_runs([make_run(f"run-{i}", user_input="q" * 200, steps=steps[: 200 if i == 0 else 1]) for i in range(100)])
    words = [sys.executable, "-m", "otel_agent_trace.cli", command, *as_json]
    words += ["--limit", "0"] if command == "list" else []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported(run_process, write_runs, make_run):
    """Output that cannot be written is a failure, and reported."""
    write_runs([make_run("run")])
    words = [sys.executable, "-m", "otel_agent_trace.cli", "list", "--json"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
        )
    assert done.returncode == 2
    assert done.stderr == b"error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "closed"),
    [
        ("replay --step", "<&-"),
        ("--help", ">&-"),
        ("show", ">&-"),
        ("list --json", ">&-"),
        ("list --limit 1", "2>&-"),
        ("demo", "<&- >&- 2>&-"),
    ],
)
def test_closed_streams(write_runs, make_run, make_step, command, closed):
    """A stream that the shell closed is as good as /dev/null."""
    write_runs([make_run("run", steps=tuple(make_step(i, "tool", "t", i, i) for i in range(2)))])
    words = ["sh", "-c", f'exec "$0" -m otel_agent_trace.cli {command} {closed}', sys.executable]
    done = subprocess.run(words, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("encoding", "commands"),
    [("ascii", ["list", "show", "replay", "metrics"]), ("latin-1", ["show"]), ("utf-8", ["show"])],
)
def test_any_encoding(run_process, write_runs, weather_run, encoding, commands):
    """An output that cannot say everything says it in escapes, and JSON stays JSON."""
    write_runs([weather_run])
    for command in commands:
        done = run_process(command, env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (0, b"")
        done.stdout.decode(encoding)
    done = run_process("show", "--json", env={"PYTHONIOENCODING": encoding})
    assert "21 °C" in json.loads(done.stdout.decode(encoding))["final_output"]


def test_problems_are_warnings(run_command, write_runs, make_run, tmp_path):
    """Lines that cannot be read cost themselves only; the first five are named and the others counted."""
    path = write_runs([make_run("good")])
    with path.open("ab") as file:
        file.writelines(b'{"resourceSpans": broken %d\n' % i for i in range(8))
    result = run_command("list")
    assert "good" in result.out
    assert result.code == 0
    lines = result.err.splitlines()
    assert [line.split(":")[0] for line in lines[:5]] == ["warning"] * 5
    assert lines[5:] == ["... and 3 more"]
