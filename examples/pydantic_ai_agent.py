"""An agent of pydantic-ai, traced by pydantic-ai itself into our file, its tool a step of ours; then the run is read back.

Its model is a function, so no key and no network are needed: any model of pydantic-ai may stand there.

Run it:  pip install pydantic-ai-slim && python examples/pydantic_ai_agent.py [traces.jsonl]
"""

from __future__ import annotations

import sys

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings

from otel_agent_trace import AgentRun, AgentTracer, configure, load_runs
from otel_agent_trace.demo import make_tools
from otel_agent_trace.replay import walk_run

FILE = sys.argv[1] if len(sys.argv) > 1 else "traces.jsonl"
provider = configure(file=FILE)
tracer = AgentTracer(tracer_provider=provider)
library = make_tools()


def decide(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """Search first, then answer with what was found."""
    asked = messages[-1]
    if isinstance(asked, ModelRequest):
        for part in asked.parts:
            if isinstance(part, ToolReturnPart):
                return ModelResponse([TextPart(f"It stands in {part.content[0]['file']}.")])
    return ModelResponse([ToolCallPart("search", {"query": "mirror fans"})])


Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
agent = Agent(FunctionModel(decide), name="librarian")


@agent.tool_plain
@tracer.tool
def search(query: str) -> list[dict[str, object]]:
    """Find passages in the library."""
    return library["search"](query, limit=1)


def print_run(run: AgentRun) -> None:
    print(f"{run.agent_name} ({run.dialect}): {run.status}")
    print(f"  asked {run.user_input!r}, answered {run.final_output!r}")
    for depth, step in walk_run(run):
        print(f"{'  ' * (depth + 1)}{step.kind} {step.name} {step.tool_input or ''}")


if __name__ == "__main__":
    agent.run_sync("Where are the mirror fans described?")
    tracer.close()
    print_run(load_runs(FILE)[-1])
