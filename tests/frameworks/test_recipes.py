"""The recipes of docs/frameworks.md, each run as a program of its own against a scripted model: they print what is shown."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from tests.support.documents import ROOT, named_files, python_blocks, read, section, shown_outputs
from tests.support.requirements import need_package
from tests.support.scripted_model import Calls, Says, Script, scripted_model
from tests.support.waiting import DEADLOCK_S

PAGE = read("docs/frameworks.md")
SCRIPT: Script = {"Will it rain in Lyon?": [Calls("forecast", {"city": "Lyon"}, 100, 11), Says("Yes.", 120, 12)]}
RECIPES = {
    "LangGraph and LangChain": ("langchain-openai", "openinference-instrumentation-langchain"),
    "pydantic-ai": ("pydantic-ai-slim",),
    "OpenAI Agents SDK": ("openai-agents", "openinference-instrumentation-openai-agents"),
    "OpenAI's client": ("openai", "opentelemetry-instrumentation-openai"),
    "Anthropic's client": ("anthropic", "opentelemetry-instrumentation-anthropic"),
}
SESSIONS = {"LangGraph and LangChain": "s1"}
OF_OTHERS = ("OTEL_", "OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_", "TRACELOOP_", "OPENINFERENCE_")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-ai and LangChain need Python 3.11"),
]


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)}
    return {
        **kept,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
        "OTEL_AGENT_TRACE_USER_KEY": "recipe",
        **variables,
    }


def run_program(name: str, folder: Path, variables: dict[str, str]) -> str:
    """Run a program to its end, and return what it printed."""
    done = subprocess.run(
        [sys.executable, name],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=DEADLOCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_prints_what_is_shown(title: str, tmp_path: Path) -> None:
    for package in RECIPES[title]:
        need_package(package, "frameworks")
    recipe = section(PAGE, title)
    ((name, program),) = named_files(recipe).items()
    (tmp_path / name).write_text(program, encoding="utf-8")
    with scripted_model(SCRIPT) as url:
        variables = environment(
            OPENAI_BASE_URL=url,
            OPENAI_API_KEY="none",
            ANTHROPIC_BASE_URL=url.removesuffix("/v1"),
            ANTHROPIC_API_KEY="none",
        )
        assert run_program(name, tmp_path, variables) == shown_outputs(recipe)[0]
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert (run.user_input, run.session_id) == ("Will it rain in Lyon?", SESSIONS.get(title, run.session_id))
    assert [step.messages[-1].text for step in run.model_steps] == ["", "Yes."]


@pytest.mark.parametrize("title", [*RECIPES, "A2A"])
def test_a_recipe_installs_packages_that_the_tests_have(title: str) -> None:
    (line,) = re.findall(r"^pip install (.*)$", section(PAGE, title), re.MULTILINE)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for word in line.replace('"', "").split():
        assert re.search(rf'^  "{re.escape(word)}[>\[]', settings, re.MULTILINE), word


def test_a_span_in_a_tool_of_langchain_stands_below_it_with_the_lines_that_are_shown(tmp_path: Path) -> None:
    need_package("openinference-instrumentation-langchain", "frameworks")
    recipe = section(PAGE, "LangGraph and LangChain")
    (program,) = named_files(recipe).values()
    imports, _, lines = python_blocks(recipe)[-1].partition("\n\n")
    ours = 'AgentTracer(tracer_provider=provider).tool("radar")(lambda: 1)()'
    body = textwrap.indent(lines.replace("...", f"{ours}\n    return {{'sky': 'rain'}}"), "    ")
    program = re.sub(r"^    return .*\n", lambda _: body, program, flags=re.MULTILINE)
    text = f"{imports}\nfrom otel_agent_trace import AgentTracer\n{program}"
    (tmp_path / "radar.py").write_text(text, encoding="utf-8")
    with scripted_model(SCRIPT) as url:
        run_program("radar.py", tmp_path, environment(OPENAI_BASE_URL=url, OPENAI_API_KEY="none"))
    (run,) = load_runs(tmp_path / "traces.jsonl")
    forecast, radar = run.tool_steps
    assert (forecast.name, radar.name, radar.parent_step_id) == ("forecast", "radar", forecast.step_id)


@pytest.mark.parametrize("instrumented", [True, False])
def test_a_decorated_call_of_a_client_is_one_step(tmp_path: Path, instrumented: bool) -> None:
    need_package("opentelemetry-instrumentation-openai", "frameworks")
    recipe = section(PAGE, "OpenAI's client")
    (program,) = named_files(recipe).values()
    asking = python_blocks(recipe)[-1]
    call = 'client.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)'
    assert program.count(call) == 1
    program = program.replace(call, "ask(messages)").replace("@tracer.agent", f"{asking}\n\n@tracer.agent")
    if not instrumented:
        program = re.sub(r"^OpenAIInstrumentor.*\n", "", program, flags=re.MULTILINE)
    (tmp_path / "asking.py").write_text(program, encoding="utf-8")
    with scripted_model(SCRIPT) as url:
        run_program("asking.py", tmp_path, environment(OPENAI_BASE_URL=url, OPENAI_API_KEY="none"))
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert [step.name for step in run.steps] == ["ask", "forecast", "ask"]
    assert [(step.messages[-1].text, step.usage.total_tokens) for step in run.model_steps if step.usage] == [
        ("", 111),
        ("Yes.", 132),
    ]


def test_an_agent_behind_a2a_is_a_sub_agent_of_its_caller(tmp_path: Path) -> None:
    need_package("a2a-sdk", "frameworks")
    recipe = section(PAGE, "A2A")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for name, program in named_files(recipe).items():
        (tmp_path / name).write_text(program.replace("8000", port), encoding="utf-8")
    variables = environment()
    with subprocess.Popen(
        [sys.executable, "a2a_server.py"], cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            assert any("running on" in line for line in server.stderr)
            assert run_program("a2a_client.py", tmp_path, variables) == shown_outputs(recipe)[1]
        finally:
            server.kill()
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert [step.run.agent_name for step in run.steps if step.run] == ["weather"]
