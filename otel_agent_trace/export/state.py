"""Keep on disk what an export has delivered, so that an interrupted one can be resumed."""

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
    """Return the path of the state of an export, which depends on its source, endpoint and filters.

    Args:
        source: the path or address of the source.
        settings: the endpoint; its headers count too, since they may name a tenant.
        selected: the filters, by field of `RunQuery`.

    Raises:
        ConfigurationError: this account has no home folder, and XDG_STATE_HOME is not set.
    """
    identity = [
        source if "://" in source else os.path.abspath(source),
        settings.protocol,
        settings.url,
        sorted(settings.headers.items()),
        sorted((name, str(value)) for name, value in selected.items() if value is not None),
    ]
    name = hashlib.blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()
    try:
        return str(user_file("state", "export", name))
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot keep the state of the export: {error}; set XDG_STATE_HOME to a folder"
        ) from error


class ExportState:
    """Keep a file of the traces that were delivered: a line with a digest of id and content for each, mode 0600.

    An export goes on without its state where the file cannot be read or written; `problem` is then the reason.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        self._file = LineFile(path)

    def delivered(self) -> frozenset[int]:
        """Return the digests of the traces that were delivered before."""
        try:
            with open(self.path, "rb", opener=_open_regular) as file:
                return frozenset(int(line, 16) for line in map(bytes.strip, file) if _DIGEST.fullmatch(line))
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            self._give_up(error)
            return frozenset()

    def add(self, digests: Iterable[int]) -> None:
        """Append the digests of traces that have been delivered."""
        lines = b"".join(b"%016x\n" % digest for digest in digests)
        if lines and self.problem is None:
            try:
                self._file.append(lines)
            except OSError as error:
                self._give_up(error)

    def remove(self) -> None:
        """Remove the file, since all has been delivered or is to be delivered again."""
        self._file.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file, and leave it where it is."""
        self._file.close()

    def _give_up(self, error: OSError) -> None:
        self.problem = self.problem or f"{self.path}: {error.strerror or error}"


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file only: no link, and no pipe, which would wait for a writer."""
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file", path)
    return descriptor
