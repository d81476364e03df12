"""Tell secrets from what only stands in their places: placeholders, references, words, names of variables, numbers."""

from __future__ import annotations

import re

from otel_agent_trace.redaction.masks import MASK
from otel_agent_trace.redaction.names import named_secret

_JUDGED = 512
"""Length of the head of a value that is judged; a placeholder is shorter."""

_PLACEHOLDER = re.compile(
    r"""
    \$\{ | \$\( | \{\{ | \}\} | %\(\w+\)s | <% | \A\$\w+\Z | \A\$[A-Za-z_] | \A%\w+%\Z  # of shells, templates, format strings
    | \{[a-zA-Z_][\w.\[\]()'!:]*\}                                           # of f-strings
    | \A<[^<>]{0,80}>\Z | \A\[[^\[\]]{0,80}\]\Z | \A\{[^{}]{0,80}\}\Z
    | \*\*\* | \.\.\. | … | ••• | ●●● | (?i:x{4,}) | (?i:redacted|placeholder|example|change_?me|replace_?me|dummy)
    | (?i:\A(?:your|insert|enter|paste)[-_ ]) | (?i:your_|your-) | (?:^|[-_])HERE\Z
    | 0123456789 | 1234567890 | (?i:abcdefghij) | (.)\1{9}
    """,
    re.VERBOSE,
)
_REFERENCE = re.compile(
    r"""
    \A(?: [A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+                          # the name of an environment variable
    | (?:arn|env|file|vault|keychain|op|ssm|secret|secrets|ref|keyring|aws-sm|gcp-sm|akv|sm|doppler|awssm|projects):?/{0,2}[\w./:#@ -]*
    | (?:~|\.{0,2})/[\w./-]*                                     # a path
    | https?://[^@?\s]* )\Z
    """,
    re.VERBOSE,
)
_PROSE = re.compile(
    r"(?i)(?<![^\W_])(?:a|an|and|are|at|be|been|by|can|cannot|characters?|do|does|enter|expired?|field|for|from|has|have|if|in|"
    r"incorrect|invalid|is|it|least|long|match|may|missing|must|my|no|not|of|on|or|please|required|reset|short|should|than|that|"
    r"the|their|this|to|too|use|used|user|using|was|weak|were|will|with|wrong|you|your|der|die|das|und|ist|nicht|el|la|le)(?![^\W_])"
)
_ORDINARY_WORDS = frozenset(
    (
        *("true", "false", "none", "null", "nil", "undefined", "yes", "no", "on", "off", "ok", "required", "optional"),
        *("string", "str", "text", "number", "int", "integer", "boolean", "bool", "bytes", "object", "array", "any"),
        *("hidden", "masked", "unknown", "missing", "invalid", "valid", "empty", "default", "enabled", "disabled"),
        *("basic", "bearer", "digest", "include", "omit", "same-origin", "expired", "failed", "error", "weak", "strong"),
        *("set", "unset", "present", "absent", "provided", "configured", "pass", "user", "root", "admin", "guest", "test"),
        *("postgres", "changeit", "value", "xxx", "foo", "bar", "baz", "secretstr", "auto", "manual", "incorrect", "wrong"),
        *("username", "oauth", "oauth2", "jwt", "key", "keys", "env", "environment", "file", "prompt", "ask", "n/a"),
    )
)
_NUMERIC = re.compile(r"[+-]?[\d.,:/+ _TZ-]*[A-Za-z%]{0,3}\Z")
_CHUNK = re.compile(r"[^\W_]+")
_WORDY_CHUNK = re.compile(r"([^\W\d_]+)(\d{0,4})\Z|\d{1,4}\Z")
_CAMEL = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])")
_WORDY_SYMBOLS = re.compile(r"[\w\s.:/\[\]'\"=,-]*[!?]?\Z")
_UNPRONOUNCEABLE = re.compile(r"[bcdfghjklmnpqrstvwxz]{6}")
_ALGORITHM = re.compile(r"(?i)(?:base|sha|md|utf|hs|rs|es|ps|aes|oauth|v|x|http|argon|pkcs|ed|p|s|ec|h|id|ipv|log|py|python)-?\d")


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for a secret: a template, stars, an example, or a mask."""
    return _PLACEHOLDER.search(value[:_JUDGED]) is not None


def is_reference(value: str) -> bool:
    """Return whether a value names the place of a secret: a variable, a path, an address without parameters."""
    return len(value) <= _JUDGED and _REFERENCE.match(value) is not None


def is_ordinary(value: str) -> bool:
    """Return whether a value that stands alone under the name of a secret is none."""
    bare = value.strip()
    lower = bare.lower()
    if len(bare) < 3 or lower in _ORDINARY_WORDS or is_placeholder(bare) or is_reference(bare):
        return True
    if len(bare) <= _JUDGED and " " in bare and _PROSE.search(bare):
        return True
    return is_wordy(bare) and named_secret(bare) is not None


def is_wordy(value: str) -> bool:
    """Return whether a value is made of words, as identifiers, versions and paths are, not of random characters."""
    if not _WORDY_SYMBOLS.match(value):
        return False
    for chunk in _CHUNK.findall(value):
        match = _WORDY_CHUNK.match(chunk)
        if match is None or (match[1] and not _is_word(match[1])):
            return False
    return True


def _is_word(letters: str) -> bool:
    if letters.islower():
        return _UNPRONOUNCEABLE.search(letters) is None
    if letters.isupper():
        return len(letters) <= 16  # noqa: PLR2004 - longer than words are
    words = _CAMEL.findall(letters)
    return len(letters) >= 2.7 * len(words)  # noqa: PLR2004 - random letters change their case more often


def looks_random(value: str, at_least: int = 6) -> bool:
    """Return whether a value of so many characters can only be a secret, were it not for digests and ids."""
    head = value[:_JUDGED]
    return (
        len(value) >= at_least
        and not is_placeholder(head)
        and not is_reference(head)
        and not _NUMERIC.match(head)
        and not is_wordy(head)
        and sum(character.isalnum() for character in head) >= 4  # noqa: PLR2004 - rulers and arrows have fewer
    )


def is_simple_password(value: str) -> bool:
    """Return whether a value is a word and some digits, as people's passwords are, and no algorithm or version."""
    return (
        len(value) >= 6  # noqa: PLR2004 - shorter ones are names
        and not value[0].isdigit()
        and value[-1].isdigit()
        and value.isalnum()
        and not _ALGORITHM.match(value)
        and named_secret(value.rstrip("0123456789")) is None
    )


def without_masks(value: str) -> str:
    """Return what remains of a value when its masks are left out."""
    return MASK.sub("", value) if "<" in value else value


_PEM_LINE = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]{1,60}-----|\\\\?[nr]")


def is_nothing_but_masks(value: str) -> bool:
    """Return whether so little remains beside the masks of a value, or beside the lines around a key, that it is no secret."""
    return sum(character.isalnum() for character in _PEM_LINE.sub("", value)[:_JUDGED]) < 6  # noqa: PLR2004 - as elsewhere
