"""Find secrets whose values are known: those of the process's environment, and those that the program registered.

A known value is found as it is and encoded: with percent signs, in base64 at any offset, as a text of JSON or HTML at
any depth. Its longest part of characters that no encoding changes is the literal that is searched for; a pattern that
allows each of the other characters in any encoding is matched around it.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Iterable, Iterator, Mapping

from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.redaction.names import named_secret
from otel_agent_trace.redaction.ordinary import is_ordinary, is_placeholder, is_reference, is_wordy
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.shapes import begins_word
from otel_agent_trace.redaction.texts import Found, Text

LEAST_REGISTERED = 4
"""Length of the shortest text that can be registered as a secret."""
_LEAST_OF_ENVIRONMENT = 8
_LEAST_OF_WORDS = 16
"""Length from which a value of the environment that is made of words counts, as a phrase does."""
_LEAST_ENCODED = 8
_LEVELS = 6
_LEAST_LITERAL = 4
_MOST_OF_CHARACTER = 80
"""Characters that one character may have in an encoding: backslashes of six levels of JSON, and an escape."""

_CHARACTERS_FOUND = 20
"""Characters in which a literal is searched for in the time in which one is looked at."""

_PART = lazy_pattern(r"\\+|.", re.DOTALL)
_PERCENT = lazy_pattern(r"%[0-9A-F]{2}")
_ESCAPE = r"(?:\\|%(?:25){0,3}5[cC])"
"""Match a backslash before a character, percent-encoded or not."""
_PLAIN = lazy_pattern(r"[A-Za-z0-9_.~-]+")
_URL_PASSWORD = lazy_pattern(r"://[^\s/:@]*:([^\s/@]+)@")
_NAMED_ENTITIES = {'"': "quot", "&": "amp", "<": "lt", ">": "gt", "'": "apos"}
_JSON_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def secrets_of_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of an environment that are secrets: under the name of a secret, or the password of an address."""
    for name, value in environment.items():
        yield from (found for found in _URL_PASSWORD.findall(value) if _is_distinctive(found))
        if named_secret(name) is not None and _is_distinctive(value.strip()):
            yield value.strip()


def _is_distinctive(value: str) -> bool:
    """Return whether a value of the environment stands for nothing but itself, wherever it is found.

    Single words, such as ``postgres`` under ``DB_PASSWORD``, stand in ordinary texts too; names, paths and references are no
    secrets themselves.
    """
    if len(value) < _LEAST_OF_ENVIRONMENT or is_placeholder(value) or is_reference(value):
        return False
    if value.isalpha() and (value.islower() or value.isupper() or value.istitle()):
        return not is_wordy(value) or len(value) >= _LEAST_OF_WORDS
    if value.isalnum() or " " in value:
        return True
    if is_ordinary(value):
        return False
    return not is_wordy(value) or any(character.isdigit() for character in value) or len(value) >= _LEAST_OF_WORDS


