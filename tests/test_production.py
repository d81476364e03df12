"""What docs/production.md shows works: its programs run in processes of their own, and are stopped as servers stop them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement

from otel_agent_trace import RunStatus, load_run, load_runs
from tests.support.documents import ROOT, blocks_in, named_files, read, section
from tests.support.fake_receivers import FakeReceiver, fake_http_receiver
from tests.support.requirements import cannot_run, need_package
from tests.support.waiting import DEADLOCK_S, wait_until

PAGE = read("docs/production.md")
FOREIGN = ("OTEL_", "OPENAI_", "PYTHON", "XDG_")
NEVER_MS = "3600000"
"""Between two batches of OTLP: what arrives was sent when the program ended, and not before."""


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with fake_http_receiver() as fake:
        yield fake


@pytest.fixture
def sending(receiver: FakeReceiver) -> dict[str, str]:
    """Return an environment in which programs send to the receiver, but not before they flush or end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **kept,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": NEVER_MS,
        "OTEL_AGENT_TRACE_USER_KEY": "production",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }


def write_files(title: str, folder: Path) -> dict[str, str]:
    """Write the files that a section shows, and return them."""
    files = named_files(section(PAGE, title))
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return files


def command(title: str, **replaced: str) -> list[str]:
    """Return the command that a section shows, with other words in it."""
    (line,) = blocks_in(section(PAGE, title), "sh")
    for old, new in replaced.items():
        assert old in line
        line = line.replace(old, new)
    return shlex.split(line)


@contextlib.contextmanager
def started(
    words: list[str], folder: Path, environment: dict[str, str], **pipes: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a program of Python; it and its children are killed at the end."""
    with subprocess.Popen(
        words, cwd=folder, env=environment, text=True, start_new_session=True, stdout=subprocess.PIPE, **pipes
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def line_with(words: str, stream: IO[str] | None) -> str:
    """Return the next line of a stream that has these words."""
    assert stream is not None
    return next(line for line in stream if words in line)


def spans_of(receiver: FakeReceiver) -> list[str]:
    return sorted(span.name for span in receiver.accepted)


# ── SIGTERM, Docker, Kubernetes ──────────────────────────────────────────────────────────────────────────────────────

WAITING = "    return "
"""Where a question that never ends is put into the agent."""


def write_agent(folder: Path, *, with_handler: bool = True) -> None:
    """Write the agent that is shown; its question "wait" lasts until the process ends."""
    program = named_files(section(PAGE, "SIGTERM"))["agent.py"]
    waiting = '    if question == "wait": print("waiting", flush=True), signal.pause()\n'
    program = program.replace(WAITING, waiting + WAITING)
    if not with_handler:
        program = program.replace("signal.signal(signal.SIGTERM, stop)\n", "")
    (folder / "agent.py").write_text(program, encoding="utf-8")


def terminated(words: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Ask two questions, terminate the program in the midst of the second, and return its exit status."""
    with started(words, folder, environment, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("Will it rain?\nwait\n")
        process.stdin.flush()
        line_with("waiting", process.stdout)
        process.terminate()
        return process.wait(DEADLOCK_S)


@pytest.mark.slow
def test_sigterm_with_the_handler_ends_the_run_and_sends_what_waits(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str]
) -> None:
    write_agent(tmp_path)
    assert terminated([sys.executable, "agent.py"], tmp_path, sending) == 128 + signal.SIGTERM
    assert spans_of(receiver) == ["invoke_agent weather"] * 2
    asked, waited = load_runs(tmp_path / "traces.jsonl")
    assert (asked.status, waited.status) == (RunStatus.SUCCESS, RunStatus.ERROR)
    assert waited.error is not None
    assert waited.error.category == "cancelled"


@pytest.mark.slow
def test_sigterm_without_a_handler_loses_the_queue_and_not_the_file(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str]
) -> None:
    write_agent(tmp_path, with_handler=False)
    assert terminated([sys.executable, "agent.py"], tmp_path, sending) == -signal.SIGTERM
    assert receiver.accepted == []
    runs = load_runs(tmp_path / "traces.jsonl")
    assert [run.status for run in runs if not run.interrupted] == [RunStatus.SUCCESS]


def namespace() -> list[str]:
    """Return the command before a program that makes it process 1, as in a container."""
    words = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may make a process 1")
    return words


@pytest.mark.slow
@pytest.mark.parametrize("with_handler", [True, False])
def test_process_1_of_a_container_needs_the_handler(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str], with_handler: bool
) -> None:
    write_agent(tmp_path, with_handler=with_handler)
    with started([*namespace(), sys.executable, "agent.py"], tmp_path, sending, stdin=subprocess.PIPE) as process:
        ask_once(process)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        if with_handler:
            assert process.wait(DEADLOCK_S) == 128 + signal.SIGTERM
            assert spans_of(receiver) == ["invoke_agent weather"]
        else:
            ask_once(process)


