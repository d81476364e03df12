"""Run a small agent: python small_agent.py AGENT INSTRUMENTATION INSTRUMENTOR record|replay FILE."""

import importlib
import json
import runpy
import sys

from otel_agent_trace import ReplayDivergence, configure, load_runs, replay_run

_, AGENT, INSTRUMENTATION, INSTRUMENTOR, WAY, FILE = sys.argv


def instrument(provider):
    """Let a framework record its calls with a provider."""
    if INSTRUMENTATION == "pydantic_ai":
        from pydantic_ai import Agent
        from pydantic_ai.models.instrumented import InstrumentationSettings

        Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
        return
    if INSTRUMENTATION.endswith("openai_agents"):
        from agents import set_trace_processors

        set_trace_processors([])  # nothing goes to OpenAI
    getattr(importlib.import_module(INSTRUMENTATION), INSTRUMENTOR)().instrument(tracer_provider=provider)


instrument(configure(file=FILE if WAY == "record" else f"{FILE}.new", set_global=True))
if WAY == "record":
    runpy.run_path(AGENT, run_name="__main__")
else:
    replay = replay_run(load_runs(FILE))
    try:
        with replay as session:
            runpy.run_path(AGENT, run_name="__main__")
    except ReplayDivergence as divergence:
        facts = {"kind": divergence.kind, "name": divergence.name, "step": divergence.step, "text": str(divergence)}
    else:
        facts = None
    print(json.dumps({"answered": session.answered, "live": session.live, "divergence": facts}), file=sys.stderr)
