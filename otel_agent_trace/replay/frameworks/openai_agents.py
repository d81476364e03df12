"""Replay the models and tools of an agent of the OpenAI Agents SDK, and of those that it hands over to.

The class of an agent is replaced by a subclass whose models and tools are, within a replay, others.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from agents import Agent, FunctionTool, Handoff, handoff

from otel_agent_trace.dialects.parsing.texts import value_in
from otel_agent_trace.model import StepKind
from otel_agent_trace.replay.frameworks.hosted_tools import refuse_hosted
from otel_agent_trace.replay.frameworks.openai_agents_models import answer_models_of_runs, answered_model
from otel_agent_trace.replay.frameworks.tool_results import recorded_result
from otel_agent_trace.replay.replaying import active_session

A = TypeVar("A")


def replaying(agent: A) -> A:
    """Return an agent of the SDK, answered within a replay as are those it hands over to; it works as before outside.

    Raises:
        TypeError: `agent` is no agent of the SDK.
    """
    if not isinstance(agent, Agent):
        raise TypeError(f"{type(agent).__qualname__} is no agent of the OpenAI Agents SDK")
    answer_models_of_runs()
    if not isinstance(vars(type(agent)).get("model"), _Stored):
        agent.__class__ = _subclass_of(type(agent))
    return agent


def _subclass_of(cls: Any) -> type:
    namespace = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "model": _Stored("model", answered_model),
        "tools": _Stored("tools", _answered_tools),
        "handoffs": _Stored("handoffs", _answered_handoffs),
        "get_mcp_tools": _refusing_mcp(cls.get_mcp_tools),
    }
    return type(cls.__name__, (cls,), namespace)


def _answered_handoffs(targets: list[Any]) -> list[Handoff[Any, Any]]:
    return [_answered_handoff(target if isinstance(target, Handoff) else handoff(target)) for target in targets]


def _answered_handoff(target: Handoff[Any, Any]) -> Handoff[Any, Any]:
    """Return a handoff to an agent that is answered too; its step is counted as asked for."""
    invoke = target.on_invoke_handoff

    async def invoke_handoff(context: Any, arguments: str) -> Any:
        session = active_session()
        if session is not None:
            session.note_executed(StepKind.TOOL, f"handoff to {target.agent_name}")
        return replaying(await invoke(context, arguments))

    return dataclasses.replace(target, on_invoke_handoff=invoke_handoff)


class _Stored:
    """Give the value of a field as a function makes it from the stored one, within a replay."""

    def __init__(self, name: str, made: Callable[[Any], Any]) -> None:
        self._name = name
        self._made = made

    def __get__(self, agent: Any, owner: type | None = None) -> Any:
        if agent is None:
            return self
        stored = vars(agent)[self._name]
        return stored if active_session() is None else self._made(stored)

    def __set__(self, agent: Any, value: Any) -> None:
        vars(agent)[self._name] = value


def _answered_tools(tools: list[Any]) -> list[Any]:
    return [_answered_tool(tool) if isinstance(tool, FunctionTool) else tool for tool in tools]


def _refusing_mcp(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    async def get_mcp_tools(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = active_session()
        if session is not None:
            refuse_hosted(session, [server.name for server in self.mcp_servers])
        return await inner(self, *args, **kwargs)

    return get_mcp_tools


def _answered_tool(tool: FunctionTool) -> FunctionTool:
    """Return a tool whose function is answered; what the SDK makes of its exceptions stays."""
    invoke = tool.on_invoke_tool
    inner = getattr(invoke, "_invoke_tool_impl", invoke)

    async def answer(context: Any, arguments: str) -> Any:
        session = active_session()
        given = value_in(arguments) if arguments else {}
        result = None if session is None else recorded_result(session, tool.name, given)
        return await inner(context, arguments) if result is None else result.value

    if inner is invoke:
        return dataclasses.replace(tool, on_invoke_tool=answer)
    handling = copy.copy(invoke)
    handling._invoke_tool_impl = answer
    return dataclasses.replace(tool, on_invoke_tool=handling)