def ask_once(process: subprocess.Popen[str]) -> None:
    """Ask the agent a question, and wait for its answer."""
    assert process.stdin is not None
    process.stdin.write("Will it rain?\n")
    process.stdin.flush()
    line_with("It will rain.", process.stdout)


@pytest.mark.slow
def test_the_command_of_the_dockerfile_runs_the_agent(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str]
) -> None:
    (dockerfile,) = named_files(section(PAGE, "Docker")).values()
    words = json.loads(re.search(r"^CMD (.*)$", dockerfile, re.MULTILINE)[1])  # type: ignore[index]
    file = re.search(r"^ENV OTEL_AGENT_TRACE_FILE=/traces/(.*)$", dockerfile, re.MULTILINE)[1]  # type: ignore[index]
    write_agent(tmp_path)
    environment = {**sending, "OTEL_AGENT_TRACE_FILE": str(tmp_path / file)}
    assert terminated(words, tmp_path, environment) == 128 + signal.SIGTERM
    assert len(load_runs(tmp_path / file)) == 2


def test_the_deployment_sets_variables_that_exist() -> None:
    (text,) = named_files(section(PAGE, "Kubernetes")).values()
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    names = {variable["name"] for variable in container["env"]}
    documented = set(re.findall(r"OTEL_[A-Z_]+[A-Z]", read("docs/environment.md")))
    assert {name for name in names if name.startswith("OTEL_")} <= documented
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_gunicorn_sends_what_waits_when_it_is_stopped(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str]
) -> None:
    need_package("gunicorn", "test")
    write_files("gunicorn", tmp_path)
    words = [*command("gunicorn", **{"127.0.0.1:8000": "127.0.0.1:0"}), "--no-control-socket"]
    with started(words, tmp_path, sending, stderr=subprocess.STDOUT) as server:
        address = re.search(r"http://\S+", line_with("Listening at", server.stdout))[0]  # type: ignore[index]
        ask(address)
        server.terminate()
        assert server.wait(DEADLOCK_S) == 0
    check_continued(tmp_path, receiver)


@pytest.mark.slow
@pytest.mark.parametrize("flushing", [True, False])
def test_uvicorn_sends_what_waits_only_if_the_lifespan_flushes(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str], flushing: bool
) -> None:
    need_package("uvicorn", "test")
    write_files("uvicorn", tmp_path)
    if not flushing:
        without(FLUSH, tmp_path / "service.py")
    words = command("uvicorn", **{"8000": "0"})
    with started(words, tmp_path, {**sending, "PYTHONWARNINGS": ""}, stderr=subprocess.STDOUT) as server:
        address = re.search(r"http://\S+", line_with("running on", server.stdout))[0]  # type: ignore[index]
        ask(address)
        server.terminate()
        assert server.wait(DEADLOCK_S) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    if flushing:
        check_continued(tmp_path, receiver)
    else:
        assert receiver.accepted == []


FLUSH = "    tracer.flush()\n"


def without(line: str, program: Path) -> None:
    """Take a line out of a program; another one that does nothing stands in its place."""
    text = program.read_text(encoding="utf-8")
    assert text.count(line) == 1
    program.write_text(text.replace(line, "    pass\n"), encoding="utf-8")


TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def ask(address: str) -> None:
    """Ask a web server three questions, as a caller that traces itself."""
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "Connection": "close"}
    with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=DEADLOCK_S, trust_env=False) as client:
        for number in range(3):
            assert client.get(f"{address}/?q{number}", headers=headers).text == "It will rain."


def check_continued(folder: Path, receiver: FakeReceiver) -> None:
    """Check that three runs, all in the caller's trace, are in the file and were sent."""
    runs = load_runs(folder / "traces.jsonl")
    assert sorted(run.user_input for run in runs) == ["q0", "q1", "q2"]
    assert {(span.trace_id, span.parent_span_id) for span in receiver.accepted} == {(TRACE, CALLER)}
    assert spans_of(receiver) == ["invoke_agent weather"] * 3


CELERY = """
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "store_processed": False}
worker_redirect_stdouts = False
"""


@pytest.mark.slow
@pytest.mark.frameworks
def test_celery_continues_the_trace_and_sends_what_waits(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str]
) -> None:
    need_package("celery", "frameworks")
    write_files("Celery", tmp_path)
    (tmp_path / "celeryconfig.py").write_text(CELERY)
    (tmp_path / "queue").mkdir()
    environment = {**sending, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "PYTHONWARNINGS": ""}
    plan = [sys.executable, "-c", "import tasks; tasks.plan('q0'); tasks.plan('q1')"]
    subprocess.run(plan, cwd=tmp_path, env=environment, check=True, timeout=DEADLOCK_S)
    with started(command("Celery"), tmp_path, environment, stderr=subprocess.STDOUT) as worker:
        lines = (tmp_path / "traces.jsonl").read_bytes
        wait_until(lambda: lines().count(b"\n") == 4, "both tasks are done")
        worker.terminate()
        worker.communicate(timeout=DEADLOCK_S)
    assert spans_of(receiver) == ["invoke_agent planner"] * 2 + ["invoke_agent weather"] * 2
    runs = load_runs(tmp_path / "traces.jsonl")
    assert sorted((run.user_input, [(step.name, step.input) for step in run.steps]) for run in runs) == [
        ("q0", [("weather", "q0")]),
        ("q1", [("weather", "q1")]),
    ]