class KnownValue:
    """Find one value, in all its encodings.

    Attributes:
        literals: texts of which each form of the value has one.
    """

    def __init__(self, value: str, form: str | None = None) -> None:
        self._value = value
        self._form = value if form is None else form
        self._compiled: re.Pattern[str] | None = None
        plain = max(_PLAIN.finditer(self._form), key=lambda match: len(match[0]), default=None)
        if plain is not None and len(plain[0]) >= min(_LEAST_LITERAL, len(self._form)):
            self.literals: tuple[str, ...] = (plain[0],)
            self._before = plain.start()
        else:
            self.literals = tuple(dict.fromkeys(_common_forms(self._form[:_LEAST_LITERAL])))
            self._before = 0

    def _pattern(self) -> re.Pattern[str]:
        if self._compiled is not None:
            return self._compiled
        pattern = "".join(_in_any_encoding(part) for part in _PART.findall(self._form))
        self._compiled = re.compile(pattern)
        return self._compiled

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Return the value around a literal."""
        whole = text.text
        start = position - self._before
        if len(self._form) >= _LEAST_ENCODED and start >= 0 and whole.startswith(self._form, start):
            return (Found(start, start + len(self._form), "known", self._value),)
        text.spend(20 + 2 * len(self._form))
        for start in self._starts(text, position):
            match = self._pattern().match(whole, start)
            if match is not None and match.end() > position and self._stands_alone(whole, *match.span()):
                return (Found(match.start(), match.end(), "known", self._value),)
        return ()

    def everywhere(self, text: Text) -> Iterator[Found]:
        """Yield each place of the value in a text, in any encoding."""
        for literal in self.literals:
            text.spend(len(text.text) // _CHARACTERS_FOUND)
            position = text.text.find(literal)
            while position >= 0:
                end = position + len(literal)
                for one in self(text, position):
                    yield one
                    end = max(end, one.end)
                position = text.text.find(literal, end)

    def _stands_alone(self, text: str, start: int, end: int) -> bool:
        """Return whether a short value is no part of a longer word; a long one may be."""
        if len(self._form) >= _LEAST_ENCODED:
            return True
        after = text[end : end + 1]
        return begins_word(text, start) and not (after.isascii() and after.isalnum())

    def _starts(self, text: Text, position: int) -> Iterator[int]:
        """Yield where a form may begin: the nearest places of its first character, in any encoding, before a literal."""
        if not self._before:
            yield position
            return
        whole = text.text
        least, most = self._before, self._before * _MOST_OF_CHARACTER
        first = _first_pattern(self._form[0])
        text.spend(most)
        window = whole[max(0, position - most) : position - least + 1]
        offset = position - least + 1 - len(window)
        for match in first.finditer(window):
            yield offset + match.start()
        if whole.startswith(self._form[0], position - least):
            yield position - least


@functools.lru_cache(maxsize=256)
def _first_pattern(character: str) -> re.Pattern[str]:
    return re.compile(_in_any_encoding(character))


def _common_forms(beginning: str) -> Iterator[str]:
    """Yield the beginning of a value as it is and in its usual encodings, for values without a part that all of them share."""
    with NO_FORK:
        import html  # noqa: PLC0415 - few values need it
        import json  # noqa: PLC0415 - for the same reason
        from urllib.parse import quote, quote_plus  # noqa: PLC0415 - for the same reason

    escaped = plain = beginning
    for _ in range(_LEVELS):
        for form in (escaped, plain):
            yield from (form, html.escape(form), form.replace("/", "\\/"))
            encoded = quote(form, safe="", errors="surrogatepass")
            yield from (encoded, _lower_percent(encoded), encoded.replace("%", "%25"))
            yield from (quote(form, errors="surrogatepass"), quote_plus(form, errors="surrogatepass"))
        escaped, plain = json.dumps(escaped)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]


def _lower_percent(encoded: str) -> str:
    return _PERCENT.sub(lambda match: match[0].lower(), encoded)


def _utf16(character: str) -> list[bytes]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [data[index : index + 2] for index in range(0, len(data), 2)]


@functools.lru_cache(maxsize=1024)
def _in_any_encoding(character: str) -> str:
    if character[0] == "\\":
        return rf"{_ESCAPE}{{{len(character)},{64 * len(character)}}}"
    if _PLAIN.fullmatch(character):
        return re.escape(character)
    percent = "".join(rf"%(?:25){{0,3}}(?i:{byte:02x})" for byte in character.encode("utf-8", "surrogatepass"))
    unicode_escape = "".join(rf"{_ESCAPE}{{1,64}}u(?i:{pair.hex()})" for pair in _utf16(character))
    entity = rf"&(?:amp;)?(?:#{ord(character)}|#[xX](?i:0*{ord(character):x}){_named(character)});"
    return rf"(?:{_ESCAPE}{{0,64}}(?:{re.escape(character)}|{percent}|{entity})|{unicode_escape}{_other(character)})"


def _named(character: str) -> str:
    return f"|{_NAMED_ENTITIES[character]}" if character in _NAMED_ENTITIES else ""


def _other(character: str) -> str:
    if character in _JSON_ESCAPES:
        return rf"|{_ESCAPE}{{1,64}}{_JSON_ESCAPES[character]}"
    return r"|\+" if character == " " else ""


def known_forms(value: str) -> list[KnownValue]:
    """Return what finds a value: as it is, with percent signs, escaped, and in base64 at each of three offsets."""
    found = [KnownValue(value)]
    data = value.encode("utf-8", "surrogatepass")
    if len(data) >= _LEAST_ENCODED:
        cores = dict.fromkeys(_base64_core(data, offset) for offset in range(3))
        found += [KnownValue(value, core) for core in cores]
        found += [KnownValue(value, core.translate(_URL_SAFE)) for core in cores if set(core) & set("+/")]
    return found


_URL_SAFE = str.maketrans("+/", "-_")


def _base64_core(data: bytes, offset: int) -> str:
    """Return the characters of base64 that depend on nothing but the data, when it begins at an offset of three bytes."""
    encoded = binascii.b2a_base64(b"\0" * offset + data, newline=False).decode("ascii").rstrip("=")
    bits_before, bits = 8 * offset, 8 * (offset + len(data))
    return encoded[-(-bits_before // 6) : bits // 6]
