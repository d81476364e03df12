"""What an export has delivered so far, on disk, so that one that was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.otlp import Settings
from otel_agent_trace.store.lines import LineFile
from otel_agent_trace.user_paths import user_file

_DIGEST = re.compile(rb"[0-9a-f]{16}")


def state_path(source: str, settings: Settings, selected: Mapping[str, Any]) -> str:
    """Return the file for an export of that source to that endpoint with those filters.

    Raises:
        ConfigurationError: this account has no home, and no folder is named for it.
    """
    told = [
        source if "://" in source else os.path.abspath(source),
        settings.protocol,
        settings.url,
        sorted(settings.headers.items()),  # they may name a tenant
        sorted((name, str(value)) for name, value in selected.items() if value is not None),
    ]
    name = hashlib.blake2b(msgspec.json.encode(told), digest_size=16).hexdigest()
    try:
        return str(user_file("state", "export", name))
    except RuntimeError as error:
        raise ConfigurationError(
            f"no place to note what was delivered: {error}; set XDG_STATE_HOME to a folder"
        ) from error


class ExportState:
    """The traces that were delivered, each by a hash of its id and content: one line each, appended, mode 0600.

    Where it cannot be read or written, the export works without; `problem` says why.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        self._file = LineFile(path)

    def delivered(self) -> frozenset[int]:
        """The hashes of what was delivered before."""
        try:
            with open(self.path, "rb", opener=_open_regular) as file:
                return frozenset(int(line, 16) for line in map(bytes.strip, file) if _DIGEST.fullmatch(line))
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            self._give_up(error)
            return frozenset()

    def add(self, digests: Iterable[int]) -> None:
        """Note what has been delivered."""
        lines = b"".join(b"%016x\n" % digest for digest in digests)
        if lines and self.problem is None:
            try:
                self._file.append(lines)
            except OSError as error:
                self._give_up(error)

    def remove(self) -> None:
        """Forget everything: all has been delivered, or is to be delivered again."""
        self._file.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file and leave it."""
        self._file.close()

    def _give_up(self, error: OSError) -> None:
        self.problem = self.problem or f"{self.path}: {error.strerror or error}"


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file", path)
    return descriptor
