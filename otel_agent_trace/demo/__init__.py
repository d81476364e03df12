"""Provide an example agent, which answers questions over a folder of text files, for trying out tracing.

Without any service it decides by rules; where ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` is set, a model decides::

    from otel_agent_trace import AgentTracer, FileBackend
    from otel_agent_trace.demo import QUESTIONS, make_tools, run_agent

    with AgentTracer(backend=FileBackend("traces.jsonl")) as tracer:
        print(run_agent(QUESTIONS[0], make_tools(), tracer))
"""

from otel_agent_trace.demo.agent import QUESTIONS, run_agent
from otel_agent_trace.demo.calculator import calculator
from otel_agent_trace.demo.library import TextLibrary
from otel_agent_trace.demo.planner import NoAnswerError
from otel_agent_trace.demo.tools import TEXTS, make_tools, tools_by_name

__all__ = [
    "QUESTIONS",
    "TEXTS",
    "NoAnswerError",
    "TextLibrary",
    "calculator",
    "make_tools",
    "run_agent",
    "tools_by_name",
]
