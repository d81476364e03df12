"""Search texts for all that a set of rules masks: one scan for the literals of all of them, then a look at each hit."""

from __future__ import annotations

import bisect
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.keys import default_key
from otel_agent_trace.redaction.credentials import (
    CookieObjectDetector,
    PrivateKeyDetector,
    UserinfoDetector,
    UserOptionDetector,
)
from otel_agent_trace.redaction.engine import Hit, LiteralScanner
from otel_agent_trace.redaction.known_values import LEAST_REGISTERED, KnownValue
from otel_agent_trace.redaction.masks import MASK, mask_of
from otel_agent_trace.redaction.named_values import (
    INPUT_LITERALS,
    NAME_LITERALS,
    PARAMETER_LITERALS,
    InvalidInputDetector,
    NameDetector,
    ParameterDetector,
)
from otel_agent_trace.redaction.names import NAME_RULES
from otel_agent_trace.redaction.ordinary import is_nothing_but_masks, without_masks
from otel_agent_trace.redaction.personal import PersonalRule
from otel_agent_trace.redaction.rules import Rule
from otel_agent_trace.redaction.shapes import ShapeDetector
from otel_agent_trace.redaction.texts import JOINT, Detector, Found, Text, UnscannableError, texts_of
from otel_agent_trace.redaction.walk import SCREENED, Mask, Walk


class Searched(NamedTuple):
    """Hold a pattern that is searched for in the whole text: of personal data, or added by the program."""

    name: str
    pattern: re.Pattern[str]


PLACES: tuple[tuple[str, tuple[str, ...], Detector], ...] = (
    ("private-key", ("-----BEGIN ",), PrivateKeyDetector()),
    ("url-credentials", ("@",), UserinfoDetector()),
    ("cookie", ("httpOnly", "HttpOnly", "httponly", "sameSite", "SameSite", "samesite"), CookieObjectDetector()),
    ("password", ("-u ", "-u'", '-u"', "--user", "--proxy-user", "--auth", "-U ", '-U"'), UserOptionDetector()),
)
PLACE_RULES = tuple(name for name, _, _ in PLACES)
"""Names of the rules for secrets that are known by the form of what is around them."""


_LONG_CHARACTERS = 1 << 16
"""Length from which a text is looked at by itself: a copy of it would take more memory than a look takes time."""
_JSON_STARTS = frozenset('{["')
_JSON_ENDS = frozenset('}]"')


