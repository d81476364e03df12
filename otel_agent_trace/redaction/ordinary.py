"""Distinguish secrets from what only stands in their places: placeholders, references, words, names of variables, numbers."""

from __future__ import annotations

import itertools
import re

from otel_agent_trace.redaction.masks import MASK
from otel_agent_trace.redaction.names import named_secret
from otel_agent_trace.redaction.patterns import lazy_pattern

_JUDGED = 512
"""Length of the head of a value that is judged; a placeholder is shorter."""

_PLACEHOLDER = lazy_pattern(
    r"""
    \$\{ | \$\( | \{\{ | \}\} | %\(\w+\)s | <% | \A\$\w+\Z | \A\$[A-Za-z_] | \A%\w+%\Z  # of shells, templates, format strings
    | \{[a-zA-Z_][\w.\[\]()'!:]{0,80}\} | \{\} | (?<!\w)%[sdr](?!\w)        # of f-strings and formats
    | <[A-Za-z][\w -]{0,60}> | &lt;                                          # of documents
    | \A<[^<>]{0,80}>\Z | \A\[[^\[\]]{0,80}\]\Z | \A\{[^{}]{0,80}\}\Z
    | \*\*\* | \.\.\. | … | ••• | ●●● | (?i:x{4,}) | (?i:redacted|placeholder|example|change_?me|replace_?me|dummy)
    | (?i:\A(?:your|insert|enter|paste)[-_ ]) | (?i:your_|your-) | (?:^|[-_])HERE\Z
    | (.)\1{9}
    """,
    re.VERBOSE,
)
_REFERENCE = lazy_pattern(
    r"""
    \A(?: [A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+                          # the name of an environment variable
    | (?:arn|env|file|vault|keychain|op|ssm|secret|secrets|ref|keyring|aws-sm|gcp-sm|akv|sm|doppler|awssm|projects)(?:[:/][\w./:#@ -]*)?
    | @(?:env:|Microsoft\.KeyVault)[\w.:]*                       # of MCP servers' configurations, and of Azure's
    | (?:~|\.{0,2})/[\w./-]*                                     # a path
    | [a-z][a-z0-9+.-]{1,20}://[^@\s]* )\Z
    """,
    re.VERBOSE,
)
_PROSE = lazy_pattern(
    r"(?i)(?<![^\W_])(?:a|an|and|are|at|be|been|by|can|cannot|characters?|do|does|enter|expired?|field|for|from|has|have|if|in|"
    r"incorrect|invalid|is|it|least|long|match|may|missing|must|my|no|not|of|on|or|please|required|reset|short|should|than|that|"
    r"the|their|this|to|too|use|used|user|using|was|weak|were|will|with|wrong|you|your|der|die|das|und|ist|nicht|el|la|le)(?![^\W_])"
)
_ORDINARY_WORDS = frozenset(
    (
        *("true", "false", "none", "null", "nil", "undefined", "yes", "no", "on", "off", "ok", "required", "optional"),
        *("string", "str", "text", "number", "int", "integer", "boolean", "bool", "bytes", "object", "array", "any"),
        *("hidden", "masked", "unknown", "missing", "invalid", "valid", "empty", "default", "enabled", "disabled"),
        *(
            "basic",
            "bearer",
            "digest",
            "include",
            "omit",
            "same-origin",
            "expired",
            "failed",
            "error",
            "weak",
            "strong",
        ),
        *(
            "set",
            "unset",
            "present",
            "absent",
            "provided",
            "configured",
            "pass",
            "user",
            "root",
            "admin",
            "guest",
            "test",
        ),
        *(
            "postgres",
            "changeit",
            "value",
            "xxx",
            "foo",
            "bar",
            "baz",
            "secretstr",
            "auto",
            "manual",
            "incorrect",
            "wrong",
        ),
        *("username", "oauth", "oauth2", "jwt", "key", "keys", "env", "environment", "file", "prompt", "ask", "n/a"),
    )
)

