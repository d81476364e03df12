"""Match arguments that are not equal to the recorded ones, but stand for the same: masked, truncated, with defaults."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_agent_trace.redaction.masks import MASK, PERSONAL_KINDS
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.replay.keys import key_of, plain_key_of, without_addresses
from otel_agent_trace.values import Opaque, Truncated, encode, restore

_NAMES = "PERSON|EMAIL|EMAIL_ADDRESS|PHONE|PHONE_NUMBER|CREDIT_CARD|IBAN|IBAN_CODE|IP|IP_ADDRESS|LOCATION|ADDRESS|SSN|US_SSN|URL"
"""Names that Presidio and others write in place of personal data, in capitals: ``<title>`` is a tag of the text itself."""
_MASK_OF_OTHERS = re.compile(
    r"[\[<({]{1,2}(?i:[a-z_ -]{0,20}(?:redacted|masked|filtered|scrubbed)[a-z0-9_ -]{0,20})[\])>}]{1,2}"
    rf"|\*{{3,}}|[\[<](?:{_NAMES})(?:_\d+)?[\]>]"
)
"""Masks of others, which have no digest, so that equal ones need not stand for equal values."""
_SHOWN_CHARACTERS = 2_000
_COMPARED_CHARACTERS = 1_000


class Bindings:
    """Hold what the masks of a recording stand for: equal masks for equal values, in the whole replay."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def copy(self) -> Bindings:
        """Return a copy, to be tried."""
        copied = Bindings()
        copied._values = dict(self._values)
        return copied

    def take(self, tried: Bindings) -> None:
        """Take over what a copy has learned, once its match is used."""
        self._values = tried._values

    def binds(self, mask: str, value: str) -> bool:
        """Return whether a mask may stand for a value, and let it do so from now on."""
        if value == mask:
            return True
        if not _is_of_its_kind(mask, value):
            return False
        return self._values.setdefault(mask, value) == value


def _is_of_its_kind(mask: str, value: str) -> bool:
    """Return whether a value is one that the rule of a mask finds; what other rules find depends on the place."""
    kind = mask[1:].partition(":")[0]
    if kind not in PERSONAL_KINDS:
        return True
    masked = Redactor(pii=[kind])(value)
    return isinstance(masked, str) and MASK.fullmatch(masked) is not None and masked.startswith(f"<{kind}:")


class Match:
    """Compare recorded with current values.

    Args:
        bindings: what masks stand for; it learns from each comparison, also from one that fails.
        is_lossless: whether the types of values were recorded; if not, they are compared as JSON.
    """

    def __init__(self, bindings: Bindings, *, is_lossless: bool) -> None:
        self._bindings = bindings
        self._key: Callable[[Any], str] = key_of if is_lossless else plain_key_of
        self._is_lossless = is_lossless

    def fits(self, recorded: Any, current: Any) -> bool:
        """Return whether a recorded value may have been this one; both as they are read from a trace."""
        if isinstance(recorded, Truncated):
            return self._fits_truncated(recorded, current)
        if isinstance(recorded, str):
            return self._fits_text(recorded, current)
        if isinstance(recorded, Mapping):
            return isinstance(current, Mapping) and self._fit_mappings(recorded, current)
        if isinstance(recorded, list | tuple):
            is_alike = type(recorded) is type(current) or (not self._is_lossless and isinstance(current, list | tuple))
            return is_alike and len(recorded) == len(current) and all(map(self.fits, recorded, current))
        if isinstance(recorded, Opaque):
            is_alike = isinstance(current, Opaque) and recorded.type_name == current.type_name
            return is_alike and self.fits(recorded.data, current.data)
        return self._key(recorded) == self._key(current)

    def _fit_mappings(self, recorded: Mapping[Any, Any], current: Mapping[Any, Any]) -> bool:
        if self._is_lossless and recorded.keys() != current.keys():
            return False
        keys = recorded.keys() | current.keys()  # those of None are injected by runtimes of others
        return all(self.fits(recorded.get(key), current.get(key)) for key in keys)

    def _fits_truncated(self, recorded: Truncated, current: Any) -> bool:
        """Return whether a value begins with what limits kept of the recorded one, and has its size."""
        kept = recorded.kept
        if not isinstance(kept, str | bytes | list) or type(kept) is not type(current) or not kept:
            return False
        is_so_long = not isinstance(recorded.size, int) or recorded.size == len(current)
        return is_so_long and self.fits(kept, current[: len(kept)])

    def _fits_text(self, recorded: str, current: Any) -> bool:
        if recorded == current:
            return True
        parts = _parts(recorded)
        if len(parts) == 1:  # without masks
            is_text = isinstance(current, str)
            return is_text and without_addresses(recorded) == without_addresses(current)
        if not isinstance(current, str):  # a number, whose place a mask takes as a text
            return parts[0] == parts[-1] == "" and len(parts) == 3
        return self._fits_parts(parts, current)

    def _fits_parts(self, parts: list[str], current: str) -> bool:
        pattern = "".join("(.+?)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
        found = re.fullmatch(pattern, current, re.DOTALL)
        if found is None:
            return False
        pairs = zip(parts[1::2], found.groups(), strict=True)
        return all(MASK.fullmatch(mask) is None or self._bindings.binds(mask, value) for mask, value in pairs)


def _parts(text: str) -> list[str]:
    """Return the parts of a text: what stands between masks, and each mask, in turn."""
    parts, end = [], 0
    found = sorted(
        [*MASK.finditer(text), *_MASK_OF_OTHERS.finditer(text)], key=lambda mask: (mask.start(), -mask.end())
    )
    for mask in found:
        if mask.start() >= end:
            parts += [text[end : mask.start()], mask[0]]
            end = mask.end()
    return [*parts, text[end:]]


def is_loose_key(key: str) -> bool:
    """Return whether a recorded value with a key may fit others, since something in it is masked or was truncated."""
    return '"cut"' in key or MASK.search(key) is not None or _MASK_OF_OTHERS.search(key) is not None


def as_read(value: Any) -> Any:
    """Return a value as it is read from a trace that has it."""
    encoded = encode(value)
    return restore(encoded.data, encoded.tag)


# ── showing differences ──────────────────────────────────────────────────────────────────────────────────────────────


def compared_text(arguments: Any) -> str:
    """Return the text of arguments by which `likeness` compares them: the beginning of their JSON."""
    return plain_key_of(arguments)[:_COMPARED_CHARACTERS]


def likeness(recorded: str, current: str) -> float:
    """Return how alike the arguments of two calls are, from 0 to 1, by their texts."""
    return difflib.SequenceMatcher(None, recorded, current, autojunk=False).quick_ratio()


def difference(recorded: Any, current: Any, where: str) -> str:
    """Return the differences of recorded and current arguments, as a unified diff of their JSON."""
    before, now = _lines_of(recorded), _lines_of(current)
    found = difflib.unified_diff(before, now, f"recorded ({where})", "now", n=2, lineterm="")
    text = "\n".join(found)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


def _lines_of(value: Any) -> list[str]:
    return msgspec.json.format(plain_key_of(value), indent=2).splitlines()


def in_one_line(kind: str, name: str, arguments: Any) -> str:
    """Return a call in one line, as ``tool search {"q": "rain"}``."""
    text = without_addresses(msgspec.json.encode(encode(arguments).data).decode())
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    return " ".join(filter(None, (kind, name, shown if arguments is not None else "")))
