"""Provide the tools of the example agent, and make those that are given to it by name or as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from otel_agent_trace.demo.calculator import calculator
from otel_agent_trace.demo.library import TextLibrary
from otel_agent_trace.errors import ConfigurationError

Tool = Callable[..., Any]
Tools = Mapping[str, Tool]
GivenTools = Tools | Iterable[Tool | Mapping[str, Any] | str]
"""Functions by name, or a list of functions, descriptions and names; see `tools_by_name`."""

TEXTS = Path(__file__).parent / "texts"
"""Folder of texts that comes with the package."""


def make_tools(folder: str | Path = TEXTS) -> dict[str, Tool]:
    """Return the agent's tools over a folder of texts: `search`, `read` and `calculator`."""
    library = TextLibrary(folder)
    return {"search": library.search, "read": library.read, "calculator": calculator}


def tools_by_name(tools: GivenTools) -> Tools:
    """Return functions by name: a mapping as it is, a list with each item resolved.

    Args:
        tools: a mapping, or a list of

            - functions, which go by their own names,
            - descriptions as a model is sent them, ``{"name": "search", ...}`` or OpenAI's
              ``{"type": "function", "function": {"name": "search", ...}}``, and bare names: the function of `make_tools`,
            - descriptions that bring their function, ``{"name": "search", "function": search}``.

    Raises:
        ConfigurationError: a name that `make_tools` does not have, or an item that is none of these.
    """
    if isinstance(tools, Mapping):
        return tools
    own = make_tools()
    return dict(_named(tool, own) for tool in tools)


def _named(tool: object, own: Tools) -> tuple[str, Tool]:
    match tool:
        case {"name": str(name), "function": function} if callable(function):
            return name, function
        case {"function": {"name": str(name)}} | {"name": str(name)} | str(name):
            if name in own:
                return name, own[name]
            raise ConfigurationError(f"no tool {name!r}; there are: {', '.join(own)}")
        case _ if callable(tool):
            return getattr(tool, "__name__", type(tool).__name__), tool
    raise ConfigurationError(f"a tool is a function, a description with a name, or a name, not {tool!r:.80}")
