"""``otel-agent-trace run`` with the instrumentations that people have, and a client that knows nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from tests.support.requirements import need_package
from tests.support.run_command import Place
from tests.support.scripted_model import Says, scripted_model

pytestmark = [pytest.mark.slow, pytest.mark.frameworks]
PROGRAMS = {
    "openai": """
from openai import OpenAI
answer = OpenAI().chat.completions.create(model="m", messages=[{"role": "user", "content": "where is it?"}])
print(answer.choices[0].message.content)
""",
    "anthropic": """
from anthropic import Anthropic
question = [{"role": "user", "content": "where is it?"}]
print(Anthropic().messages.create(model="m", max_tokens=9, messages=question).content[0].text)
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_client_is_recorded_although_its_program_ends_at_once(tmp_path: Path, name: str) -> None:
    need_package(name, "frameworks")
    need_package(f"opentelemetry-instrumentation-{name}", "frameworks")
    place = Place(tmp_path)
    with scripted_model({"where is it?": [Says("in Oslo", 30, 4)]}) as url:
        variables = {
            f"{name.upper()}_BASE_URL": url if name == "openai" else url.removesuffix("/v1"),
            f"{name.upper()}_API_KEY": "none",
            "TRACELOOP_TELEMETRY": "false",
        }
        done = place.run_code(f"{PROGRAMS[name]}\nimport os, sys; sys.stdout.flush(); os._exit(4)", **variables)
    assert (done.code, done.out) == (4, "in Oslo\n"), done.err
    assert "pip install" not in done.err
    calls = [
        step for run in load_runs(place.file) for step in run.steps
    ]  # Anthropic's client has a span of its own too
    assert {step.kind.value for step in calls} == {"model"}
    assert (30, 4) in {(step.usage.input_tokens, step.usage.output_tokens) for step in calls if step.usage}
