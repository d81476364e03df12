"""Find secrets by their own shape, at the literals of `rules`."""

from __future__ import annotations

import re

from otel_agent_trace.redaction.ordinary import is_wordy, looks_random
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.rules import RULES, Rule
from otel_agent_trace.redaction.texts import JUDGED, Found, Text

_NONE: tuple[Found, ...] = ()
_ESCAPE_BEFORE = lazy_pattern(
    r"(?:%(?:25){0,3}[0-9A-Fa-f]{2}|\\[nrtbfv0]|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\[[0-9;]{1,10}m)\Z"
)
_LONGEST_ESCAPE = 14
_ENCODED_CHARACTERS = 64
_ENCODED = lazy_pattern(r"[A-Za-z0-9+/_-]{64}")
_LONGEST_PHRASE = 60
_EXAMPLE = lazy_pattern(r"(?i:x{6}|example|your[-_])|\.\.\.|\*\*\*|([^=A])\1{9}")
_LINE_BREAK = lazy_pattern(r"(?:\\?\r?\n|\\{1,64}r?\\{0,64}n)[ \t>|]{0,40}")
_TOKEN_REST = lazy_pattern(r"[A-Za-z0-9_.+/=-]{1,512}")
_STARTS = tuple(literal for rule in RULES for literal in rule.literals)


class ShapeDetector:
    """Match one rule where one of its literals stands."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def __call__(self, text: Text, position: int) -> tuple[Found, ...]:
        """Return the secret at a literal, if there is one."""
        rule = self._rule
        if not (rule.behind or rule.inside or begins_word(text.text, position)):
            return _NONE
        match = self._match(text, position)
        if match is None:
            return _NONE
        if not rule.behind and (wrapped := self._wrapped(text, match)):
            return (wrapped,)
        group = "secret" if "secret" in match.re.groupindex else 0
        start, end = match.span(group)
        text.spend(end - start)
        value = match[group]
        if not (rule.test or _is_no_phrase)(value) or _EXAMPLE.search(value):
            text.spend(3 * JUDGED)
            return _NONE
        return (Found(start, end, rule.name, value),)

    def _match(self, text: Text, position: int) -> re.Match[str] | None:
        pattern = self._rule.compiled()
        if not self._rule.behind:
            return pattern.match(text.text, position)
        text.spend(4 * self._rule.behind)
        for start in range(max(text.done, position - self._rule.behind), position + 1):
            match = pattern.match(text.text, start)
            if match is not None and match.end() > position:
                return match
        return None

    def _wrapped(self, text: Text, match: re.Match[str]) -> Found | None:
        """Return a secret that goes on in the next lines, as terminals wrap long ones; None if it does not."""
        if "secret" in match.re.groupindex:
            return None
        whole, joined, end = text.text, match[0], match.end()
        while line_break := _LINE_BREAK.match(whole, end):
            rest = _TOKEN_REST.match(whole, line_break.end())
            if rest is None or rest[0].startswith(_STARTS) or not looks_random(rest[0], 16):
                break
            text.spend(len(joined) + len(rest[0]))
            longer = match.re.match(joined + rest[0])
            if longer is None or longer.end() <= len(joined):
                break
            end = rest.start() + longer.end() - len(joined)
            joined = longer[0]
        return Found(match.start(), end, self._rule.name, joined) if end > match.end() else None


def _is_no_phrase(value: str) -> bool:
    """Return whether a text is not made of words, as ``xai-explainability-report`` is, which begins like a token.

    One in two hundred of AWS's key ids has no digit, and looks like a long word in capitals.
    """
    return (value.isalnum() and value.isupper()) or not is_wordy(value[:_LONGEST_PHRASE])


def begins_word(text: str, position: int) -> bool:
    r"""Return whether no letter or digit stands before a position, but for those of an escape such as ``%3D`` or ``\n``.

    In the base64 of a picture or an archive, other characters before it are no beginning either.
    """
    if not position:
        return True
    before = text[position - 1]
    if before in "+/-_":
        return _ENCODED.fullmatch(text, max(0, position - _ENCODED_CHARACTERS), position) is None
    if not (before.isalnum() and before.isascii()):
        return True
    return _ESCAPE_BEFORE.search(text[max(0, position - _LONGEST_ESCAPE) : position]) is not None
