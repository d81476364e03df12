"""Temporary."""

import copy
from typing import Any


class NotRebuiltError(ValueError):
    path = ""
    what = ""


def rebuilt(value: Any, classes: Any) -> Any:
    return copy.deepcopy(value)


def classes_in(annotation: Any, globals: Any) -> dict[str, type]:
    return {}
