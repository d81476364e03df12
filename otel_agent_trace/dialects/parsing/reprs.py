"""Read objects of Python from their `repr`, which instrumentations write where a value is not JSON."""

from __future__ import annotations

import ast
import re
from typing import Any

_LONGEST_REPR = 100_000
_REPR_OF_ENUM = re.compile(r"<\w+\.\w+: ('[^'\\]*'|-?\d+)>")


def object_in_repr(text: str) -> dict[str, Any] | None:
    """Return the fields of an object in its `repr`, those of the objects in it as well; None where it is no such text.

    Members of enums, as in ``Message(role=<Role.USER: 'user'>)``, are their values.
    """
    if len(text) > _LONGEST_REPR:
        return None
    try:
        tree = ast.parse(_REPR_OF_ENUM.sub(r"\1", text.strip()), mode="eval").body
        fields = _value_of_node(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return fields if isinstance(tree, ast.Call) and isinstance(fields, dict) else None


def _value_of_node(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return {keyword.arg: _value_of_node(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value_of_node(item) for item in node.elts]
    return ast.literal_eval(node)
