"""The file exporter is found by name, in the environment and in configuration files of the SDK."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from tests.support.forked_programs import ForkedPrograms, forked_programs
from tests.support.processes import ROOT, environment
from tests.support.requirements import cannot_run, need_package
from tests.support.waiting import DEADLOCK_S

Run = Callable[..., subprocess.CompletedProcess[str]]

SCRIPT = """
from opentelemetry import trace
from otel_agent_trace import AgentTracer
with AgentTracer().run(user_input="question", user_id="alice", agent_name="a") as run:
    with run.step("search", {"query": ("a", "b")}) as step:
        step.output = {"found": 1}
    run.final_output = "answer"
attributes = {"user.id": "alice", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "foreign"}
trace.get_tracer("somebody").start_span("execute_tool foreign", attributes=attributes).end()
"""


@pytest.fixture
def instrument() -> Path:
    """The launcher, where it and our entry point are installed."""
    found = importlib.metadata.entry_points(group="opentelemetry_traces_exporter", name="agent_trace_file")
    if not found:
        cannot_run("the package is not installed: pip install --no-deps -e .")
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    if not program.exists():
        cannot_run("opentelemetry-distro is not installed")
    return program


def run_instrumented(program: Path, folder: Path, **settings: str) -> None:
    """Run the script as `opentelemetry-instrument python script.py`."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    variables = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OTEL_TRACES_EXPORTER": "agent_trace_file",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "instrumented",
        **settings,
    }
    command = [str(program), sys.executable, str(script)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=DEADLOCK_S)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("settings", "file"), [({"OTEL_AGENT_TRACE_FILE": "logs/runs.jsonl"}, "logs/runs.jsonl"), ({}, "traces.jsonl")]
)
def test_exporter_by_name(instrument: Path, tmp_path: Path, settings: dict[str, str], file: str) -> None:
    """Under the launcher of OpenTelemetry the environment alone makes a program write its runs to a file."""
    run_instrumented(instrument, tmp_path, **settings)
    run, foreign = load_runs(tmp_path / file, strict=True)
    assert (run.agent_name, run.user_input, run.final_output, run.service_name) == (
        "a",
        "question",
        "answer",
        "instrumented",
    )
    assert [(step.name, step.input, step.output) for step in run.steps] == [
        ("search", {"query": ("a", "b")}, {"found": 1})
    ]
    assert [step.name for step in foreign.steps] == ["foreign"]
    assert b"alice" not in (tmp_path / file).read_bytes()
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o600


# ── configuration files ──────────────────────────────────────────────────────────────────────────────────────────────

CONFIGURED = """
import sys
if len(sys.argv) > 1:
    from opentelemetry.configuration import configure_sdk, load_config_file
    configure_sdk(load_config_file(sys.argv[1]))
from opentelemetry import trace
from otel_agent_trace import AgentTracer
with AgentTracer().run(user_input="question", user_id="alice"):
    pass
trace.get_tracer("somebody").start_span("execute_tool x", attributes={"user.id": "alice"}).end()
trace.get_tracer_provider().force_flush()
"""
YAML = """
file_format: "1.0"
tracer_provider:
  processors:
    - {processor}:
        exporter:
          agent_trace_file: {keys}
"""


@pytest.fixture
def write_configuration(instrument: Path, tmp_path: Path) -> Callable[..., int]:
    """Writes a configuration file with keys of the exporter."""
    need_package("opentelemetry-configuration", "test")
    return lambda keys, processor: (tmp_path / "otel.yaml").write_text(YAML.format(keys=keys, processor=processor))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedPrograms]:
    """Programs that find what they import imported."""
    imports = "from opentelemetry.configuration import configure_sdk\nfrom otel_agent_trace import *"
    with forked_programs(imports, tmp_path_factory.mktemp("programs")) as programs:
        yield programs


@pytest.fixture
def run_configured(write_configuration: Callable[..., int], programs: ForkedPrograms, tmp_path: Path) -> Run:
    """Runs a program that is configured by a file in a call of its own."""

    def run(keys: str, processor: str = "simple", **variables: str) -> subprocess.CompletedProcess[str]:
        write_configuration(keys, processor)
        return programs.run(CONFIGURED, tmp_path, "otel.yaml", **variables)

    return run


