"""Bound the size of requests, packed and unpacked, so that none takes more memory than that."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from otel_agent_trace.receiver.refusals import Reason, RefusedError

_GZIP = 16 + zlib.MAX_WBITS
_MOST_MEMBERS = 16
"""Most members of gzip in a body: what follows each of them is copied."""
_MIB = 1 << 20


class Limits(NamedTuple):
    """Hold what a receiver takes.

    Attributes:
        packed_bytes: the largest body of a request.
        unpacked_bytes: the largest body after decompression.
        ratio: how many times its size a body may have after decompression, above `small_bytes`.
        small_bytes: the size up to which a ratio does not matter.
        waiting_bytes: the size of all bodies together that are being received or wait to be written.
        body_timeout_s: the seconds within which a body has to arrive.
    """

    packed_bytes: int = 20 * _MIB
    unpacked_bytes: int = 64 * _MIB
    ratio: int = 200
    small_bytes: int = 8 * _MIB
    waiting_bytes: int = 128 * _MIB
    body_timeout_s: float = 30.0

    def unpacked_limit(self, packed: int) -> int:
        """Return how many bytes a body of `packed` bytes may have after decompression."""
        return min(self.unpacked_bytes, max(self.small_bytes, packed * self.ratio))


def gunzipped(data: bytes, limits: Limits) -> bytes:
    """Return decompressed bytes of one or several members of gzip.

    Raises:
        RefusedError: they are not gzip, incomplete, or more than the limits allow, of which no more is decompressed.
    """
    parts: list[bytes] = []
    left, rest = limits.unpacked_limit(len(data)), data
    while rest or not parts:
        if len(parts) == _MOST_MEMBERS:
            raise RefusedError(Reason.UNREADABLE, f"the body has more than {_MOST_MEMBERS} members of gzip")
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(rest, left + 1)
        except zlib.error as error:
            raise RefusedError(Reason.UNREADABLE, f"the body is not gzip: {error}") from error
        left -= len(part)
        if left < 0:
            raise RefusedError(Reason.TOO_LARGE, "the body is too large after decompression")
        if not member.eof:
            raise RefusedError(Reason.UNREADABLE, "the body is incomplete gzip")
        parts.append(part)
        rest = member.unused_data
    return b"".join(parts)
