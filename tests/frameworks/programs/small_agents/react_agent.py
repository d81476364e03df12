"""A ReAct agent of LangChain, compiled to a graph of LangGraph; its answer is streamed."""

from langchain.agents import create_agent
from langchain_core.tools import tool


@tool
def get_weather(city: str) -> str:
    """Get weather for a given city."""
    print("executed get_weather")
    return f"It's always sunny in {city}!"


agent = create_agent(
    "openai:scripted-1", tools=[get_weather], system_prompt="You are a helpful assistant", name="react"
)
for update in agent.stream({"messages": [{"role": "user", "content": "what is the weather in sf"}]}):
    for node, state in update.items():
        print(node, [message.text for message in state["messages"]])
