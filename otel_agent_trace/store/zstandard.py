"""Read and write Zstandard, with windows of at most 128 MiB, and raise an `OSError` for damaged data.

The library is imported when it is used.
"""

from __future__ import annotations

import sys
from typing import IO, Any

MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_BITS = 27


class ZstdFile:
    """Read the decompressed content of a file from its beginning.

    Args:
        raw: the compressed file.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        zstd = _library()
        self._error = zstd.ZstdError
        self._file = zstd.ZstdFile(raw, options=_options(zstd))

    def read1(self, size: int, /) -> bytes:
        """Return some of the next bytes, at most `size`; none at the end.

        Raises:
            OSError: the data is damaged.
        """
        try:
            data: bytes = self._file.read1(size)
        except self._error as error:
            raise OSError(str(error)) from error
        return data


def writer(file: Any) -> Any:
    """Return a file that compresses what is written to it into another one."""
    return _library().ZstdFile(file, "w")


def decompress(data: bytes, max_bytes: int) -> bytes:
    """Return the decompressed content of a single frame.

    Raises:
        OSError: the data is damaged, ends early, or has more than `max_bytes` after decompression.
    """
    zstd = _library()
    decompressor = zstd.ZstdDecompressor(options=_options(zstd))
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


def _library() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - needed for such files only
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd


def _options(zstd: Any) -> dict[Any, int]:
    return {zstd.DecompressionParameter.window_log_max: _WINDOW_BITS}
