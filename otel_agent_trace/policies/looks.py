"""Looks at spans of the SDK, for `violates`: once a span, in the host's time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def attributes_of(span: Any) -> Mapping[str, Any]:
    """Return the attributes of a span without copying them.

    What the SDK's property gives is a proxy of a mapping that is written in Python: a look at one key is twenty times as
    slow there as in the dictionary behind it.
    """
    held: Mapping[str, Any] | None = getattr(getattr(span, "_attributes", None), "_dict", None)
    return (span.attributes or {}) if held is None else held
