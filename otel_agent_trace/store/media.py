"""Keep binary content once, in a private folder beside a store, each in a file that is named by its SHA-256.

A file is written under a hidden name and renamed, and its time is set again whenever a span names it. Whoever writes a
span that names one holds a shared lock on the folder from then on until the span is written. Before anybody removes what
no span names, he holds that lock alone for a moment: later on, only files with an earlier time can be without a span.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import CAN_LOCK, mark_in_use, take

MOST_BYTES = 64 << 20
"""Most bytes that are read of one file."""
DEFAULT_MIME_TYPE = "application/octet-stream"
_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "video/mp4": "mp4",
    "video/webm": "webm",
    DEFAULT_MIME_TYPE: "bin",
}
"""Extension by type: of types that nothing executes when such a file is opened; all others have that of the last."""
_SYNONYMS = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
}
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
_NAME = re.compile(rf"[0-9a-f]{{64}}\.(?:{'|'.join(_EXTENSIONS.values())})")
_IN_BYTES = re.compile(_NAME.pattern.encode())
_NAME_BYTES = 80
_HIDDEN = re.compile(rf"\.(?P<name>{_NAME.pattern})\.[0-9a-f]{{8}}\.(?P<what>writing|removing)")
_LEAST_WAIT_S, _MOST_WAIT_S, _POLL_S = 0.2, 5.0, 0.002
_LEAST_AGE_S = 3600.0
"""Age from which a file may be removed, or is left over, where there are no locks."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINKS |= getattr(os, "O_CLOEXEC", 0)


class DamagedMediaError(Exception):
    """Report that a file of a media folder does not have the content with its digest."""


def mime_type_of(content: bytes) -> str | None:
    """Return the type of content by its beginning; None if it is not known."""
    if content[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return "audio/mp4" if content[8:11] == b"M4A" else "video/mp4"
    return next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), None)


def name_of(content: bytes, mime_type: str | None) -> str:
    """Return the name of the file with some content: its digest, with the extension of its type, or of its beginning."""
    kind = (mime_type or "").lower()
    extension = _EXTENSIONS.get(_SYNONYMS.get(kind, kind)) or _EXTENSIONS[mime_type_of(content) or DEFAULT_MIME_TYPE]
    return f"{hashlib.sha256(content).hexdigest()}.{extension}"


def is_media_name(name: object) -> bool:
    """Return whether this is exactly a name that a file in a media folder has: a digest, and a known extension."""
    return type(name) is str and _NAME.fullmatch(name) is not None


