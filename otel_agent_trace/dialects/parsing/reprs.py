"""Read objects of Python from their `repr`, which instrumentations write where a value is not JSON."""

from __future__ import annotations

import ast
import re
from typing import Any

from otel_agent_trace.dialects.parsing.texts import LONGEST_LITERAL

_REPR_OF_ENUM = re.compile(r"<\w+\.\w+: ('[^'\\]*'|-?\d+)>")


def object_in_repr(text: str) -> dict[str, Any] | None:
    """Return the fields of an object in its `repr`, those of the objects in it as well; None where it is no such text.

    Members of enums, as in ``Message(role=<Role.USER: 'user'>)``, are their values.
    """
    expression = expression_in(text)
    try:
        return _fields_of(expression) if isinstance(expression, ast.Call) else None
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def expression_in(text: str) -> ast.expr | None:
    """Return the expression of Python that a text is, with the values of members of enums; None for any other text."""
    if len(text) > LONGEST_LITERAL:
        return None
    try:
        return ast.parse(_REPR_OF_ENUM.sub(r"\1", text.strip()), mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def literal_of(expression: ast.expr) -> Any:
    """Return the value of a literal; of any other expression its text."""
    try:
        return ast.literal_eval(expression)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.unparse(expression)


def _fields_of(call: ast.Call) -> dict[str, Any]:
    return {keyword.arg: _value_of_node(keyword.value) for keyword in call.keywords if keyword.arg is not None}


def _value_of_node(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _fields_of(node)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value_of_node(item) for item in node.elts]
    return ast.literal_eval(node)
