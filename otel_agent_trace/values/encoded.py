"""Define the results of encoding, and the stand-in for values whose class is not registered."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.values.equality import same

Tag = str | dict[str, Any]
"""Type information that restores a value from its JSON; None if the JSON is the value."""


class Opaque(msgspec.Struct, frozen=True, eq=False, repr_omit_defaults=True):
    """Represent a value of a class that the reading program did not register.

    `type_name` is the module and qualified name of the class; `data` is what was recorded: the fields, the value or the
    `repr`. `state` is what a pydantic model needs in addition to build an instance: which fields were set, are extra or
    private; None for other classes. Two are equal if name and data are, by type and value.
    """

    type_name: str
    data: Any
    state: dict[str, Any] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opaque):
            return NotImplemented
        return self.type_name == other.type_name and same(self.data, other.data)

    def __hash__(self) -> int:
        return hash(self.type_name)


class Encoded(msgspec.Struct, frozen=True):
    """Hold data that JSON represents, the tag that restores its types, and the paths of what was truncated."""

    data: Any
    tag: Tag | None
    cuts: tuple[str, ...] = ()


class EncodedText(msgspec.Struct, frozen=True):
    """Hold a text, the tag that restores its value, and the paths of what was truncated."""

    text: str
    tag: Tag | None
    cuts: tuple[str, ...] = ()
