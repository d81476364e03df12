"""Replay the chat models and tools of LangChain, alone or wherever a compiled graph of LangGraph has them.

Their classes are replaced by subclasses that answer within a replay. Clients of OpenAI are answered themselves, so that
all that LangChain makes of their responses is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.tools import BaseTool

from otel_agent_trace.replay.frameworks import openai
from otel_agent_trace.replay.frameworks.langchain_models import MODEL_METHODS
from otel_agent_trace.replay.frameworks.langchain_tools import TOOL_METHODS
from otel_agent_trace.replay.frameworks.reachable import reachable

A = TypeVar("A")
_CLIENTS = ("root_client", "root_async_client")


def replaying(agent: A) -> A:
    """Return a model, a tool or a compiled graph, answered within a replay; it works as before outside of one.

    Of a graph, the models and tools are found that its nodes, their functions and middleware refer to.

    Raises:
        TypeError: `agent` has neither models nor tools.
    """
    found = [part for part in reachable(agent) if isinstance(part, BaseChatModel | BaseTool)]
    if not found:
        raise TypeError(f"{type(agent).__qualname__} has neither models nor tools of LangChain")
    for part in found:
        if isinstance(part, BaseTool):
            _replace_class(part, TOOL_METHODS)
        elif clients := [client for name in _CLIENTS if (client := getattr(part, name, None)) is not None]:
            for client in clients:
                openai.replaying(client)
        else:
            _replace_class(part, MODEL_METHODS)
    return agent


def _replace_class(part: Any, methods: Mapping[str, Any]) -> None:
    """Give an object a subclass of its class with methods around those that its class, not the framework, defines."""
    cls: Any = type(part)
    if "_is_replaying" in vars(cls):
        return
    base = BaseTool if isinstance(part, BaseTool) else BaseChatModel
    own = {name: around(getattr(cls, name)) for name, around in methods.items() if _defines(cls, base, name)}
    namespace = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    subclass = type(cls)(cls.__name__, (cls,), {**namespace, **own})
    type.__setattr__(subclass, "_is_replaying", True)
    object.__setattr__(part, "__class__", subclass)


def _defines(cls: type, base: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(base, name)
