"""Zstandard, with bounded windows (128 MiB); what is damaged is an `OSError`. The library is imported when it is used."""

from __future__ import annotations

import sys
from typing import IO, Any

MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_BITS = 27


class ZstdFile:
    """A packed file, read from its beginning."""

    def __init__(self, raw: IO[bytes]) -> None:
        zstd = _library()
        self._error = zstd.ZstdError
        self._file = zstd.ZstdFile(raw, options=_options(zstd))

    def read1(self, size: int, /) -> bytes:
        """Some of what comes next, at most so many bytes."""
        try:
            data: bytes = self._file.read1(size)
        except self._error as error:
            raise OSError(str(error)) from error
        return data


def unpacked(data: bytes, max_bytes: int) -> bytes:
    """What is packed in these bytes.

    Raises:
        OSError: it is damaged, ends early, or is more than `max_bytes`.
    """
    zstd = _library()
    unpacker = zstd.ZstdDecompressor(options=_options(zstd))
    try:
        content: bytes = unpacker.decompress(data, max_length=max_bytes + 1)
    except zstd.ZstdError as error:
        raise OSError(str(error)) from error
    if len(content) > max_bytes:
        msg = f"it unpacks to more than {max_bytes >> 20} MiB"
        raise OSError(msg)
    if not unpacker.eof:
        msg = "it ends early"
        raise OSError(msg)
    return content


def _library() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only where such a file is read
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd


def _options(zstd: Any) -> dict[Any, int]:
    return {zstd.DecompressionParameter.window_log_max: _WINDOW_BITS}
