"""Decompress Zstandard, with windows of at most 128 MiB, and raise an `OSError` for damaged data."""

from __future__ import annotations

import sys
from typing import Any

MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_BITS = 27


def library() -> Any:
    """Return the module of Zstandard, which is imported when it is used."""
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - needed for such files only
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd


def options(zstd: Any) -> dict[Any, int]:
    """Return the options of decompression: windows of at most 128 MiB."""
    return {zstd.DecompressionParameter.window_log_max: _WINDOW_BITS}


def decompress(data: bytes, max_bytes: int) -> bytes:
    """Return the decompressed content of a single frame.

    Raises:
        OSError: the data is damaged, ends early, or has more than `max_bytes` after decompression.
    """
    zstd = library()
    decompressor = zstd.ZstdDecompressor(options=options(zstd))
    try:
        content: bytes = decompressor.decompress(data, max_length=max_bytes + 1)
    except zstd.ZstdError as error:
        raise OSError(str(error)) from error
    if len(content) > max_bytes:
        msg = f"it has more than {max_bytes >> 20} MiB after decompression"
        raise OSError(msg)
    if not decompressor.eof:
        msg = "it ends early"
        raise OSError(msg)
    return content
