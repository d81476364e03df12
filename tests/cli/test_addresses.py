"""Every command takes the address of a Jaeger; here it is a stand-in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "sources"))

from jaeger_stand_in import Reply, StandIn

from otel_agent_trace.runs import run_to_spans


@pytest.fixture
def jaeger(make_run, make_step):
    with StandIn() as server:
        for number, service in enumerate(["weather", "travel", "weather"]):
            run = make_run(
                f"run-{number}", number * 60, user_input=f"question {number}", resource={"service.name": service}
            )
            server.keep(run_to_spans(run))
        yield server


def test_list(run_command, jaeger):
    result = run_command("list", jaeger.url())
    assert [line.split()[-1] for line in result.out.splitlines()[1:]] == ["2", "1", "0"]
    assert result.err == ""


@pytest.mark.parametrize("command", ["list", "metrics"])
def test_a_service(run_command, jaeger, command):
    """By the option or by the address, which say the same."""
    by_option = run_command(command, jaeger.url(), "--service", "weather", "--json")
    by_address = run_command(command, jaeger.url("?service=weather"), "--json")
    assert by_option == by_address
    assert by_option.code == 0
    assert len(json.loads(run_command("list", jaeger.url("?service=weather"), "--json").out)) == 2


@pytest.mark.parametrize("command", ["show", "replay"])
def test_one_run(run_command, jaeger, command):
    """The last one, one of a service, one by its id in either way, one by its trace."""
    trace_id = next(iter(jaeger.traces))
    for arguments, found in (
        ([jaeger.url()], "question 2"),
        ([jaeger.url(), "--service", "travel"], "question 1"),
        ([jaeger.url(), "run-1"], "question 1"),
        ([jaeger.url("#run-0")], "question 0"),
        ([jaeger.url("?service=weather#run-2")], "question 2"),
        ([jaeger.url("#")], "question 2"),
        ([jaeger.url(f"/trace/{trace_id}")], "question 0"),
        ([jaeger.url(f"/trace/{trace_id}?uiFind=x#last")], "question 0"),
    ):
        result = run_command(command, *arguments)
        assert (result.code, result.err) == (0, ""), arguments
        assert found in result.out, arguments


def test_the_address_comes_from_the_environment(run_command, jaeger, monkeypatch):
    monkeypatch.setenv("OTEL_AGENT_TRACE_FILE", jaeger.url())
    assert "question 2" in run_command("show").out
    assert "question 1" in run_command("show", "run-1").out


def test_a_service_in_a_file(run_command, write_runs, make_run):
    write_runs(
        [
            make_run("a", 0, resource={"service.name": "weather"}),
            make_run("b", 1, resource={"service.name": "travel"}),
            make_run("c", 2),
        ]
    )
    assert [run["run_id"] for run in json.loads(run_command("list", "--service", "travel", "--json").out)] == ["b"]


def test_secrets_are_not_shown(run_command, jaeger):
    """Neither what was not found nor what went wrong shows a password."""
    url = jaeger.url().replace("http://", "http://me:hunter2@")
    for arguments in (["list", url, "--agent", "nobody"], ["show", url, "no-such-run"], ["show", url + "#nothing"]):
        assert "hunter2" not in "".join(run_command(*arguments)[1:])
    jaeger.behaviour.always = Reply(401)
    result = run_command("list", url)
    assert result.code == 2
    assert result.err.startswith(f"error: {jaeger.url()}: it does not let us in (401 Unauthorized)")
    assert "hunter2" not in result.err


def test_talk_is_one_line(run_process, jaeger):
    """Trying again is no talk of the command's; what is wrong is one line."""
    jaeger.behaviour.always = Reply(503, b"", {"Retry-After": "0"})
    result = run_process("list", jaeger.url())
    assert result.returncode == 2
    assert result.stderr.decode().splitlines() == [
        f"error: {jaeger.url()}: it is busy or not ready (503 Service Unavailable); try again later"
    ]
