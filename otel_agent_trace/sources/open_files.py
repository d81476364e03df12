"""Open local files to read their content, and know them again under other names."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

from otel_agent_trace.sources.container_logs import program_output
from otel_agent_trace.sources.file_contents import (
    BLOCK_BYTES,
    OnDamage,
    decompressed_blocks,
    ignore_damage,
    open_regular,
)
from otel_agent_trace.sources.text_encoding import as_utf8
from otel_agent_trace.store import names
from otel_agent_trace.store.journal_lines import MAX_JOURNAL_BYTES
from otel_agent_trace.store.liveness import is_owner_alive
from otel_agent_trace.store.sampled_journals import sampled
from otel_agent_trace.store.sharing import is_lock_free

Identity = tuple[int, int]


def identity_of(file: str | int) -> Identity | None:
    """Return device and inode of a path or descriptor, which a renamed file keeps; None if there is no such file."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None  # opening the file will raise the error
    return status.st_dev, status.st_ino


class OpenFile:
    """Open a regular file; as a context manager, provide it and its decompressed content in blocks.

    Args:
        file: its path, or the open file itself, which stays open.
        on_damage: called with each damage after which the content goes on.
    """

    def __init__(self, file: str | io.RawIOBase, on_damage: OnDamage = ignore_damage) -> None:
        self._stays_open = not isinstance(file, str)
        self._raw: io.BufferedReader[Any] = (
            open_regular(file) if isinstance(file, str) else io.BufferedReader(file, BLOCK_BYTES)
        )
        self._raw.seek(0)
        self._on_damage = on_damage

    def hold_journal(self, store: names.StoreFiles) -> bool | None:
        """Hold the content of a journal, which may be emptied at any moment; return whether its process is alive.

        What sampling drops is left out.
        """
        is_alive = is_owner_alive(self._raw.fileno(), lock_is_free=is_lock_free(self._raw.fileno()))
        content = sampled(store, self._raw.read(MAX_JOURNAL_BYTES), is_alive=is_alive is not False).content
        self._raw.close()
        self._raw = io.BufferedReader(HeldBytes(content), BLOCK_BYTES)
        return is_alive

    def keep_open(self) -> io.RawIOBase:
        """Keep the file open after the block, without a buffer, and return it."""
        self._stays_open = True
        file: io.RawIOBase = self._raw.raw
        return file

    def identity(self) -> Identity | None:
        """Return by what the file is known under any name."""
        return identity_of(self._raw.fileno())

    def close(self) -> None:
        """Close the file, unless it stays open."""
        if self._stays_open:
            self._raw.detach()
        else:
            self._raw.close()

    def __enter__(self) -> tuple[io.BufferedReader, Iterator[bytes]]:
        return self._raw, program_output(as_utf8(decompressed_blocks(self._raw, self._on_damage)))

    def __exit__(self, *_: object) -> None:
        self.close()


class HeldBytes(io.RawIOBase):
    """Provide bytes as a file without a buffer."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def again(self) -> HeldBytes:
        """Return this for another reader."""
        return HeldBytes(self._content.getvalue())

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, and return the number of bytes."""
        return self._content.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, and return it."""
        return self._content.seek(offset, whence)
