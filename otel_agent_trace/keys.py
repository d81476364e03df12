"""Find the secret keys of this account, and hash texts with them: for pseudonyms of user ids, and whatever hides alike.

A key is rotated by putting a new one before it, in the variable (``new,old``) or as a first line of the key file: the
first key writes, and what was written with any of them is found.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.guard import warn
from otel_agent_trace.user_paths import user_file

KEY_VARIABLE = "OTEL_AGENT_TRACE_USER_KEY"
_KEY_BYTES = 32
_KEY_ID_DIGITS = 8


def default_key() -> bytes:
    """Return the key that writes: the first of the environment, else of the key file, which is made once.

    If it cannot be made, it is a key for this process, and a warning is logged.
    """
    for find in (_environment_keys, _file_keys, _process_keys):
        keys = find()
        if keys:
            return keys[0]
    return _new_key()


def make_none(is_asked: bool) -> None:
    """Make no key file from now on, or make one again where it is needed: a replay leaves nothing behind."""
    _MADE.is_forbidden = is_asked


class _Made:
    """Hold whether key files may be made."""

    is_forbidden = False


_MADE = _Made()


def known_keys() -> tuple[bytes, ...]:
    """Return all keys at hand, the one that writes first; none is made, so there may be none."""
    return tuple(dict.fromkeys((*_environment_keys(), *_file_keys(), *_process_keys())))


@functools.lru_cache(maxsize=8)
def key_id(key: bytes) -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of a key, by which it is recognised."""
    with NO_FORK:
        import hashlib  # noqa: PLC0415 - loads OpenSSL, of which a program without users has no need

        return hashlib.sha256(key).hexdigest()[:_KEY_ID_DIGITS]


def digest(key: bytes, text: str) -> str:
    """Return the HMAC-SHA256 of a text, which may have lone surrogates, in 64 hexadecimal digits."""
    return _hmac_digest()(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()


def key_bytes(key: str | bytes) -> bytes:
    """Return a key as bytes; a text is encoded as the environment holds it."""
    return key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")


def key_file() -> Path:
    """Return the path of this account's key file.

    Raises:
        RuntimeError: the account has no home folder.
    """
    return user_file("config", "user.key")


@functools.lru_cache(maxsize=1)
def _hmac_digest() -> Callable[[bytes, bytes, str], bytes]:
    with NO_FORK:
        import hmac  # noqa: PLC0415 - loads OpenSSL, as above

        hmac.digest(b"", b"", "sha256")  # OpenSSL loads the algorithm
    return hmac.digest


# ── where keys stand ─────────────────────────────────────────────────────────────────────────────────────────────────


def _environment_keys() -> tuple[bytes, ...]:
    given = os.environ.get(KEY_VARIABLE, "")
    return _listed(key_bytes(given), b",") if given.strip(", \t\r\n") else ()


@functools.lru_cache(maxsize=4)
def _listed(value: bytes, separator: bytes) -> tuple[bytes, ...]:
    """Return the keys of a list, and its whole value as the last one, since that was one key in versions before lists."""
    parts = value.split(separator) if separator in value else []
    return tuple(dict.fromkeys((*filter(None, map(bytes.strip, parts)), value)))


def _file_keys() -> tuple[bytes, ...]:
    try:
        return _read_keys(key_file())
    except (OSError, RuntimeError):
        return ()


def _read_keys(path: Path) -> tuple[bytes, ...]:
    status = path.stat()
    return _cached_keys(str(path), status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=4)
def _cached_keys(path: str, mtime_ns: int, inode: int) -> tuple[bytes, ...]:
    content = Path(path).read_bytes().strip()
    if not content:
        msg = f"{path} is empty"
        raise OSError(msg)
    return _listed(content, b"\n") if content.isascii() else (content,)  # random bytes may hold a line feed anywhere


def _process_keys() -> tuple[bytes, ...]:
    return (_process_key(),) if _process_key.cache_info().currsize else ()


@functools.lru_cache(maxsize=1)
def _process_key() -> bytes:
    with NO_FORK:
        import secrets  # noqa: PLC0415 - seldom needed

    warn(
        "could not store a key for user ids: pseudonyms of this process will not match those of others; set %s",
        KEY_VARIABLE,
    )
    return secrets.token_bytes(_KEY_BYTES)


def _new_key() -> bytes:
    if _MADE.is_forbidden:
        return _passing_key()
    try:
        path = key_file()
        _make_key_file(path)
        return _read_keys(path)[0]
    except (OSError, RuntimeError):
        return _process_key()


@functools.lru_cache(maxsize=1)
def _passing_key() -> bytes:
    """Return a key for the time in which none may be stored."""
    return os.urandom(_KEY_BYTES)


def _make_key_file(path: Path) -> None:
    """Write a new key, whole or not at all; of two processes that do so at once, both read the first one's."""
    with NO_FORK:
        import secrets  # noqa: PLC0415 - a key is made once
        import tempfile  # noqa: PLC0415 - for the same reason

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        _link_unless_exists(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _link_unless_exists(name: str, path: Path) -> None:
    try:
        os.link(name, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links, where the key of the last of two such processes remains
        if not path.exists():
            os.replace(name, path)