@pytest.fixture
def run_launched(write_configuration: Callable[..., int], instrument: Path, tmp_path: Path) -> Run:
    """Runs a program that is configured by a file, by the launcher and OTEL_CONFIG_FILE."""

    def run(keys: str, processor: str = "simple", **variables: str) -> subprocess.CompletedProcess[str]:
        write_configuration(keys, processor)
        env = environment(OTEL_CONFIG_FILE="otel.yaml", **variables)
        command = [str(instrument), sys.executable, "-c", CONFIGURED]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLOCK_S)

    return run


@pytest.mark.parametrize("processor", ["simple", "batch"])
@pytest.mark.parametrize(
    ("keys", "variables", "file"),
    [
        ("{path: logs/runs.jsonl}", {}, "logs/runs.jsonl"),
        ("{path: '${TRACE_FOLDER}/runs.jsonl'}", {"TRACE_FOLDER": "elsewhere"}, "elsewhere/runs.jsonl"),
        ("{path: '${TRACE_FILE:-runs.jsonl}'}", {}, "runs.jsonl"),
        ("", {}, "traces.jsonl"),
        ("{}", {"OTEL_AGENT_TRACE_FILE": "environment.jsonl"}, "environment.jsonl"),
    ],
)
def test_keys_are_settings(
    run_configured: Run, tmp_path: Path, processor: str, keys: str, variables: dict[str, str], file: str
) -> None:
    """The keys of the exporter are settings of FileBackend, with variables of the environment; all may be left out."""
    check_file(run_configured(keys, processor, **variables), tmp_path / file)


@pytest.mark.parametrize("processor", ["simple", "batch"])
def test_keys_are_settings_under_the_launcher(run_launched: Run, tmp_path: Path, processor: str) -> None:
    done = run_launched("{path: '${TRACE_FOLDER}/runs.jsonl'}", processor, TRACE_FOLDER="elsewhere")
    check_file(done, tmp_path / "elsewhere/runs.jsonl")


def check_file(done: subprocess.CompletedProcess[str], file: Path) -> None:
    assert done.returncode == 0, done.stderr
    (run,) = load_runs(file)
    assert run.user_input == "question"
    assert b"alice" not in file.read_bytes()


@pytest.mark.parametrize(("mode", "recorded"), [("plain", "alice"), ("none", None)])
@pytest.mark.parametrize("runner", ["run_configured", "run_launched"])
def test_user_ids_of_the_file(
    request: pytest.FixtureRequest, tmp_path: Path, runner: str, mode: str, recorded: str | None
) -> None:
    """The file decides how user ids are recorded, for runs as for spans of others."""
    done = request.getfixturevalue(runner)(f"{{user_ids: {mode}}}")
    assert done.returncode == 0, done.stderr
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert run.user_id == recorded
    assert (tmp_path / "traces.jsonl").read_bytes().count(b'"alice"') == (2 if recorded else 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "{pth: x}",
            "an unexpected keyword argument 'pth' (did you mean 'path'?); known: path, policies, user_ids, content, mask, redact",
        ),
        ("{path: 5}", "FileBackend(path=5): a path is a text or an os.PathLike"),
        ("{path: [runs.jsonl]}", "FileBackend(path=['runs.jsonl']): a path is a text or an os.PathLike"),
        ("{path: .}", "not a regular file, so traces cannot be stored there"),
        ("{user_ids: hash}", "user_ids='hash' must be one of pseudonym, plain, none"),
        ("{user_ids: [plain]}", "user_ids=['plain'] must be one of pseudonym, plain, none"),
        ("{policies: 5}", "policies=5 must be a list of policies"),
    ],
)
def test_keys_that_cannot_be_meant(run_configured: Run, keys: str, message: str) -> None:
    """A key that does not exist, or a value that it cannot have, is one error that names what there is."""
    assert message in run_configured(keys).stderr


def test_a_key_that_does_not_exist_under_the_launcher(run_launched: Run) -> None:
    assert "an unexpected keyword argument 'pth' (did you mean 'path'?)" in run_launched("{pth: x}").stderr
