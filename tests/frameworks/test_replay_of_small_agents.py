"""Small agents like those in the repositories of frameworks, replayed: two or three lines are added to each.

Each is recorded by an instrumentation of others against a scripted model, and replayed in another process without one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.documents import ROOT
from tests.support.requirements import need_package
from tests.support.scripted_model import Calls, Says, Script, scripted_model
from tests.support.waiting import DEADLOCK_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-ai and LangChain need Python 3.11"),
]
PROGRAMS = Path(__file__).parent / "programs"
OF_OTHERS = ("OTEL_", "OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_", "TRACELOOP_", "OPENINFERENCE_")
NOBODY = "http://127.0.0.1:9"
"""A URL where nothing answers."""


class Example(NamedTuple):
    """An agent, who records it, the lines that are added before others, and a prompt that is edited."""

    agent: str
    module: str
    instrumentation: str
    instrumentor: str
    packages: tuple[str, ...]
    added: dict[str, str]
    """Lines, by the beginning of the line before which they are added; empty for the first line of code."""
    prompt: tuple[str, str]
    script: Script
    answered: list[str]
    changed: dict[str, str] = {}
    """Lines that are changed."""

    def __str__(self) -> str:
        return self.agent


PACKAGE = "otel_agent_trace.replay.frameworks"
EXAMPLES = [
    Example(
        "openai_client",
        "openai",
        "opentelemetry.instrumentation.openai",
        "OpenAIInstrumentor",
        ("openai", "opentelemetry-instrumentation-openai"),
        {"": f"import {PACKAGE}.openai", "def get_horoscope": "@otel_agent_trace.AgentTracer().tool"},
        ("Respond only with a horoscope", "Respond rudely with a horoscope"),
        {
            "What is my horoscope? I am an Aquarius.": [
                Calls("get_horoscope", {"sign": "Aquarius"}, 100, 11),
                Says("Next Tuesday you will befriend a baby otter.", 120, 12),
            ]
        },
        ["scripted-1", "get_horoscope", "scripted-1"],
        {"client = OpenAI()": f"client = {PACKAGE}.openai.replaying(OpenAI())"},
    ),
    Example(
        "anthropic_client",
        "anthropic",
        "opentelemetry.instrumentation.anthropic",
        "AnthropicInstrumentor",
        ("anthropic", "opentelemetry-instrumentation-anthropic"),
        {"": f"import {PACKAGE}.anthropic", "def get_weather": "@otel_agent_trace.AgentTracer().tool"},
        ("You answer questions", "You avoid questions"),
        {
            "What is the weather like in San Francisco?": [
                Calls("get_weather", {"location": "San Francisco"}, 100, 11),
                Says("It is cloudy.", 120, 12),
            ]
        },
        ["scripted-1", "get_weather", "scripted-1"],
        {"client = AsyncAnthropic()": f"client = {PACKAGE}.anthropic.replaying(AsyncAnthropic())"},
    ),
    Example(
        "bank_support",
        "pydantic_ai",
        "pydantic_ai",
        "-",
        ("pydantic-ai-slim",),
        {"": f"from {PACKAGE}.pydantic_ai import replaying", "result =": "replaying(support_agent)"},
        ("give the customer support", "sell the customer a loan"),
        {
            "What is my balance?": [
                Calls("customer_balance", {"include_pending": True}, 100, 11),
                Calls("final_result", {"support_advice": "Your balance is $124.45.", "block_card": False}, 120, 12),
            ]
        },
        ["scripted-1", "customer_balance", "scripted-1"],
    ),
    Example(
        "react_agent",
        "langchain",
        "openinference.instrumentation.langchain",
        "LangChainInstrumentor",
        ("langchain", "langchain-openai", "openinference-instrumentation-langchain"),
        {"": f"from {PACKAGE}.langchain import replaying", "for update": "replaying(agent)"},
        ("a helpful assistant", "a rude assistant"),
        {
            "what is the weather in sf": [
                Calls("get_weather", {"city": "sf"}, 100, 11),
                Says("It's always sunny in sf!", 120, 12),
            ]
        },
        ["scripted-1", "get_weather", "scripted-1"],
    ),
    Example(
        "routing",
        "openai_agents",
        "openinference.instrumentation.openai_agents",
        "OpenAIAgentsInstrumentor",
        ("openai-agents", "openinference-instrumentation-openai-agents"),
        {"": f"from {PACKAGE}.openai_agents import replaying", "async def main": "replaying(triage)"},
        ("You answer questions", "You avoid questions"),
        {
            "What was my bill in May?": [
                Calls("transfer_to_billing", {}, 100, 11),
                Calls("get_bill", {"month": "May"}, 120, 12),
                Says("It was $42.", 140, 14),
            ]
        },
        ["scripted-1", "scripted-1", "get_bill", "scripted-1"],
    ),
]


def code_of(example: Example) -> str:
    """Return the program with the lines that a replay needs."""
    lines = (PROGRAMS / "small_agents" / f"{example.agent}.py").read_text(encoding="utf-8").splitlines()
    assert len(example.added) + len(example.changed) <= 3
    first = next(number for number, line in enumerate(lines) if line.startswith(("import", "from")))
    for beginning, line in example.added.items():
        place = next(n for n, text in enumerate(lines) if text.startswith(beginning)) if beginning else first
        lines.insert(place, line)
    for old, new in example.changed.items():
        lines[lines.index(old)] = new
    return "\n".join(lines)


def run_agent(example: Example, code: str, way: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run an agent in a process of its own."""
    (folder / "agent.py").write_text(code, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)}
    ours = {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "OTEL_AGENT_TRACE_USER_KEY": "small"}
    theirs = {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
    }
    words = ["agent.py", example.instrumentation, example.instrumentor, way, "traces.jsonl"]
    command = [sys.executable, str(PROGRAMS / "small_agent.py"), *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **ours, **theirs},
        capture_output=True,
        text=True,
        timeout=DEADLOCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def session_in(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what the program wrote of its session, last of all."""
    facts: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return facts


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_small_agent_is_recorded_and_replayed_without_a_live_call(example: Example, tmp_path: Path) -> None:
    for package in example.packages:
        need_package(package, "frameworks")
    code = code_of(example)
    with scripted_model(example.script) as url:
        recorded = run_agent(example, code, "record", tmp_path, url.removesuffix("/v1"))
    assert "executed" in recorded.stdout
    replayed = run_agent(example, code, "replay", tmp_path, NOBODY)
    expected = [line for line in recorded.stdout.splitlines() if not line.startswith("executed")]
    assert replayed.stdout.splitlines() == expected
    assert session_in(replayed) == {"answered": example.answered, "live": [], "divergence": None}

    before, after = example.prompt
    assert code.count(before) == 1
    edited = session_in(run_agent(example, code.replace(before, after), "replay", tmp_path, NOBODY))
    divergence = edited["divergence"]
    assert (divergence["kind"], divergence["name"], edited["live"]) == ("model", "scripted-1", [])
    assert after in divergence["text"]
    changed = 1 if example.agent == "routing" else 0  # there, the second agent's prompt is edited
    assert edited["answered"] == example.answered[:changed]
