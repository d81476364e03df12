"""Pseudonymize user ids: equal ids have equal pseudonyms, and only the holder of the key can find out whose they are.

A pseudonym is ``hmac:{key id}:{hex}``: the HMAC-SHA256 of the id under the key, after 8 hex digits of the key's
own SHA-256, which show whether two traces were written under the same key.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keys import default_key, digest, key_bytes, key_id, known_keys
from otel_agent_trace.policies.rewriting import attributes_in
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.span import LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)

UserIds = Literal["pseudonym", "plain", "none"]
"""Modes of recording user ids: as pseudonyms, unchanged, or not at all."""
_PSEUDONYM = lazy_pattern(r"hmac:[0-9a-f]{8}:[0-9a-f]{64}")
USER_ID_ATTRIBUTES = frozenset((*semconv.PLAIN_USER_IDS, semconv.ENDUSER_PSEUDO_ID))
_FORBIDDEN: dict[UserIds, frozenset[str]] = {
    "plain": frozenset(),
    "pseudonym": frozenset(semconv.PLAIN_USER_IDS),
    "none": USER_ID_ATTRIBUTES,
}

_NAME = lazy_pattern(r"(?!(?:http|rpc|db|mcp|os|process)\.)(?:.*\.)?(?:user_id|userId|(?<=\.)user\.id)")
"""Pattern of the names of frameworks and programs, as ``langfuse.user.id``; those of protocols and systems are nobody's."""


@functools.lru_cache(maxsize=512)
def _names_of_ids(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the names of a span's attributes that stand for user ids; spans of a kind have the same names."""
    return tuple(name for name in names if name in USER_ID_ATTRIBUTES or (type(name) is str and _NAME.fullmatch(name)))


def check_mode(mode: str) -> UserIds:
    """Return a mode that is valid.

    Raises:
        ConfigurationError: the mode is not one of `UserIds`.
    """
    if mode not in get_args(UserIds):
        msg = f"user_ids={mode!r} must be one of {', '.join(get_args(UserIds))}"
        raise ConfigurationError(msg)
    return mode  # type: ignore[return-value]


def is_pseudonym(user_id: str) -> bool:
    """Return whether a user id is a pseudonym, which is never hashed again."""
    return _PSEUDONYM.fullmatch(user_id) is not None


def key_id_of(user_id: str | None) -> str | None:
    """Return the id of the key that a pseudonym was made with; None for anything else."""
    return user_id.split(":", 2)[1] if user_id is not None and is_pseudonym(user_id) else None


def pseudonymize_user_id(user_id: str, *, key: str | bytes | None = None) -> str:
    """Return the pseudonym that traces hold for a user id: ``hmac:{key id}:{hex}``; a pseudonym is returned unchanged.

    Args:
        user_id: the id as the program knows it.
        key: the secret key; by default the first one of the variable ``OTEL_AGENT_TRACE_USER_KEY``, else of the key file
            of this account, which is made once. If it cannot be made, a key for this process is used, and a warning logged.
    """
    text = _user_id_text(user_id)
    if is_pseudonym(text):
        return text
    return _pseudonym(text, key_bytes(key) if key is not None else default_key())


def _user_id_text(user_id: object) -> str:
    """Return a user id as a text: the value of a member of a `str` enum, else the result of `str`."""
    return str.__str__(user_id) if isinstance(user_id, str) else str(user_id)


def _pseudonym(user_id: str, key: bytes) -> str:
    return f"hmac:{key_id(key)}:{digest(key, user_id)}"


def known_forms(user_id: object) -> frozenset[str]:
    """Return the forms of a user id that traces may hold: the id, and its pseudonym under each key; makes no key."""
    text = _user_id_text(user_id)
    return frozenset((text, *(() if is_pseudonym(text) else (_pseudonym(text, key) for key in known_keys()))))


class UserIdPolicy:
    """Replace or remove user ids in the attributes of spans and logs, of any instrumentation.

    Args:
        mode: ``"pseudonym"``, ``"plain"`` or ``"none"``.

    Raises:
        ConfigurationError: there is no such mode.
    """

    traces = False

    def __init__(self, mode: str = "pseudonym") -> None:
        self.mode = check_mode(mode)
        self._keys = _FORBIDDEN[self.mode]

    @classmethod
    def of(cls, policy_or_mode: UserIds | UserIdPolicy) -> UserIdPolicy:
        """Return a policy as it is, or the policy of a mode.

        Raises:
            ConfigurationError: there is no such mode.
        """
        return policy_or_mode if isinstance(policy_or_mode, UserIdPolicy) else cls(policy_or_mode)

    def recorded(self, user_id: object) -> str | None:
        """Return a user id as it is recorded, None if it is not."""
        if user_id is None or self.mode == "none":
            return None
        text = _user_id_text(user_id)
        return text if self.mode == "plain" else pseudonymize_user_id(text)

    def violates(self, span: Any) -> bool:
        """Return whether a span of the SDK has an attribute with a user id that the mode does not allow."""
        attributes = attributes_in(span)
        names = _names_of_ids(tuple(attributes))
        return bool(names) and any(self._holds_id(name, attributes[name]) for name in names)

    def check_for(self, attributes: Mapping[str, Any]) -> Callable[[Any], bool] | None:
        """Return `violates` if attributes of these names may have user ids that the mode does not allow, else None."""
        names = _names_of_ids(tuple(attributes))
        return self.violates if any(name in self._keys or name not in USER_ID_ATTRIBUTES for name in names) else None

    def _holds_id(self, key: str, value: object) -> bool:
        """Return whether an attribute for user ids has one that the mode does not allow as it is."""
        if key in USER_ID_ATTRIBUTES:
            return key in self._keys
        return self.mode != "plain" and (self.mode == "none" or not is_pseudonym(str(value)))

    def __call__(self, record: R) -> R:
        """Return a span or log record with user ids as the mode requires; the same one if nothing changes."""
        attributes = self.attributes(record.attributes)
        return record if attributes is record.attributes else msgspec.structs.replace(record, attributes=attributes)

    def attributes(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return attributes with user ids as the mode requires; the same mapping if nothing changes.

        Those of the conventions are recorded as ``enduser.pseudo.id``; others keep their names, by which their readers know them.
        """
        found = [key for key in _names_of_ids(tuple(attributes)) if self._holds_id(key, attributes[key])]
        if not found:
            return attributes
        changed = dict(attributes)
        for key in found:
            if key not in USER_ID_ATTRIBUTES:
                changed[key] = self.recorded(attributes[key])
        for key in (*semconv.PLAIN_USER_IDS, semconv.ENDUSER_PSEUDO_ID):
            user_id = self.recorded(changed.pop(key, None)) if key in self._keys else None
            if user_id is not None:
                changed.setdefault(semconv.ENDUSER_PSEUDO_ID, user_id)
        return {key: value for key, value in changed.items() if value is not None}
