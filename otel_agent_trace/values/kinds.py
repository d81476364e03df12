"""Limits, what is left of values that they cut or whose class is unknown, and what encoding gives."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.values.equality import same

Tag = str | dict[str, Any]
"""How to get the value back from its JSON; absent where the JSON is the value."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What of one recorded value is kept at most.

    `value_bytes` counts the UTF-8 bytes of its texts (at least 1) and 8 for every other scalar and container, and the
    paths of what was cut; `depth` its nesting;
    `error_bytes` bounds an error's message and its stack trace, each. What exceeds them is a `Truncated`.
    """

    value_bytes: int = 1_048_576
    depth: int = 32
    error_bytes: int = 16_384


NO_LIMITS = Limits(value_bytes=2**62, depth=150, error_bytes=2**62)
"""For values that were bounded when they were recorded."""


class Truncated(msgspec.Struct, frozen=True, eq=False):
    """What is left of a value that a limit cut.

    `kept` is the part that fits, of the type of the whole (None where nothing could be kept), `size` the length of the
    whole (None where it has none), `reason` one of "bytes", "depth", "cycle".
    """

    kept: Any
    size: int | None
    reason: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Truncated):
            return NotImplemented
        return (self.size, self.reason) == (other.size, other.reason) and same(self.kept, other.kept)

    def __hash__(self) -> int:
        return hash((self.size, self.reason))


class Opaque(msgspec.Struct, frozen=True, eq=False):
    """A value of a class that the reading program did not register.

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