class MediaFolder:
    """Write and read the files of one media folder.

    Args:
        files: the names of the store.
        is_durable: whether a file is on disk before any span names it.
    """

    def __init__(self, files: StoreFiles, *, is_durable: bool = False) -> None:
        self.path = files.media_folder
        self._uri = quote(os.path.basename(self.path))
        self._is_durable = is_durable
        self._turn = ForkSafeLock()
        self.held: dict[int, int] = {}
        """Descriptors of the folder with a shared lock, by the thread that has put something into it and not called `release`."""
        renewed_in_children(self)

    def renew(self) -> None:
        """Close what other threads of the parent hold, in a forked child: they end there."""
        held, self.held = self.held, {}
        for descriptor in held.values():
            os.close(descriptor)

    def uri(self, name: str) -> str:
        """Return the reference to a file, relative to the folder of the store, as spans have it."""
        return f"{self._uri}/{name}"

    def put(self, content: bytes, mime_type: str | None = None) -> str:
        """Return the name of the file with this content, which is written unless it is there; call `release` later.

        Args:
            content: the content.
            mime_type: its type, if it is known.

        Raises:
            OSError: it cannot be written.
        """
        self._hold()
        name = name_of(content, mime_type)
        digest = name.partition(".")[0]
        with self._turn:
            for known in dict.fromkeys((name, *(f"{digest}.{extension}" for extension in _EXTENSIONS.values()))):
                if self._is_there(known, len(content)):
                    return known
            self._write(name, content)
        return name

    def get(self, name: str) -> bytes | None:
        """Return the content of a file; None if it is not there.

        Raises:
            DamagedMediaError: it has another content, or is no regular file that could be read.
        """
        if not is_media_name(name):
            return None
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | _NO_LINKS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DamagedMediaError(error.strerror) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
                raise DamagedMediaError("no regular file, or too large")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MOST_BYTES)
        except OSError as error:
            raise DamagedMediaError(error.strerror) from error
        finally:
            os.close(descriptor)
        if hashlib.sha256(content).hexdigest() != name[:64]:
            raise DamagedMediaError("not the content with its digest")
        return content

    def release(self) -> None:
        """Release the lock of this thread: the spans are written that name what it has put into the folder."""
        descriptor = self.held.pop(threading.get_ident(), None)
        if descriptor is not None:
            os.close(descriptor)

    def names(self) -> list[str]:
        """Return the names of the files, in alphabetical order; none of a folder that a symbolic link leads to."""
        if os.path.islink(self.path):
            return []
        try:
            return sorted(filter(is_media_name, os.listdir(self.path)))
        except OSError:
            return []

    def _path(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _is_there(self, name: str, size: int) -> bool:
        """Return whether there is a whole file, after setting its time; one of another size was cut by a crash."""
        path = self._path(name)
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _write(self, name: str, content: bytes) -> None:
        hidden = self._path(f".{name}.{secrets.token_hex(4)}.writing")
        try:
            descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
                if self._is_durable:
                    file.flush()
                    os.fsync(descriptor)
            os.replace(hidden, self._path(name))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise

    def _hold(self) -> None:
        """Make the folder, and hold a shared lock on it, if there are locks.

        Raises:
            OSError: it is no folder, or cannot be opened.
        """
        os.makedirs(self.path, 0o700, exist_ok=True)
        if stat.S_ISLNK(os.lstat(self.path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "a symbolic link", self.path)
        if CAN_LOCK and threading.get_ident() not in self.held:
            descriptor = os.open(self.path, os.O_RDONLY | _NO_LINKS)
            if _acquired(mark_in_use, descriptor, _LEAST_WAIT_S) is False:
                os.close(descriptor)
                raise BlockingIOError(errno.EWOULDBLOCK, "locked by another process", self.path)
            self.held[threading.get_ident()] = descriptor

    # ── removing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def remove_except(self, named: Callable[[], Iterable[str]], *, apply: bool) -> list[str]:
        """Remove the files that nobody names, and return their names.

        Args:
            named: returns the names in all spans of the store; is called after it is known which files are old enough.
            apply: whether to remove them.
        """
        before_ns = self._moment_without_writers()
        if apply:
            self._tidy()
        old = {name for name in self.names() if self._time_ns(name) < before_ns}
        unnamed = sorted(old.difference(named())) if old else []
        return [name for name in unnamed if self._removed(name, before_ns)] if apply else unnamed

    def _moment_without_writers(self) -> int:
        """Return a time, by the clock of the file system: all spans are written that name files with an earlier time only."""
        cautious_ns = time.time_ns() - int(_LEAST_AGE_S * 1e9)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | _NO_LINKS)
        except OSError:
            return cautious_ns
        try:
            return self._touched_ns() if _acquired(take, descriptor, _MOST_WAIT_S) else cautious_ns
        except OSError:
            return cautious_ns
        finally:
            os.close(descriptor)

    def _touched_ns(self) -> int:
        hidden = self._path(f".{'0' * 64}.bin.{secrets.token_hex(4)}.writing")
        os.close(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o600))
        try:
            return os.lstat(hidden).st_mtime_ns
        finally:
            os.unlink(hidden)

    def _time_ns(self, name: str) -> int:
        try:
            return os.lstat(self._path(name)).st_mtime_ns
        except OSError:
            return 1 << 62

    def _removed(self, name: str, before_ns: int) -> bool:
        """Remove a file, unless a writer has set its time meanwhile: he finds either the file, or that it is gone."""
        hidden = f".{name}.{secrets.token_hex(4)}.removing"
        if self._time_ns(name) >= before_ns:
            return False
        try:
            os.rename(self._path(name), self._path(hidden))
            if self._time_ns(hidden) < before_ns:
                os.unlink(self._path(hidden))
                return True
            os.replace(self._path(hidden), self._path(name))
        except OSError:  # others remove it too
            pass
        return False

    def _tidy(self) -> None:
        """Restore what a killed process was removing, and remove what one had not written whole."""
        with contextlib.suppress(OSError):  # there is no such folder
            for left in os.listdir(self.path):
                match = _HIDDEN.fullmatch(left)
                if match and match["what"] == "removing":
                    os.replace(self._path(left), self._path(match["name"]))
                elif match and time.time_ns() - self._time_ns(left) > _LEAST_AGE_S * 1e9:
                    os.unlink(self._path(left))


def _acquired(acquire: Callable[[int], bool | None], descriptor: int, wait_s: float) -> bool | None:
    """Return whether a lock was acquired within some seconds; None where there are none."""
    until_s = time.monotonic() + wait_s
    while (is_held := acquire(descriptor)) is False and time.monotonic() <= until_s:
        time.sleep(_POLL_S)
    return is_held


def names_in(blocks: Iterable[bytes]) -> Iterator[str]:
    """Yield each name of a file of a media folder in the bytes of spans."""
    end = b""
    for block in blocks:
        text = end + block
        yield from (found.decode() for found in _IN_BYTES.findall(text))
        end = text[-_NAME_BYTES:]


def damaged_media(files: StoreFiles) -> Iterator[tuple[str, str]]:
    """Yield path and reason for each file of a store's media folder that does not have the content with its digest."""
    folder = MediaFolder(files)
    for name in folder.names():
        try:
            folder.get(name)
        except DamagedMediaError as error:
            yield os.path.join(folder.path, name), str(error)