_NUMERIC = lazy_pattern(r"[+^~<>=v-]{0,2}[\d.,:/+ _TZ-]*[A-Za-z%]{0,3}\Z")
_VERSION = lazy_pattern(r"[\^~<>=v]{0,2}\d{1,4}(?:\.\d{1,6}){1,3}(?:[-.][a-z]{1,8}\.?\d{0,4})?\Z")
_CHUNK = lazy_pattern(r"[^\W_]+")
_SEGMENT = lazy_pattern(r"[^\W\d_]+|\d+")
_CAMEL = lazy_pattern(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])")
_WORDY_SYMBOLS = lazy_pattern(r"[\w\s.:/\[\]'\"=,-]*[!?]?\Z")
_SHORT_WORDS = frozenset(
    (
        *("id", "is", "to", "of", "by", "on", "in", "at", "as", "or", "no", "up", "my", "go", "do", "if"),
        *("it", "we", "db", "os", "io", "ai", "ui", "ip", "vm", "pk", "fn", "js", "py", "ok", "re", "un"),
        "de",
    )
)
_VOWEL = lazy_pattern(r"(?i)[aeiouyäöüéèáíóú]|[^\x00-\x7f]")
_FOLLOWERS = dict(
    row.split(":")
    for row in [
        "a:abcdfgiklmnprstuvwxyz",
        "b:abceilorsuy",
        "c:acehiklmoprstuy",
        "d:abdefgilmorstu",
        "e:abcdefghilmnopqrstuvwxy",
        "f:aefilorstuy",
        "g:aeghilmnorsu",
        "h:aeiorstuy",
        "i:abcdefglmnoprstvxz",
        "j:eou",
        "k:aeis",
        "l:acdeilopstuvy",
        "m:abeilmopsuy",
        "n:abcdefgiklmnoprstuvy",
        "o:abcdefgiklmnoprstuvwx",
        "p:acdehiloprstuy",
        "q:lu",
        "r:abcdefgiklmnoprstuvy",
        "s:acdefhiklmnopqrstuwy",
        "t:acdefhilmnoprstuy",
        "u:abcdefgilmnoprst",
        "v:aeio",
        "w:aehinors",
        "x:ceipt",
        "y:eilmnpst",
        "z:aeiouz",
    ]
)
"""Letters by those that follow them in words of English and in names of programs, as counted in the packages of PyPI."""
_NOUN = lazy_pattern(r"(?i)password|passwd|token|secret|key|auth|credential")
_VARIABLE = lazy_pattern(r"[&*%@$!?]{0,2}[A-Za-z_]\w{0,63}(?:(?:\.|->|::)\w{1,64}){0,8}\Z")
_LEAST_KEY = 16
_LONGEST_NOUN = 11
_AROUND = " .,;:!?()[]{}'\"`*_<>@#&%$"
_ALGORITHM = lazy_pattern(
    r"(?i)(?:base|sha|md|utf|hs|rs|es|ps|aes|oauth|v|x|http|argon|pkcs|ed|p|s|ec|h|id|ipv|log|py|python)-?\d"
)


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for a secret: a template, stars, an example, or a mask."""
    return _PLACEHOLDER.search(value[:_JUDGED]) is not None


def is_reference(value: str) -> bool:
    """Return whether a value names the place of a secret: a variable, a path, an address, of which parameters and passwords are masked by themselves."""
    return len(value) <= _JUDGED and _REFERENCE.match(value) is not None


_TOKEN = lazy_pattern(r"(?:[A-Za-z0-9._~+/=:@%|!*$^&-]|\?(?!\.)|(?<!\.)#)+\Z")


def is_token(value: str) -> bool:
    """Return whether a value has the characters of keys and tokens, which programs make: no blanks, brackets or quotes.

    Code is none, as ``config?.key`` and ``this.#key``.
    """
    return _TOKEN.match(value) is not None


def is_ordinary(value: str) -> bool:
    """Return whether a value that stands alone under the name of a secret is none."""
    bare = value.strip()
    lower = bare.lower()
    if len(bare) < 3 or lower in _ORDINARY_WORDS or is_placeholder(bare) or is_reference(bare):
        return True
    if len(bare) <= _JUDGED and " " in bare and _PROSE.search(bare):
        return True
    if _VERSION.match(bare):
        return True
    return bare.startswith("-----BEGIN ") or (is_wordy(bare) and named_secret(bare) is not None)


def is_wordy(value: str) -> bool:
    """Return whether a value is made of words, as identifiers, versions and paths are, not of random characters."""
    if not _WORDY_SYMBOLS.match(value):
        return False
    return all(map(_is_wordy_chunk, _CHUNK.findall(value)))


def _is_wordy_chunk(chunk: str) -> bool:
    """Return whether letters and digits are a word with a number, as ``base64``, ``x25519`` and ``Ed448PrivateKey`` are."""
    first, *others = _SEGMENT.findall(chunk)
    if len(others) > 3 or (first[0].isdigit() and (others or len(first) > 4)):
        return False
    if not (first[0].isdigit() or _is_word(first)):
        return False
    return all(
        len(segment) <= (5 if len(first) <= 2 else 4)
        if segment[0].isdigit()
        else len(segment) >= 4 and all(map(_is_fragment, _CAMEL.findall(segment)))
        for segment in others
    )


_LONGEST_RANDOM_WORD = 16
"""Letters up to which capitals in a random text may look like those of an identifier."""


def _is_word(letters: str) -> bool:
    if len(letters) > 16 and letters.isupper():
        return False
    fragments = _CAMEL.findall(letters)
    odd = sum(len(fragment) for fragment in fragments if not _is_fragment(fragment))
    if len(fragments) == 1 or len(letters) < 5:
        return _is_pronounceable(letters)
    least = 4 if len(letters) > _LONGEST_RANDOM_WORD else 3
    return 3 * odd <= len(letters) and least * len(fragments) <= len(letters)


def _is_fragment(letters: str) -> bool:
    """Return whether letters may be a part of a name like ``userId``; random letters change their case more often."""
    if letters.isupper():
        return len(letters) <= 6 and _is_pronounceable(letters)
    if len(letters) <= 2:
        return letters.lower() in _SHORT_WORDS
    return _VOWEL.search(letters) is not None and _is_pronounceable(letters)


def _is_pronounceable(letters: str) -> bool:
    """Return whether letters follow each other as in words: one pair may be a rare one, and one more in six letters."""
    if len(letters) < 5 or not letters.isascii():
        return True
    lower = letters.lower()
    rare = sum([second not in _FOLLOWERS[first] for first, second in itertools.pairwise(lower)])
    return rare <= 1 + (len(letters) - 1) // 6


def looks_random(value: str, at_least: int = 6) -> bool:
    """Return whether a value of so many characters can only be a secret, were it not for digests and ids."""
    value = without_masks(value)
    head = value[:_JUDGED].strip(_AROUND)
    return not (
        len(value) < at_least
        or is_wordy(head)
        or is_placeholder(value)
        or is_reference(head)
        or is_variable(head)
        or _NUMERIC.match(head)
        or sum(map(str.isalnum, head)) < 4  # rulers and arrows have fewer
    )


def is_simple_password(value: str) -> bool:
    """Return whether a value has letters and digits, as people's passwords have, and is no algorithm, class or variable."""
    return (
        len(value) >= 6
        and value.isalnum()
        and not (value.isalpha() or value.isdigit())
        and not _ALGORITHM.match(value)
        and not _NOUN.search(value)
        and not is_placeholder(value)
    )


def is_password(value: str) -> bool:
    """Return whether a value that stands where a command expects a password is one."""
    return looks_random(value) or is_simple_password(value)


def _may_end_by_chance(value: str) -> bool:
    """Return whether a value is a key that ends like a short name of a secret, as ``…3pw`` does."""
    is_key = len(value) >= _LEAST_KEY and value.isalnum() and not value.isalpha()
    return is_key and _NOUN.search(value, len(value) - _LONGEST_NOUN) is None


def is_variable(value: str) -> bool:
    """Return whether a value is the name of a variable that holds a secret, as in ``token=self.access_token``."""
    if _VARIABLE.match(value) is None or _may_end_by_chance(value):
        return False
    return named_secret(value) is not None


def without_masks(value: str) -> str:
    """Return what remains of a value when its masks are left out."""
    return MASK.sub("", value) if "<" in value else value


_PEM_LINE = lazy_pattern(r"-----(?:BEGIN|END) [A-Z0-9 ]{1,60}-----|\\\\?[nr]")


def is_nothing_but_masks(value: str) -> bool:
    """Return whether so little remains beside the masks of a value, or beside the lines around a key, that it is no secret."""
    return sum(character.isalnum() for character in _PEM_LINE.sub("", value)[:_JUDGED]) < 6
