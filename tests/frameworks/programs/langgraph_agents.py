"""Agents of LangGraph, as LangChain makes them: python langgraph_agents.py INSTRUMENTATION FILE QUESTION..."""

import functools
import importlib
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from opentelemetry import trace
from travel import INSTRUMENTATION, PROVIDER, TRACER, ask_all, forecast_of

instrumentation = importlib.import_module(INSTRUMENTATION)
instrumentors = {name.lower(): name for name in dir(instrumentation)}
getattr(instrumentation, instrumentors["langchaininstrumentor"])().instrument(tracer_provider=PROVIDER)
model = ChatOpenAI(model="scripted-1", max_retries=0)
current_span = getattr(instrumentation, "get_current_span", trace.get_current_span)


def within_its_span(function: Any) -> Any:
    """OpenInference's span of a tool is not OpenTelemetry's current one until somebody makes it so."""

    @functools.wraps(function)
    def wrapper(**arguments: Any) -> Any:
        with trace.use_span(current_span()):
            return function(**arguments)

    return wrapper


@tool
@within_its_span
@TRACER.tool
def forecast(city: str) -> dict[str, str]:
    """What the weather will be."""
    return forecast_of(city)


@tool
@within_its_span
@TRACER.tool
def ask_meteorologist(question: str) -> str:
    """Ask somebody who knows the weather."""
    return answer_of(meteorologist, question)


meteorologist = create_agent(model, [forecast], name="meteorologist")
planner = create_agent(model, [ask_meteorologist], name="planner")


def answer_of(agent: Any, question: str) -> str:
    config = {"configurable": {"thread_id": "holiday"}}
    return str(agent.invoke({"messages": [{"role": "user", "content": question}]}, config)["messages"][-1].content)


def ask(question: str) -> str:
    return answer_of(planner if question.startswith("Plan") else meteorologist, question)


ask_all(ask)
