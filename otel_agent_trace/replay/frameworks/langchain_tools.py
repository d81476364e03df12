"""Answer the methods by which LangChain's tools are executed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from otel_agent_trace.replay.frameworks.tool_results import Result, recorded_result
from otel_agent_trace.replay.replaying import active_session


def _result(tool: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Result | None:
    session = active_session()
    if session is None:
        return None
    named = dict(zip(tool.args, args, strict=False)) | {name: kwargs[name] for name in tool.args if name in kwargs}
    result = recorded_result(session, tool.name, named, tool.args)
    if result is None or tool.response_format != "content_and_artifact":
        return result
    return Result((result.value, None))


def _around_run(inner: Any) -> Any:
    @functools.wraps(inner)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = _result(self, args, kwargs)
        return inner(self, *args, **kwargs) if result is None else result.value

    return run


def _around_arun(inner: Any) -> Any:
    @functools.wraps(inner)
    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = _result(self, args, kwargs)
        return await inner(self, *args, **kwargs) if result is None else result.value

    return run


TOOL_METHODS = {"_run": _around_run, "_arun": _around_arun}
"""By the name of a method of `BaseTool`, what makes one that answers around it."""