class _Spans:
    """Hold parts of a text that do not overlap."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in spans:
            self._starts.append(start)
            self._ends.append(end)

    def add(self, start: int, end: int) -> bool:
        """Add a part; return False, and do not, if it overlaps with another."""
        index = bisect.bisect_right(self._starts, start)
        if (index and self._ends[index - 1] > start) or (index < len(self._starts) and self._starts[index] < end):
            return False
        self._starts.insert(index, start)
        self._ends.insert(index, end)
        return True


class Search:
    """Find what is masked in texts; any number of threads may use one.

    Args:
        rules: the rules of secrets with a shape.
        known: the known values.
        searched: patterns that the program added.
        personal: the rules of personal data.
        removed: names of rules that find nothing.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        known: Iterable[KnownValue],
        searched: Sequence[Searched],
        personal: Sequence[PersonalRule],
        removed: frozenset[str],
    ) -> None:
        self._searched = searched
        self._personal = personal
        self._removed = removed
        exact = _by_literal(
            [
                *((value.literals, value) for value in known),
                *((rule.literals, ShapeDetector(rule)) for rule in rules if rule.name not in removed),
                *((literals, detector) for name, literals, detector in PLACES if name not in removed),
                (SCREENED, _nothing),
            ]
        )
        folded = _by_literal(
            [
                (NAME_LITERALS, NameDetector()),
                (PARAMETER_LITERALS, ParameterDetector()),
                (INPUT_LITERALS, InvalidInputDetector()),
            ]
        )
        self._detectors = [*exact.values(), *folded.values()]
        self._scanner = LiteralScanner(list(exact), list(folded))

    def may_find_in(self, value: Any) -> bool:
        """Return False if a look at all texts of a JSON value together shows that nothing can be found in it.

        Raises:
            UnscannableError: it has too many items, or contains itself.
        """
        text = JOINT.join(("", *texts_of(value), ""))
        return bool(self._searched or self._personal) or self._scanner.has_hits(text)

    def worth_a_look(self, texts: Sequence[str]) -> Sequence[str]:
        """Return those of some texts in which something may be found, after one look at all of them together."""
        if self._searched or self._personal:
            return texts
        text = JOINT.join(("", *texts, ""))
        if len(text) >= _LONG_CHARACTERS and max(map(len, texts)) >= _LONG_CHARACTERS:
            short = [text for text in texts if len(text) < _LONG_CHARACTERS]
            long = [text for text in texts if len(text) >= _LONG_CHARACTERS and self._scanner.has_hits(text)]
            return [*self.worth_a_look(short), *long]
        try:
            hits = self._scanner.hits(text)
        except UnscannableError:
            return texts
        if not hits:
            return ()
        ends = list(itertools.accumulate([len(JOINT) + len(text) for text in texts]))
        return [texts[index] for index in sorted({bisect.bisect_right(ends, position) for _, position in hits})]

    def walk(self, mask: Mask) -> Walk:
        """Return what calls a function for each text of JSON values."""
        return Walk(mask)

    def found(self, text: str, named: Sequence[Found] = ()) -> list[Found]:
        """Return what is to be masked in a text, in order, without overlaps.

        Args:
            text: the text.
            named: what its place finds in it.

        Returns:
            The finds; one of the rule ``unscanned`` for the whole text, if it would take too long to look at.

        Raises:
            Exception: whatever a rule raises.
        """
        try:
            return self._found(text, named)
        except UnscannableError:
            return [self.unscanned(text)]

    def masked(self, text: str, named: Sequence[Found] = ()) -> str:
        """Return a text with masks, the same object if it has none; arguments and errors as of `found`."""
        found = self.found(text, named)
        return self.with_masks(text, found)

    @staticmethod
    def unscanned(text: str) -> Found:
        """Return the find that stands for a text that was not scanned."""
        return Found(0, len(text), "unscanned", "")

    @staticmethod
    def with_masks(text: str, found: Sequence[Found]) -> str:
        """Return a text with masks in the place of what was found in it, the same object if that is nothing."""
        if not found:
            return text
        parts: list[str] = []
        done = 0
        key = default_key()
        for one in found:
            parts += (text[done : one.start], one.quote, mask_of(one.rule, one.value, key), one.quote)
            done = one.end
        parts.append(text[done:])
        return "".join(parts)

    def _found(self, text: str, named: Sequence[Found]) -> list[Found]:
        hits = self._scanner.hits(text)
        found = self._at_literals(text, hits) if hits else []
        if hits and text[0] in _JSON_STARTS:
            found += self._in_json(text, found)
        found += named
        if self._removed:
            found = [one for one in found if one.rule not in self._removed]
        if found and "<" in text:
            found = _beside_masks(text, found)
        if found:
            found = _resolved(text, found)
        if self._searched or self._personal:
            found = _resolved(text, found + self._in_whole(text))
        return found

    def _at_literals(self, text: str, hits: Iterable[Hit]) -> list[Found]:
        found: list[Found] = []
        looked_at = Text(text)
        for literal, position in hits:
            for detector in self._detectors[literal]:
                if position < looked_at.done and not isinstance(detector, KnownValue):
                    continue
                for one in detector(looked_at, position):
                    found.append(one)
                    if isinstance(detector, (ShapeDetector, PrivateKeyDetector)):
                        looked_at.done = one.end
        return found

    def _in_json(self, text: str, found: Sequence[Found]) -> list[Found]:
        """Return what only the places of values find in a text of JSON, as of arguments that a model wrote."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return []
        known = {one.value.replace("\\", "") for one in found}
        secrets: dict[str, str] = {}

        def note(inner: str, named: Sequence[Found], _path: str) -> str:
            ones = [*named, *self._in_inner_json(inner)] if inner.isascii() else self.found(inner, named)
            secrets.update((one.value, one.rule) for one in ones if one.value.replace("\\", "") not in known)
            return inner

        self.walk(note).value(value)
        work = Text(text)
        return [
            one._replace(rule=rule)
            for secret, rule in secrets.items()
            if len(secret) >= LEAST_REGISTERED and not secret.isdigit() and "\\" not in secret
            for one in KnownValue(secret).everywhere(work)
        ]

    def _in_inner_json(self, text: str) -> list[Found]:
        return self._in_json(text, ()) if text[:1] in _JSON_STARTS and text[-1:] in _JSON_ENDS else []

    def _in_whole(self, text: str) -> list[Found]:
        """Return what patterns find outside of masks; where several find something, the first one's counts."""
        spans = [(rule.name, match.span()) for rule in self._searched for match in rule.pattern.finditer(text)]
        spans += [(rule.name, span) for rule in self._personal for span in rule.spans(text)]
        taken = _Spans(match.span() for match in MASK.finditer(text))
        return [
            Found(start, end, name, text[start:end])
            for name, (start, end) in spans
            if start < end and taken.add(start, end)
        ]


