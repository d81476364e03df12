"""Build validation errors of pydantic, which are no ordinary exceptions: they hold no arguments and have no subclasses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from otel_agent_trace.model import RecordedException

_MODULE = "pydantic_core._pydantic_core"
_NAME = f"{_MODULE}.ValidationError"
_RAISED = {"value_error": ValueError, "assertion_error": AssertionError}
"""Types of errors that validators of a program raise, whose context holds the exception."""


def validation_error(recorded: RecordedException, rebuild: Callable[[Any], Any]) -> BaseException | None:
    """Return a validation error of pydantic; None for any other exception, or if pydantic is not loaded."""
    core: Any = sys.modules.get(_MODULE)
    if recorded.classes[0] != _NAME or core is None or not isinstance(recorded.attributes.get("errors"), list):
        return None
    known = {item["type"] for item in core.list_all_errors()}
    errors = [_details(item, core, known) for item in rebuild(recorded.attributes["errors"])]
    error: BaseException = core.ValidationError.from_exception_data(recorded.attributes.get("title"), errors)
    return error


def _details(item: Mapping[str, Any], core: Any, known: set[str]) -> dict[str, Any]:
    """Return the details of one error, which pydantic makes its text from; of a type of the program's own, with the text."""
    kind, context = item["type"], dict(item.get("ctx") or {})
    if kind in _RAISED:
        context["error"] = _RAISED[kind](context.get("error"))
    if kind not in known:
        kind, context = core.PydanticCustomError(kind, item["msg"], context or None), {}
    details = {"type": kind, "loc": tuple(item["loc"]), "input": item.get("input")}
    return {**details, "ctx": context} if context else details
