"""Agents of frameworks are answered in each way of running them; what a provider hosts is refused by name."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, Message, ReplayDivergence, StepKind, replay_run
from tests.support.requirements import need_package

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function BaseEventLoop:pytest.PytestUnraisableExceptionWarning"
    ),
]
CALL = {"type": "tool_call", "id": "call_7", "name": "forecast", "arguments": {"city": "Lyon"}}
SENT = (
    Message(role="system", parts=({"type": "text", "content": "Be brief."},)),
    Message(role="user", parts=({"type": "text", "content": "Rain in Lyon?"},)),
)
ANSWER = Message(role="assistant", parts=(CALL,))
RESULT = Message(role="tool", parts=({"type": "tool_call_response", "id": "call_7", "response": "rain"},))
FINAL = Message(role="assistant", parts=({"type": "text", "content": "Yes."},))
IN_LYON = {"city": "Lyon"}
RUN = AgentRun(
    run_id="r",
    span_id="0",
    ended_at_ns=9,
    dialect="openinference",
    steps=(
        AgentStep(step_id=1, kind=StepKind.MODEL, name="m", messages=(*SENT, ANSWER), ended_at_ns=1, span_id="1"),
        AgentStep(
            step_id=2, kind=StepKind.TOOL, name="forecast", input=IN_LYON, output="rain", ended_at_ns=2, span_id="2"
        ),
        AgentStep(
            step_id=3,
            kind=StepKind.MODEL,
            name="m",
            messages=(*SENT, ANSWER, RESULT, FINAL),
            ended_at_ns=3,
            span_id="3",
        ),
    ),
)
ANSWERED = ["m", "forecast", "m"]


def replaying(framework: str, agent: Any) -> None:
    module = importlib.import_module(f"otel_agent_trace.replay.frameworks.{framework}")
    assert module.replaying(agent) is agent
    assert module.replaying(agent) is agent  # a second time changes nothing


def executed(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("executed")


# ── pydantic-ai ──────────────────────────────────────────────────────────────────────────────────────────────────────


def pydantic_ai_agent(**options: Any) -> Any:
    need_package("pydantic-ai-slim", "frameworks")
    from pydantic_ai import Agent
    from pydantic_ai.models.function import FunctionModel

    agent = Agent(
        FunctionModel(executed, stream_function=executed, model_name="m"), instructions="Be brief.", **options
    )

    @agent.tool_plain
    def forecast(city: str) -> str:
        return executed()

    replaying("pydantic_ai", agent)
    return agent


def test_pydantic_ai_is_answered_whole() -> None:
    agent = pydantic_ai_agent()
    with replay_run(RUN) as session:
        assert agent.run_sync("Rain in Lyon?").output == "Yes."
    assert (session.answered, session.live) == (ANSWERED, [])
    with pytest.raises(AssertionError, match="executed"):
        agent.run_sync("Rain in Lyon?")


def test_pydantic_ai_is_answered_streamed() -> None:
    agent = pydantic_ai_agent()

    async def ask() -> str:
        async with agent.run_stream("Rain in Lyon?") as result:
            return "".join([text async for text in result.stream_text(delta=True)])

    with replay_run(RUN) as session:
        assert asyncio.run(ask()) == "Yes."
    assert session.answered == ANSWERED


# ── LangChain ────────────────────────────────────────────────────────────────────────────────────────────────────────


def langchain_agent(**options: Any) -> Any:
    need_package("langchain", "frameworks")
    from langchain.agents import create_agent
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.tools import tool

    class Model(BaseChatModel):
        model_name: str = "m"

        @property
        def _llm_type(self) -> str:
            return "executed"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind(tools=tools)

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            return executed()

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            return executed()

    @tool
    def forecast(city: str, unit: str = "C") -> str:
        """Look up the weather."""
        return executed()

    agent = create_agent(Model(), [forecast, *options.pop("tools", ())], system_prompt="Be brief.", **options)
    replaying("langchain", agent)
    return agent


QUESTION = {"messages": [{"role": "user", "content": "Rain in Lyon?"}]}


def test_langchain_is_answered_whole_and_async() -> None:
    agent = langchain_agent()
    with replay_run(RUN) as session:
        assert agent.invoke(QUESTION)["messages"][-1].text == "Yes."
    assert (session.answered, session.live) == (ANSWERED, [])
    with replay_run(RUN) as session:
        assert asyncio.run(agent.ainvoke(QUESTION))["messages"][-1].text == "Yes."
    assert session.answered == ANSWERED
    with pytest.raises(AssertionError, match="executed"):
        agent.invoke(QUESTION)


def test_langchain_is_answered_streamed() -> None:
    agent = langchain_agent()
    with replay_run(RUN) as session:
        chunks = [
            chunk.text for chunk, _ in agent.stream(QUESTION, stream_mode="messages") if chunk.type.startswith("AI")
        ]
    assert "".join(chunks) == "Yes."
    assert session.answered == ANSWERED


# ── OpenAI Agents SDK ────────────────────────────────────────────────────────────────────────────────────────────────


def openai_agent(**options: Any) -> Any:
    need_package("openai-agents", "frameworks")
    from agents import Agent, function_tool, set_trace_processors

    set_trace_processors([])

    @function_tool
    def forecast(city: str) -> str:
        return executed()

    tools = [forecast, *options.pop("tools", ())]
    agent = Agent(name="weather", instructions="Be brief.", model=options.pop("model", "m"), tools=tools, **options)
    replaying("openai_agents", agent)
    return agent


def test_the_agents_sdk_is_answered_whole_and_streamed() -> None:
    agent = openai_agent()
    from agents import Runner

    async def streamed() -> str:
        result = Runner.run_streamed(agent, "Rain in Lyon?")
        assert [event async for event in result.stream_events()]
        return str(result.final_output)

    with replay_run(RUN) as session:
        assert Runner.run_sync(agent, "Rain in Lyon?").final_output == "Yes."
    assert (session.answered, session.live) == (ANSWERED, [])
    with replay_run(RUN) as session:
        assert asyncio.run(streamed()) == "Yes."
    assert session.answered == ANSWERED


def test_a_model_that_the_agents_sdk_is_given_for_a_run_is_answered() -> None:
    agent = openai_agent(model="other")
    from agents import RunConfig, Runner

    with replay_run(RUN) as session:
        assert Runner.run_sync(agent, "Rain in Lyon?", run_config=RunConfig(model="m")).final_output == "Yes."
    assert session.answered == ANSWERED


# ── what is hosted ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hosted_tool_of_pydantic_ai_is_refused() -> None:
    need_package("pydantic-ai-slim", "frameworks")
    from pydantic_ai.capabilities import NativeTool
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai.native_tools import WebSearchTool
    from pydantic_ai.profiles import ModelProfile

    agent = pydantic_ai_agent(capabilities=[NativeTool(WebSearchTool())])
    profile = ModelProfile(supported_native_tools=frozenset({WebSearchTool}))
    model = FunctionModel(executed, model_name="m", profile=profile)
    with pytest.raises(ReplayDivergence, match="web_search"), replay_run(RUN):
        asyncio.run(agent.run("Rain in Lyon?", model=model))


def test_a_hosted_tool_of_langchain_is_refused() -> None:
    agent = langchain_agent(tools=[{"type": "web_search_preview"}])
    with pytest.raises(ReplayDivergence, match="web_search"), replay_run(RUN):
        agent.invoke(QUESTION)


def test_hosted_tools_and_servers_of_the_agents_sdk_are_refused() -> None:
    need_package("openai-agents", "frameworks")
    from agents import Runner, WebSearchTool
    from agents.mcp import MCPServerStdio

    with pytest.raises(ReplayDivergence, match="web_search"), replay_run(RUN):
        Runner.run_sync(openai_agent(tools=[WebSearchTool()]), "Rain in Lyon?")
    server = MCPServerStdio({"command": "false"}, name="wiki")
    with pytest.raises(ReplayDivergence, match="wiki"), replay_run(RUN):
        Runner.run_sync(openai_agent(mcp_servers=[server]), "Rain in Lyon?")
