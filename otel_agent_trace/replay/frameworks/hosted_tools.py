"""Refuse what a replay can neither answer nor execute: tools that a provider hosts, and servers of MCP."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from otel_agent_trace.model import StepKind
from otel_agent_trace.replay.session import ReplaySession

_WHY = "is executed by the provider of the model or by a server of MCP, outside of what a replay answers"
_VERSION = re.compile(r"(_preview)?((_\d{8})|(_\d{4}_\d\d_\d\d))?$")
_OF_THE_PROGRAM = frozenset(
    (
        *("function", "custom", "namespace"),
        *("local_shell", "shell", "apply_patch", "computer", "computer_use"),  # of OpenAI
        *("bash", "text_editor", "memory"),  # of Anthropic, as is `computer`
    )
)
_MCP = ("mcp", "mcp_toolset")


def refuse_hosted(session: ReplaySession, names: Iterable[str]) -> None:
    """Refuse the first hosted tool or server of MCP that a model is offered; do nothing if there is none.

    Raises:
        ReplayDivergence: There is one.
    """
    for name in names:
        session.refuse_step(StepKind.TOOL, name, _WHY)


def hosted_names(tools: Iterable[Any]) -> Iterator[str]:
    """Yield the names of hosted tools among those that a request offers, ``web_search`` for each of its versions."""
    for tool in tools:
        name = _hosted_name(tool) if isinstance(tool, Mapping) else None
        if name is not None:
            yield name


def _hosted_name(tool: Mapping[Any, Any]) -> str | None:
    kind = tool.get("type")
    if kind is None:  # Anthropic's own tools have a name, Gemini's hosted ones nothing but a key: `google_search`
        return None if "name" in tool or "function_declarations" in tool else str(next(iter(tool), "")) or None
    name = _VERSION.sub("", str(kind))
    if name in _MCP:
        return str(tool.get("server_label") or tool.get("mcp_server_name") or name)
    return None if name in _OF_THE_PROGRAM else name
