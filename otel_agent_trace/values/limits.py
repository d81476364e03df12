"""Define the limits of recorded values, and what stands for a value that exceeds them."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.values.equality import same

_MEDIA_FACTOR = 16


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bound what is kept of one recorded value.

    Args:
        value_bytes: the size of a value: the UTF-8 bytes of each text (1 for an empty one), 8 bytes for every other
            scalar and every container, and the paths of what was truncated.
        depth: the levels of nested containers.
        error_bytes: the UTF-8 bytes of an error's message, and of its stack trace, each.
        media_bytes: the size of binary content of 32 KiB or more, which does not count in `value_bytes`: bytes, and texts
            that are nothing but base64 or a data URI, such as a screenshot; by default 16 times `value_bytes`. All of one
            value may have four times as much. What is larger counts in `value_bytes`.

    What exceeds a limit is recorded, and read, as a `Truncated`.
    """

    value_bytes: int = 1_048_576
    depth: int = 32
    error_bytes: int = 16_384
    media_bytes: int | None = None

    @property
    def most_media_bytes(self) -> int:
        """Return the size that one binary content may have."""
        return _MEDIA_FACTOR * self.value_bytes if self.media_bytes is None else self.media_bytes


MEDIA_OF_A_VALUE = 4
"""Limit of all binary content of one value, in multiples of that of one."""
NO_LIMITS = Limits(value_bytes=2**62, depth=150, error_bytes=2**62)
"""Limits for values that were already limited when they were recorded."""


class Truncated(msgspec.Struct, frozen=True, eq=False):
    """Represent a value of which a limit kept only a part, or nothing.

    `kept` is the part within the limits, of the type of the whole, or None if nothing was kept; `size` is the length
    of the whole, or None if it has none; `reason` is ``"bytes"``, ``"depth"`` or ``"cycle"``.
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
