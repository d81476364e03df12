"""Agents of pydantic-ai, traced by itself: python pydantic_ai_agents.py INSTRUMENTATION FILE QUESTION..."""

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from travel import PROVIDER, TRACER, ask_all, forecast_of

Agent.instrument_all(InstrumentationSettings(tracer_provider=PROVIDER))
model = OpenAIChatModel("scripted-1", provider=OpenAIProvider(openai_client=AsyncOpenAI(max_retries=0)))
meteorologist = Agent(model, name="meteorologist")
planner = Agent(model, name="planner")


@meteorologist.tool_plain
@TRACER.tool
def forecast(city: str) -> dict[str, str]:
    """What the weather will be."""
    return forecast_of(city)


@planner.tool_plain
@TRACER.tool
async def ask_meteorologist(question: str) -> str:
    """Ask somebody who knows the weather."""
    return (await meteorologist.run(question, conversation_id="holiday")).output


def ask(question: str) -> str:
    agent = planner if question.startswith("Plan") else meteorologist
    return agent.run_sync(question, conversation_id="holiday").output


ask_all(ask)
