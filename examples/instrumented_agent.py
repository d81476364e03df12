"""An agent loop, and how tracing is put into it: the loop in `tracer.run`, the tools through `tracer.tool`.

Run it:  python examples/instrumented_agent.py ["question"] [--file traces.jsonl] [--otlp http://localhost:4318]
Look:    otel-agent-trace list traces.jsonl
Call it: run_agent_with_tracing(question, {"search": my_search}, tracer), or, by the names of the demo's own tools,
         run_agent_with_tracing(question, [{"name": "search", "description": "Search the texts."}], tracer)
"""

from __future__ import annotations

import argparse
import sys

from otel_agent_trace import AgentTracer, configure
from otel_agent_trace.demo import QUESTIONS, NoAnswerError, chat, make_tools
from otel_agent_trace.demo.agent import observe
from otel_agent_trace.demo.planner import Answer, Observation, ToolCall, decide
from otel_agent_trace.demo.tools import GivenTools, Tools, tools_by_name
from otel_agent_trace.errors import ConfigurationError


def run_agent_with_tracing(question: str, tools: GivenTools, tracer: AgentTracer) -> str:
    """Answer a question with these tools; the run and each of its tool calls are traced.

    A model decides where OPENAI_API_KEY or OPENAI_BASE_URL is set, and its calls are traced too; else a few rules do,
    which call `search`, `read` and `calculator`.

    Raises:
        NoAnswerError: nothing that was tried worked; the run ends in this error.
        ConfigurationError: a name in the list that is none of the demo's tools.
    """
    traced = {name: tracer.tool(name)(tool) for name, tool in tools_by_name(tools).items()}
    with tracer.run(user_input=question) as run:
        run.final_output = chat.ask(question, traced, tracer) if chat.is_configured() else loop(question, traced)
        return str(run.final_output)


def loop(question: str, tools: Tools) -> str:
    """Let the rules decide what to call next, until they have an answer or give up."""
    seen: list[Observation] = []
    while isinstance(decision := decide(question, seen, tools), ToolCall):
        seen.append(observe(decision, tools))  # the call, and its result or error
    if not isinstance(decision, Answer):
        raise NoAnswerError(decision.reason)
    return decision.text


def main() -> None:
    arguments = parse_arguments()
    provider = configure(file=arguments.file, otlp=arguments.otlp)
    tracer = AgentTracer(tracer_provider=provider, agent_name="librarian")
    tools = make_tools()
    for question in QUESTIONS if arguments.question is None else [arguments.question]:
        print(f"? {question}")
        try:
            print(f"  {run_agent_with_tracing(question, tools, tracer)}")
        except Exception as error:  # noqa: BLE001 - an agent fails in its own ways, and its run tells how
            print(f"  no answer: {error}")
    provider.shutdown()  # sends what still waits to be sent
    print(f"traces: {arguments.file}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An agent with tracing.")
    parser.add_argument("question", nargs="?", help="by default the questions of the demo")
    parser.add_argument("--file", default="traces.jsonl", help="where traces are kept (default: %(default)s)")
    parser.add_argument("--otlp", metavar="ENDPOINT", help="where they are sent as well, such as http://localhost:4318")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
