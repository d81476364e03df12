"""Every command takes the address of a Jaeger; here it is a stand-in."""

from __future__ import annotations

import json

import pytest

from otel_agent_trace.runs import run_to_spans
from tests.support.fake_jaeger import FakeJaeger, Reply


@pytest.fixture
def jaeger(make_run, make_step):
    with FakeJaeger() as server:
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


EVERY_COMMAND = [["list"], ["metrics"], ["show"], ["explain"], ["replay"], ["export", "--to", "otlp-json"]]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda words: words[0])
def test_a_service_without_runs_is_named_beside_those_that_there_are(run_command, jaeger, command):
    """Once, by the option and by the address; only a server knows its services without being read."""
    code = 2 if command[0] in ("show", "explain", "replay") else 0
    for arguments, name in (
        ([jaeger.url(), "--service", "nope"], f"of service 'nope' in {jaeger.url()}"),
        ([jaeger.url("?service=nope")], f"in {jaeger.url()} (service nope)"),
    ):
        result = run_command(command[0], *arguments, *command[1:])
        assert result.code == code
        known, nothing = result.err.splitlines()
        assert known == f"warning: {jaeger.url()}: the server lists no service 'nope'; it has 'travel', 'weather'"
        assert nothing.removeprefix("error: ") == f"no runs {name}"


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda words: words[0])
def test_a_service_that_a_file_lacks_is_named(run_command, write_runs, make_run, command):
    write_runs([make_run("a", resource={"service.name": "weather"})])
    result = run_command(command[0], "traces.jsonl", "--service", "nope", *command[1:])
    assert result.err.removeprefix("error: ") == "no runs of service 'nope' in traces.jsonl\n"


def test_a_service_that_the_server_lists_is_not_called_unknown(run_command, jaeger):
    result = run_command("list", jaeger.url(), "--service", "travel", "--since", "2030-01-01")
    assert result.err == f"no runs of service 'travel' in {jaeger.url()} match the filters\n"


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
    assert result.err.startswith(f"error: {jaeger.url()}: access denied (401 Unauthorized)")
    assert "hunter2" not in result.err


def test_talk_is_one_line(run_process, jaeger):
    """Trying again is no talk of the command's; what is wrong is one line."""
    jaeger.behaviour.always = Reply(503, b"", {"Retry-After": "0"})
    result = run_process("list", jaeger.url())
    assert result.returncode == 2
    assert result.stderr.decode().splitlines() == [
        f"error: {jaeger.url()}: the server is busy or not ready (503 Service Unavailable); try again later"
    ]


# ── an address without its scheme ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", ["127.0.0.1:16686", "localhost:16686", "[::1]:16686", "j.example.com:80/trace/abc"])
@pytest.mark.parametrize(
    "command",
    [["list"], ["metrics"], ["show", "last"], ["explain", "last"], ["replay", "last"], ["export", "--to", "otlp-json"]],
    ids=lambda words: words[0],
)
def test_an_address_without_its_scheme_is_refused_with_the_right_form(run_command, command, word):
    result = run_command(command[0], word, *command[1:])
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert f"write http://{word}" in result.err


@pytest.mark.parametrize("command", ["show", "explain", "replay"])
@pytest.mark.parametrize("has_default", [False, True])
def test_a_single_word_may_be_an_address(run_command, write_runs, make_run, command, has_default):
    """It is taken for a run id, as any word that is no file; the error says what else may have been meant."""
    if has_default:
        write_runs([make_run("run-1")])
    result = run_command(command, "myhost:16686")
    assert (result.code, result.out) == (2, "")
    assert "write http://myhost:16686" in result.err
    assert "there is no file 'myhost:16686'" in result.err


def test_a_file_or_a_run_of_that_name_wins(run_command, write_runs, make_run):
    write_runs([make_run("run-1", user_input="in the file")], "localhost:16686")
    for command in (["list", "localhost:16686"], ["show", "localhost:16686"], ["show", "localhost:16686#run-1"]):
        result = run_command(*command)
        assert (result.code, result.err) == (0, "")
        assert "in the file" in result.out
    write_runs([make_run("job:42", user_input="by its id")])
    assert "by its id" in run_command("show", "job:42").out


@pytest.mark.parametrize("word", ["traces:1.jsonl", "C:16686.jsonl", "a:b", "host:port", "x/y:1", "host:123456"])
def test_other_words_are_no_addresses(run_command, word):
    result = run_command("list", word)
    assert result.code == 2
    assert "http://" not in result.err


@pytest.mark.parametrize(
    "words", [["tail"], ["verify"], ["status"], ["compact"], ["index"]], ids=lambda words: words[0]
)
@pytest.mark.parametrize("scheme", ["http", "clickhouse"])
def test_commands_about_files_show_no_password(run_command, words, scheme):
    result = run_command(*words, f"{scheme}://user:s3cret@127.0.0.1:1/otel")
    assert result.code == 2
    assert f"{scheme}://127.0.0.1:1/otel: " in result.err
    assert "s3cret" not in result.out + result.err
