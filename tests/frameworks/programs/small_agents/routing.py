"""Agents of the OpenAI Agents SDK: one hands over to another that has a tool."""

import asyncio

from agents import Agent, Runner, function_tool


@function_tool
def get_bill(month: str) -> str:
    """Look up the bill of a month."""
    print("executed get_bill")
    return f"The bill of {month} was $42."


billing = Agent(name="billing", instructions="You answer questions about bills.", model="scripted-1", tools=[get_bill])
triage = Agent(name="triage", instructions="Hand off to the right agent.", model="scripted-1", handoffs=[billing])


async def main():
    result = await Runner.run(triage, input="What was my bill in May?")
    print(result.last_agent.name, result.final_output)


asyncio.run(main())