def test_the_function_for_lambda_has_sent_when_it_returns(
    tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files("AWS Lambda", tmp_path)
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_BSP_SCHEDULE_DELAY"):
        monkeypatch.setenv(name, sending[name])
    spec = importlib.util.spec_from_file_location("function", tmp_path / "function.py")
    assert spec is not None
    assert spec.loader is not None
    function = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(function)
    assert function.handler({"question": "Rain?"}, None) == {"answer": "It will rain."}
    assert spans_of(receiver) == ["invoke_agent weather"]
    function.tracer.close()


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_configuration_file_names_our_exporter(tmp_path: Path, sending: dict[str, str]) -> None:
    need_package("opentelemetry-distro", "test")
    need_package("opentelemetry-configuration", "test")
    write_files("Declarative configuration", tmp_path)
    name, *words = command("Declarative configuration")
    variable, _, value = name.partition("=")
    environment = {**sending, variable: value, "PYTHONWARNINGS": ""}
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=DEADLOCK_S, capture_output=True)
    run = load_run(tmp_path / "traces.jsonl")
    assert (run.agent_name, run.service_name, run.final_output) == ("weather", "weather", "It will rain.")


@pytest.mark.slow
def test_a_disabled_sdk_makes_no_spans(tmp_path: Path, receiver: FakeReceiver, sending: dict[str, str]) -> None:
    write_agent(tmp_path)
    program = (tmp_path / "agent.py").read_text() + "print(tracer.stats())\n"
    (tmp_path / "agent.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "agent.py"],
        cwd=tmp_path,
        env={**sending, "OTEL_SDK_DISABLED": "true"},
        input="Rain?\n",
        text=True,
        capture_output=True,
        check=True,
        timeout=DEADLOCK_S,
    )
    assert done.stdout == "It will rain.\n{'runs': 1, 'dropped: not recorded': 1}\n"
    assert not (tmp_path / "traces.jsonl").exists()
    assert receiver.requests == []


# ── depending on it, and what it was tested with ─────────────────────────────────────────────────────────────────────


def test_every_way_to_depend_on_it_is_the_same_requirement() -> None:
    text = section(PAGE, "Depending on it")
    found = {Requirement(line) for line in re.findall(r"otel-agent-trace @ [^\s\"`]+", text)}
    assert [(one.name, one.url) for one in found] == [
        ("otel-agent-trace", "git+https://git.example.com/otel-agent-trace.git@main")
    ]
    assert re.search(r'^dependencies = \["otel-agent-trace @ ', text, re.MULTILINE)


def pinned(pattern: str, path: str) -> str:
    found = re.search(pattern, read(path), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (r"otlpreceiver v([\d.]+)", "tests/servers/collector/builder.yaml"),
        (r"jaegertracing/jaeger v([\d.]+)", "tests/servers/jaeger/go.mod"),
        (r"^mlflow==([\d.]+)", "tests/servers/mlflow.txt"),
        (r"^arize-phoenix==([\d.]+)", "tests/servers/phoenix.txt"),
    ],
)
def test_the_servers_are_those_that_the_tests_build(pattern: str, path: str) -> None:
    assert f" {pinned(pattern, path)}" in section(PAGE, "Tested with")


# ── shell completion ─────────────────────────────────────────────────────────────────────────────────────────────────

COMPLETION = section(read("docs/command-line.md"), "Shell completion")
ASKED = {
    "bash": (
        ["bash", "--norc"],
        'COMP_WORDS=(otel-agent-trace me) COMP_CWORD=1; _otel_agent_trace_completion otel-agent-trace; echo "${COMPREPLY[@]}"',
    ),
    "zsh": (
        ["zsh", "--no-rcs"],
        (
            "_describe() { print -rl -- $completions_with_descriptions }\n"
            "words=(otel-agent-trace me) CURRENT=2; _otel_agent_trace_completion"
        ),
    ),
    "fish": (["fish", "--no-config"], "complete -C 'otel-agent-trace me'"),
}
BEFORE = {"zsh": "autoload -Uz compinit && compinit -D -u\n"}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ASKED)
def test_a_shell_completes_commands(shell: str, tmp_path: Path, sending: dict[str, str]) -> None:
    """As if a person had pressed Tab after `otel-agent-trace me`."""
    words, asked = ASKED[shell]
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    if shutil.which("otel-agent-trace", path=sending["PATH"]) is None:
        cannot_run("the command is not installed")
    (line,) = blocks_in(COMPLETION, shell)
    done = subprocess.run(
        [*words, "-c", f"{BEFORE.get(shell, '')}{line}\n{asked}"],
        cwd=tmp_path,
        env={**sending, "HOME": str(tmp_path), "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLOCK_S,
    )
    assert done.stdout.startswith("metrics")
    assert "export" not in done.stdout
