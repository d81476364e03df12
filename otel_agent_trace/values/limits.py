"""Limits of recorded values, and what they leave of a value."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.values.equality import same


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bound what is kept of one recorded value.

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
    """Stands for a value that a limit cut.

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
