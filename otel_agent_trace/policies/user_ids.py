"""User ids, pseudonymised: the same user stays one user, and nobody without the key can tell who.

A pseudonym is ``hmac:{key id}:{hex}``: HMAC-SHA256 of the id under a key, and the first 8 hex digits of the key's own
SHA-256 (so that one sees when two traces were written under different keys).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.user_paths import user_file

R = TypeVar("R", SpanRecord, LogRecord)

UserIds = Literal["pseudonym", "plain", "none"]
"""What happens to user ids: a pseudonym, as they are, or not recorded."""
KEY_VARIABLE = "OTEL_AGENT_TRACE_USER_KEY"
_PSEUDONYM = re.compile(r"hmac:[0-9a-f]{8}:[0-9a-f]{64}")
_KEY_BYTES = 32
USER_ID_ATTRIBUTES = frozenset((*semconv.PLAIN_USER_IDS, semconv.ENDUSER_PSEUDO_ID))
_FORBIDDEN: dict[UserIds, frozenset[str]] = {
    "plain": frozenset(),
    "pseudonym": frozenset(semconv.PLAIN_USER_IDS),
    "none": USER_ID_ATTRIBUTES,
}


def check_mode(mode: str) -> UserIds:
    """The mode, if it is one.

    Raises:
        ConfigurationError: it is none.
    """
    if mode not in get_args(UserIds):
        msg = f"user_ids={mode!r} is none of {', '.join(get_args(UserIds))}"
        raise ConfigurationError(msg)
    return mode  # type: ignore[return-value]


def is_pseudonym(user_id: str) -> bool:
    """Whether it is a pseudonym already, which is never hashed again."""
    return _PSEUDONYM.fullmatch(user_id) is not None


def pseudonymize_user_id(user_id: str, *, key: str | bytes | None = None) -> str:
    """The pseudonym of a user id, as the traces carry it; a pseudonym stays what it is.

    Args:
        user_id: the id as the program knows it.
        key: the secret; by default ``OTEL_AGENT_TRACE_USER_KEY``, else the key file of this account, which is made once.
    """
    text = _text_of(user_id)
    if is_pseudonym(text):
        return text
    secret = _to_bytes(key) if key is not None else default_key()
    return _pseudonym(text, secret)


def _text_of(user_id: object) -> str:
    """The id as a text: of an enum of texts the value, of anything else what `str` makes of it."""
    return str.__str__(user_id) if isinstance(user_id, str) else str(user_id)


def _pseudonym(user_id: str, secret: bytes) -> str:
    import hashlib  # noqa: PLC0415 - loads OpenSSL, of which a program without users has no need
    import hmac  # noqa: PLC0415 - as above

    digest = hmac.new(secret, user_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return f"hmac:{hashlib.sha256(secret).hexdigest()[:8]}:{digest}"


def _to_bytes(key: str | bytes) -> bytes:
    return key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")


def known_forms(user_id: object) -> frozenset[str]:
    """How traces may carry a user id: as it is, or under the key at hand. Makes no key: reading changes nothing."""
    secret = _known_key()
    text = _text_of(user_id)
    forms = {text}
    if secret is not None and not is_pseudonym(text):
        forms.add(_pseudonym(text, secret))
    return frozenset(forms)


class UserIdPolicy:
    """A policy of the pipeline: what happens to user ids in the attributes of spans and logs, whoever wrote them.

    Raises:
        ConfigurationError: there is no such mode.
    """

    traces = False

    def __init__(self, mode: str = "pseudonym") -> None:
        self.mode = check_mode(mode)
        self._keys = _FORBIDDEN[self.mode]

    @classmethod
    def of(cls, given: UserIds | UserIdPolicy) -> UserIdPolicy:
        """Return the policy that is given, or that of a mode.

        Raises:
            ConfigurationError: there is no such mode.
        """
        return given if isinstance(given, UserIdPolicy) else cls(given)

    def recorded(self, user_id: object) -> str | None:
        """Return what is recorded of a user id."""
        if user_id is None or self.mode == "none":
            return None
        text = _text_of(user_id)
        return text if self.mode == "plain" else pseudonymize_user_id(text)

    def violates(self, span: Any) -> bool:
        """Return whether a span of the SDK names a user in a way that the mode does not allow.

        The SDK's property gives a proxy of a mapping that is written in Python: a look at one key is twenty times as slow
        there as in the dictionary behind it.
        """
        try:
            attributes: Mapping[str, Any] = span._attributes._dict  # noqa: SLF001 - see above
        except AttributeError:  # a plain mapping, as in spans made by hand
            attributes = span.attributes or {}
        for key in self._keys:  # noqa: SIM110 - any() takes three times as long, and this runs twice a span
            if key in attributes:
                return True
        return False

    def __call__(self, record: R) -> R:
        """Return the record with user ids as the mode says."""
        attributes = self.attributes(record.attributes)
        return record if attributes is record.attributes else msgspec.structs.replace(record, attributes=attributes)

    def attributes(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return attributes with user ids as the mode says; the same ones where there is nothing to do."""
        if self._keys.isdisjoint(attributes):
            return attributes
        changed = dict(attributes)
        for key in (*semconv.PLAIN_USER_IDS, semconv.ENDUSER_PSEUDO_ID):
            known = self.recorded(changed.pop(key, None)) if key in self._keys else None
            if known is not None:
                changed.setdefault(semconv.ENDUSER_PSEUDO_ID, known)
        return changed


# ── the key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def key_file() -> Path:
    """Where the key of this account lies.

    Raises:
        RuntimeError: it has no home.
    """
    return user_file("config", "user.key")


def default_key() -> bytes:
    """The key from the environment, else from the key file, which is made once, else one for this process."""
    known = _known_key()
    return known if known is not None else _made_key()


def _known_key() -> bytes | None:
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return _to_bytes(given)
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


def _made_key() -> bytes:
    try:
        path = key_file()
        _make_key_file(path)
        return _read_key(path)
    except (OSError, RuntimeError):
        return _process_key()


def _make_key_file(path: Path) -> None:
    """Put a new key there, whole or not at all; whoever comes second finds the first one's."""
    import secrets  # noqa: PLC0415 - a key is made once
    import tempfile  # noqa: PLC0415 - as above

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        _put(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _put(name: str, path: Path) -> None:
    try:
        os.link(name, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links: of two processes that come first at once, the last one's stays
        if not path.exists():
            os.replace(name, path)


@functools.lru_cache(maxsize=1)
def _process_key() -> bytes:
    import secrets  # noqa: PLC0415 - seldom needed

    warn(
        "no key for user ids could be kept: pseudonyms of this process will not match those of others; set %s",
        KEY_VARIABLE,
    )
    return secrets.token_bytes(_KEY_BYTES)
