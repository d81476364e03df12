"""A loop of tool calls with Anthropic's client, as in its guide to tool use."""

import asyncio

from anthropic import AsyncAnthropic

client = AsyncAnthropic()
tools = [
    {
        "name": "get_weather",
        "description": "Get the current weather in a given location.",
        "input_schema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    }
]


def get_weather(location):
    print("executed get_weather")
    return "15 degrees, mostly cloudy"


async def main():
    messages = [{"role": "user", "content": "What is the weather like in San Francisco?"}]
    while True:
        system = "You answer questions about the weather."
        response = await client.messages.create(
            model="scripted-1", max_tokens=1024, system=system, messages=messages, tools=tools
        )
        if response.stop_reason != "tool_use":
            break
        messages.append({"role": "assistant", "content": response.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": get_weather(**block.input)}
            for block in response.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})
    print(response.content[0].text)


asyncio.run(main())
