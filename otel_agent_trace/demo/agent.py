"""Run the example agent, which answers questions over a folder of texts, with its run, tools and model calls traced."""

from __future__ import annotations

from otel_agent_trace.demo.chat import ask, is_configured
from otel_agent_trace.demo.planner import Answer, GiveUp, NoAnswerError, Observation, ToolCall, decide
from otel_agent_trace.demo.tools import GivenTools, Tools, tools_by_name
from otel_agent_trace.tracing import AgentTracer

QUESTIONS = (
    "At what wind speed does the dome have to be closed?",
    "How much flour do 3 loaves of ridge bread need?",
    "What is (1250 - 430) * 3 / 4?",
    "According to tide-table.txt, when is high water at Sallow Point?",
    "How deep was the water where the Halcyon anchored in Gannet Bay?",
    "What is 84 divided by (7 - 7)?",
)
"""Questions about `TEXTS`: the fourth meets a failing tool, the last has no answer."""


def run_agent(question: str, tools: GivenTools, tracer: AgentTracer) -> str:
    """Answer a question; the run, its tool calls and its model calls are traced.

    A model decides what to do if the environment names one (`chat.is_configured`), else a few rules do.

    Raises:
        NoAnswerError: there is no answer, since the tools that might have found it failed.
        ConfigurationError: a tool does not exist; nothing is traced.
    """
    traced = {name: tracer.tool(name)(tool) for name, tool in tools_by_name(tools).items()}

    @tracer.agent("librarian", user_input="question")
    def librarian(question: str) -> str:
        return ask(question, traced, tracer) if is_configured() else follow_rules(question, traced)

    return librarian(question)


def follow_rules(question: str, tools: Tools) -> str:
    """Answer a question by the rules of `planner`.

    Raises:
        NoAnswerError: the rules have given up.
    """
    seen: list[Observation] = []
    while True:
        decision = decide(question, seen, tools)
        if isinstance(decision, Answer):
            return decision.text
        if isinstance(decision, GiveUp):
            raise NoAnswerError(decision.reason)
        seen.append(observe(decision, tools))


def observe(call: ToolCall, tools: Tools) -> Observation:
    """Call a tool and return its result, or its error; arguments go by position, whatever a tool names its parameters."""
    try:
        return Observation(call, result=tools[call.tool](*call.arguments.values()))
    except Exception as error:  # noqa: BLE001 - tools fail in their own ways, and an agent goes on with what it has
        return Observation(call, error=error)
