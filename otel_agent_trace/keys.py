"""Hold the secret key of this account, under which user ids are pseudonymized and what is masked is marked.

Equal values have equal digests under one key, and only the holder of the key can find out what they were.
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


def as_key(key: str | bytes) -> bytes:
    """Return a key as bytes."""
    return key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")


@functools.lru_cache(maxsize=8)
def key_id(secret: bytes) -> str:
    """Return the first 8 hex digits of a key's own SHA-256, which do not betray it."""
    with NO_FORK:
        import hashlib  # noqa: PLC0415 - loads OpenSSL, of which a program without users has no need

        return hashlib.sha256(secret).hexdigest()[:8]


def keyed_digest(secret: bytes, text: str) -> bytes:
    """Return the HMAC-SHA256 of a text under a key."""
    return _hmac_digest()(secret, text.encode("utf-8", "surrogatepass"), "sha256")


@functools.lru_cache(maxsize=1)
def _hmac_digest() -> Callable[[bytes, bytes, str], bytes]:
    with NO_FORK:
        import hmac  # noqa: PLC0415 - for the same reason

        hmac.digest(b"", b"", "sha256")  # OpenSSL loads the algorithm
    return hmac.digest


def key_file() -> Path:
    """Return the path of this account's key file.

    Raises:
        RuntimeError: the account has no home folder.
    """
    return user_file("config", "user.key")


def default_key() -> bytes:
    """Return the key of the environment, else of the key file, which is made once, else a key for this process."""
    known = known_key()
    return known if known is not None else _new_key()


def known_key() -> bytes | None:
    """Return the key that `default_key` would return, None if there is none yet; makes no key."""
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return as_key(given)
    try:
        return _read_key(key_file())
    except (OSError, RuntimeError):
        return _process_key() if _process_key.cache_info().currsize else None


def _read_key(path: Path) -> bytes:
    status = path.stat()
    return _cached_key(str(path), status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=4)
def _cached_key(path: str, mtime_ns: int, inode: int) -> bytes:
    key = Path(path).read_bytes().strip()
    if not key:
        msg = f"{path} is empty"
        raise OSError(msg)
    return key


def _new_key() -> bytes:
    try:
        path = key_file()
        _make_key_file(path)
        return _read_key(path)
    except (OSError, RuntimeError):
        return _process_key()


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


@functools.lru_cache(maxsize=1)
def _process_key() -> bytes:
    with NO_FORK:
        import secrets  # noqa: PLC0415 - seldom needed

    warn(
        "could not store a key for user ids: pseudonyms of this process will not match those of others; set %s",
        KEY_VARIABLE,
    )
    return secrets.token_bytes(_KEY_BYTES)