def _by_literal(detectors: Iterable[tuple[Iterable[str], Detector]]) -> dict[str, list[Detector]]:
    """Return detectors by literals, the longest first: of the rules for one place, the most exact one comes first."""
    found: dict[str, list[Detector]] = {}
    for literals, detector in detectors:
        for literal in literals:
            found.setdefault(literal, []).append(detector)
    return dict(sorted(found.items(), key=lambda entry: -len(entry[0])))


def _nothing(text: Text, position: int) -> tuple[Found, ...]:
    """Return no finds: the literal alone makes a value worth a look."""
    return ()


_VAGUE_RULES = frozenset((*NAME_RULES, "url-credentials"))
"""Rules that know where a secret stands, not what it is: of two finds for one place, the other one's rule counts."""


def _beside_masks(text: str, found: Iterable[Found]) -> list[Found]:
    """Return finds without those of a part of a mask, or of nothing but masks."""
    masks = [match.span() for match in MASK.finditer(text)]
    starts = [start for start, _ in masks]

    def is_in_mask(position: int) -> bool:
        index = bisect.bisect_left(starts, position) - 1
        return index >= 0 and position < masks[index][1]

    def is_new(one: Found) -> bool:
        if is_in_mask(one.start) or is_in_mask(one.end):
            return False
        rest = without_masks(one.value)
        return rest is one.value or not is_nothing_but_masks(rest)

    return [one for one in found if is_new(one)] if masks else list(found)


def _resolved(text: str, found: list[Found]) -> list[Found]:
    """Return finds in order, without overlaps: the outer one, unless nothing but the inner ones matters in it."""
    found.sort(key=lambda one: (one.start, -one.end, one.rule not in _VAGUE_RULES))
    resolved: list[Found] = []
    index = 0
    while index < len(found):
        outer = found[index]
        inner: list[Found] = []
        end = outer.end
        index += 1
        while index < len(found) and found[index].start < end:
            inner.append(found[index])
            end = max(end, found[index].end)
            index += 1
        resolved += _best(text, outer, inner, end) if inner else [outer]
    return resolved


def _best(text: str, outer: Found, inner: list[Found], end: int) -> list[Found]:
    for one in (outer, *inner):
        if one.rule == "known" and one.start == outer.start and one.end == end:
            return [one]
    if end == outer.end:
        kept: list[Found] = []
        rest, position = [], outer.start
        for one in inner:
            if one.start >= position:
                kept.append(one)
                rest.append(text[position : one.start])
                position = one.end
        rest.append(text[position:end])
        if is_nothing_but_masks("".join(rest)):
            return kept
        return [outer]
    return [Found(outer.start, end, outer.rule, text[outer.start : end])]
