"""Agents of the OpenAI Agents SDK: python openai_agents.py INSTRUMENTATION FILE QUESTION..."""

import importlib

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_trace_processors
from openai import AsyncOpenAI
from travel import INSTRUMENTATION, PROVIDER, TRACER, ask_all, forecast_of

set_trace_processors([])  # nothing goes to OpenAI
importlib.import_module(INSTRUMENTATION).OpenAIAgentsInstrumentor().instrument(tracer_provider=PROVIDER)
model = OpenAIResponsesModel("scripted-1", AsyncOpenAI(max_retries=0))


@function_tool
@TRACER.tool
def forecast(city: str) -> dict[str, str]:
    """What the weather will be."""
    return forecast_of(city)


meteorologist = Agent(name="meteorologist", model=model, tools=[forecast])


@function_tool
@TRACER.tool
async def ask_meteorologist(question: str) -> str:
    """Ask somebody who knows the weather."""
    return (await Runner.run(meteorologist, question)).final_output


AGENTS = {
    "Plan": Agent(name="planner", model=model, tools=[ask_meteorologist]),
    "Dear": Agent(name="concierge", model=model, handoffs=[meteorologist]),
}


def ask(question: str) -> str:
    return Runner.run_sync(AGENTS.get(question[:4], meteorologist), question).final_output


ask_all(ask)
