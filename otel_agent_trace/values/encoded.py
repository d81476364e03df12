"""Encoded values, and values whose class is unknown to the program that reads them."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.values.equality import same

Tag = str | dict[str, Any]
"""How to get the value back from its JSON; absent where the JSON is the value."""


class Opaque(msgspec.Struct, frozen=True, eq=False):
    """Stands for a value of a class that the reading program did not register.

    `type_name` is its module and qualified name; `data` what was recorded of it: its fields, its value, or its `repr`.
    """

    type_name: str
    data: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opaque):
            return NotImplemented
        return self.type_name == other.type_name and same(self.data, other.data)

    def __hash__(self) -> int:
        return hash(self.type_name)


class Encoded(msgspec.Struct, frozen=True):
    """JSON-able data, the tag that restores it, and the paths of what was cut."""

    data: Any
    tag: Tag | None
    cuts: tuple[str, ...] = ()


class EncodedText(msgspec.Struct, frozen=True):
    """JSON text, the tag that restores it, and the paths of what was cut."""

    text: str
    tag: Tag | None
    cuts: tuple[str, ...] = ()
