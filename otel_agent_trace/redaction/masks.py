"""Make masks: what stands in the place of a secret or of a personal datum, as ``<secret:github:3f9a>`` or ``<email:3f9a>``.

A mask names the rule, never what it matched. Its last four hex digits are those of the HMAC of the value under the key
of this account: equal values have equal masks, so that a masked recording can be compared with another one.
"""

from __future__ import annotations

from otel_agent_trace.keys import digest
from otel_agent_trace.redaction.patterns import lazy_pattern

UNSCANNED = "<secret:unscanned>"
"""Mask of a value that could not be scanned, because a rule failed or because scanning it would have taken too long."""
MASK = lazy_pattern(r"<(?:secret:)?[a-z0-9][a-z0-9_.-]{0,63}:[0-9a-f]{4}>|<secret:unscanned>")


PERSONAL_KINDS = ("email", "phone", "card", "iban", "ip", "ssn")
"""Kinds of personal data, whose masks are ``<email:3f9a>`` without a word before."""


def mask_of(rule: str, value: str, key: bytes) -> str:
    """Return the mask of what a rule found, with digits of the value under a key."""
    if rule == "unscanned":
        return UNSCANNED
    return personal_mask(rule if rule in PERSONAL_KINDS else f"secret:{rule}", value, key)


def personal_mask(kind: str, value: str, key: bytes) -> str:
    """Return the mask of a personal datum of a kind, with digits of the value under a key."""
    return f"<{kind}:{_digits(value, key)}>"


def _digits(value: str, key: bytes) -> str:
    """Return four hex digits that are the same for a value at each depth of JSON, where it has more backslashes."""
    return digest(key, value.replace("\\", ""))[:4]
