"""Find the secrets that names announce in a text: in JSON, code, commands, headers, addresses, forms, and in prose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from otel_agent_trace.redaction import credentials
from otel_agent_trace.redaction.masks import MASK
from otel_agent_trace.redaction.names import ENDINGS, KEYS_OF, ORDINARY_TOKENS, NamedSecret, named_secret
from otel_agent_trace.redaction.ordinary import (
    is_nothing_but_masks,
    is_ordinary,
    is_simple_password,
    is_token,
    is_wordy,
    looks_random,
    without_masks,
)
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.quoting import QUOTE, end_of_quoted
from otel_agent_trace.redaction.texts import JUDGED, Found, Text

_BETWEEN = (
    *("is ", "was ", "are ", "to ", "be ", "lautet ", "ist ", "est ", "es ", "é ", "is:", "set to", "changed to"),
    *("for ", "of ", "provided:", "given:", "supplied:", "specified:", "changed from", "value:", "reg_"),
)
"""Words between a name and its value in prose."""

NAME_LITERALS: tuple[str, ...] = (
    *("password", "passwd", "passphrase", "passcode", "passwort", "kennwort", "contraseñ", "contrasen", "senha", "пароль"),
    *("парол", "密码", "密碼", "パスワード", "비밀번호", "mot de passe", "hasło", "mdp", "pwd", "_pass", "pass=", "pass =", "pass:", 'pass"', "pass'", "pass\\"),
    *("_pw", "pw=", "pw:", "secret", "_key", "-key", "api key", "access key", "private key"),
    *(f"{word}key" for word in KEYS_OF),
    *("authorization", "cookie", "credential", "_auth", "jwt", "bearer", 'auth"', "auth'", "auth=", "auth:", "auth\\", "creds", "_pat", 'pat"', "pat'", "pat=", "pat:", "pat\\", "mnemonic", "psk", "storepass", "keypass", "--auth"),
    *(f"token{following}" for following in (*"\"'`\\&%=:]*!-_.,<>\t\n\r\x1b\uff1aは是为為0123456789", *ENDINGS)),
    *(f"token {following}" for following in (*"\"'`\\&%=:]*!-,<>|([ \t\u2192\u2502\u2503", "value=", "content=", *_BETWEEN)),
    *(f"{preceding}token " for preceding in "abcdefghijklmnopqrstuvwxyz0123456789_-."),
    *('otp"', "otp'", "otp=", "otp:", "otp\\", "cvv", "cvc", 'pin"', "pin'", "pin=", "pin:", "pin\\", "seed phrase", "seed_phrase", "recovery phrase"),
)  # fmt: skip
"""Texts, in lower case, of which every name of a secret has one.

The word ``token`` alone stands in so many texts about language models that it is looked at only with what may follow it
before a secret: no other word of prose.
"""

PARAMETER_LITERALS = ("key=", "sig=", "code=", "sid=", "signature=", "session=", "sessionid=", "appid=", "ticket=")
"""Parameters of addresses that hold secrets there and nowhere else; `auth` and `token` are names everywhere."""

_COLOR_END = lazy_pattern(r"[0-9;]{0,12}m")
_PHRASE = lazy_pattern(
    r"(?i:mot de passe|seed phrase|recovery phrase|密码|密碼|パスワード|비밀번호|парол[ья]?"
    r"|(?:api|access|secret|private|signing|encryption|account|master|client) (?:key|secret)(?![A-Za-z]))"
)
_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
_LONGEST_NAME = 64
_HEX = lazy_pattern(r"[0-9A-Fa-f]{2}")
_NAME_END = lazy_pattern(r"[A-Za-z0-9_.\u0430-\u044fñçłéè-]{0,64}")
_ANSI = r"(?:(?:\x1b|\\{1,8}(?:x1b|u001[bB]|033|e))\[[0-9;]{0,12}m){0,4}"
_AFTER = lazy_pattern(
    rf"""
    {_ANSI} (?P<closed>{QUOTE})? {_ANSI}
    (?:
      (?P<assigned> \]{{0,2}} \s{{0,8}} (?: \*\*\s{{0,2}})?
        (?: :\s{{0,4}}(?:str|string|String|SecretStr|Text|&str|Optional\[\w{{1,20}}\]|str\ \|\ None|string\ \|\ null)\s{{0,4}}= | :=|=>|->|<-|={{1,3}}|!=|:|\uff1a|%3[dDaA] )
        (?:\*\*)? {_ANSI} (?P<folded>[ ]{{1,4}}[>|][+-]?[ ]{{0,4}}(?:\n|\\{{1,64}}n)[ ]{{1,40}})? (?P<gap>(?:\s|\\{{1,64}}n|\\{{1,64}}t){{0,40}}) {_ANSI} )
    | (?P<listed> (?:\]\\{{0,64}}["'])? \s{{0,8}} ,\s{{0,40}}(?:\\{{1,64}}n\s{{0,40}})? (?: [bBrRuUfF]? {QUOTE} (?i:value|val|v|content|string_?value) {QUOTE} \s{{0,8}}:\s{{0,8}} (?: \{{\s{{0,8}} {QUOTE} (?i:string_?value) {QUOTE} \s{{0,8}}:\s{{0,8}} )? )? )
    | (?P<attribute> (?:\s{{1,8}}[A-Za-z-]{{1,20}}=\\{{0,64}}["'][^"'<>\\]{{0,80}}\\{{0,64}}["']){{0,3}} \s{{1,8}} (?i:value|content)= )
    | (?P<item> (?:\s|\\{{1,64}}n){{1,40}} value:[ ]{{1,4}} | [ ]{{1,8}}REG_(?:EXPAND_)?SZ[ ]{{1,8}} | \s{{1,4}} \{{ [^{{}}]{{0,300}}? \bdefault \s{{0,20}} = \s{{0,4}} )
    | (?P<typed> (?:\]\\{{0,64}}["'])? \)? \.(?:fill|type|setValue|send_keys|sendKeys|pressSequentially|press_sequentially)\( )
    | (?P<form> (?:;[^\r\n\\]{{0,40}})? (?:\r?\n|\\{{1,64}}r\\{{1,64}}n|\\{{1,64}}n){{2}} )
    | (?P<tag> (?:>|&gt;) (?:<!\[CDATA\[)? )
    | (?P<sibling> <\\{{0,64}}/[A-Za-z:]{{1,20}}>(?:\s|\\{{1,64}}[nrt]){{0,40}}<(?:string|value|val)> )
    | (?P<cell> [ ]{{1,20}}[|\u2502\u2503][ ]{{1,20}} )
    | (?P<prose> \s{{1,4}} (?:(?:is|was|are|to|be|lautet|ist|est|es|é)(?:\s(?:now|set\ to|still|just))?:?|set\ to|changed\ to|changed\sfrom|(?:provided|given|supplied|specified):|[-\u2013\u2014\u2192]|(?:for|of)\s[^\s:=,]{{1,60}}(?:\s?[:=]|\s(?:is|was):?))\s{{1,4}} | \s{{0,2}} (?:は|是|为|為|\ は) \s{{0,2}} | \s\((?=[\w+=.~-]{{16,512}}\)) )
    | (?P<space> [ \t]{{1,8}} )
    )
    (?: (?P<bracket> [\[(]{{1,2}}\s{{0,40}} )? (?:(?:Some|SecretStr|SecretString|Secret|(?:Secret)?String::(?:from|new))\()? [bBrRuUfF]{{0,2}} (?P<open>{QUOTE}) )?
    """,
    re.VERBOSE,
)
_PERCENT_AMPERSAND = lazy_pattern(r"%(?:25){0,3}26")
_NEXT_ITEM = lazy_pattern(rf"\s{{0,40}},\s{{0,40}}[bBuU]?(?P<open>{QUOTE})")
_BARE = lazy_pattern(r"[^\x1b\s\"'`<>,;&|()\[\]{}\\]{1,4096}")
_IN_PROSE = lazy_pattern(r"[^\x1b\s\"'`<>\\]{1,512}")
_RANDOM_SOURCE = (
    r"(?=[A-Za-z_+/=-]{0,64}[0-9])(?=[0-9_+/=-]{0,64}[A-Za-z])[^\x1b\s\"'`<>,;&|()\[\]{}\\:.]{10,512}(?![(\[.:])"
)
_RANDOM = lazy_pattern(_RANDOM_SOURCE)
_LONG_RANDOM = lazy_pattern(rf"(?=[^\s]{{20}}){_RANDOM_SOURCE}")
_VARIABLE = lazy_pattern(r"[^\x1b\s\"'`\\]{1,4096}")
_CODE = lazy_pattern(r"(?:[A-Za-z0-9_.~/-]|%2[BbFf]|%3[Dd]){16,256}\Z")
"""Match a code of OAuth; parameters of that name may also hold source code."""
_PARAMETER = lazy_pattern(r"[^\x1b\s\"'`<>&#\\;,)\]}]{1,8192}")
_CREDENTIAL = lazy_pattern(r"(?:[A-Za-z][A-Za-z0-9_-]{1,30}(?: {1,4}|%20))?[^\s\"'`<>,;(){}\[\]\\]{1,8192}")
_COOKIES = lazy_pattern(r"[^\r\n\"'`\\]{1,16384}")
_ELEMENT = lazy_pattern(r"[^\s<>\"'`\\&]{1,4096}(?=\s{0,8}(?:\]\]>\s{0,8})?(?:<|&lt;)\\{0,64}/)")
_NUMBER = lazy_pattern(r"-?[0-9]{1,40}(?![\w.])")
_AFTER_CLOSING = lazy_pattern(r"[\s),;+.:\]}]|\\{1,64}[nrt]|\Z")
_IDENTIFIER = lazy_pattern(r"[A-Za-z_$][\w$]*(?:\.[\w$]+)*\Z")
_WORD_BEFORE = lazy_pattern(r"([A-Za-z]+)[ ]\Z")
_UPPER_NAME = lazy_pattern(r"[A-Z][A-Z0-9_]*\Z")
_BEFORE_PARAMETER = lazy_pattern(r"(?:[?&;]|amp;|%26|%3[Ff]|\\u0026)\Z")
_CJK = lazy_pattern(r"[\u2e80-\uffef]|&(?:quot|apos|lt|gt|#39);")
"""Letters of languages that put no blanks between words, and quotes of HTML."""
_TRAILING = ".,;:!?)]}*_"
_VARIABLE_START = lazy_pattern(r"(?:\A|[\s;\"'`(]|\\[nt]|-e|-D|--env|m)[ =]?\Z")


def masked_part(secret: NamedSecret, value: str, *, is_alone: bool) -> tuple[int, int] | None:
    """Return which part of a value is the secret that its name announces, as start and end; None if it is none.

    Args:
        secret: what the name announces.
        value: the value under it.
        is_alone: whether the value is that of a key or in quotes, where a simple word may be a password.
    """
    if secret.rule == "authorization":
        return credentials.part_of_authorization(value)
    rest = without_masks(value)
    if rest is not value and is_nothing_but_masks(rest):
        return None
    if secret.rule == "passcode":
        return (0, len(value)) if value.isdigit() and 3 <= len(value) <= 10 else None
    if secret.rule != "password" and not is_token(rest):
        return None
    if is_alone and secret.is_certain and not is_ordinary(rest):
        is_secret = secret.rule == "password" or not is_wordy(rest) or is_simple_password(rest)
        return (0, len(value)) if is_secret else None
    if secret.rule == "token" and _WITH_NUMBER.match(rest) and is_simple_password(rest):
        return 0, len(value)
    at_least = 12 if secret.rule == "token" else 6
    if looks_random(rest, at_least) or (secret.rule == "password" and is_simple_password(rest)):
        return 0, len(value)
    if secret.rule == "password" and secret.is_certain and rest.isdigit() and len(rest) >= 6:
        return 0, len(value)
    return None


_WITH_NUMBER = lazy_pattern(r"(?=(?:\w*?\d){3})\w{8,64}\Z")
"""Match what is no word of a language model: it has three digits."""

ATTACHED_OPTION = NamedSecret("attached-option")
"""Represent an option with its value in one argument, as in ``-pSECRET``."""


def found_under_name(value: str, secret: NamedSecret, is_alone: bool = True) -> list[Found]:
    """Return what a name finds in the whole value under it."""
    if secret.rule == "cookie-value":
        return [Found(0, len(value), "cookie", value)]
    if secret.rule == "private-key":
        return [Found(0, len(value), "private-key", value)]
    if secret is ATTACHED_OPTION:
        return [Found(2, len(value), "password", value[2:])]
    if secret.rule == "user-option":
        part = credentials.part_of_user_option(value)
        return [Found(*part, "password", value[part[0] : part[1]])] if part else []
    return list(_found(value, 0, len(value), secret, is_alone=is_alone))


def of_second(secret: NamedSecret) -> NamedSecret:
    """Return what is announced of the second item of a list: ``auth`` announces a user and a password."""
    return _SECOND_OF_AUTH if secret.rule == "token" and not secret.is_certain else secret


_SECOND_OF_AUTH = NamedSecret("password", is_certain=False)


class NameDetector:
    """Read names and what stands under them."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Yield what the name at a literal announces."""
        if position < text.seen:
            return ()
        start, end = _name_around(text.text, position)
        start = max(start, text.done)
        text.spend(end - start + 20)
        text.seen = end
        whole = text.text
        if start and whole[start - 1] == "<" and (mask := MASK.match(whole, start - 1)):
            text.seen = mask.end()
            return ()
        name = whole[start:end]
        secret = named_secret(name)
        if secret and secret.rule == "token" and (word := _WORD_BEFORE.search(whole[max(0, start - 16) : start])):
            secret = None if word[1].lower() in ORDINARY_TOKENS else secret
        after = _AFTER.match(whole, end) if secret and end < len(whole) else None
        if secret is None or after is None:
            return ()
        text.spend(after.end() - end + JUDGED)
        found = _quoted if after["open"] and not (after["tag"] or after["cell"]) else _bare
        return found(text, _Name(start, name, secret), after)


class _Name(NamedTuple):
    """Hold a name of a secret, and where in a text it starts."""

    start: int
    name: str
    secret: NamedSecret


def _quoted(text: Text, name: _Name, after: re.Match[str]) -> Iterator[Found]:
    """Yield what is in the quotes after a name."""
    is_sql = bool(after["space"]) and name.name == "PASSWORD"
    is_alone = is_sql or bool(
        (after["assigned"] and not after["assigned"].lstrip().startswith(("==", "!=")))
        or after["attribute"]
        or after["item"]
        or after["typed"]
        or (after["listed"] and ":" in after["listed"])
    )
    if not (is_alone or after["listed"] or after["prose"] or after["space"]):
        return
    if after["listed"] and not is_alone and not _is_pair(text.text, name, after):
        return
    if after["bracket"] and not after["assigned"]:
        return
    if not after["closed"] and _AFTER_CLOSING.match(text.text, after.end()):
        return  # the quote ends a text that ends with the name
    opened: re.Match[str] | None = after
    secret = name.secret
    while opened is not None:
        start, quote = opened.end(), opened["open"]
        end = end_of_quoted(text.text, start, quote)
        text.spend(end - start + JUDGED)
        yield from _found(text.text, start, end, secret, is_alone=is_alone)
        secret = of_second(name.secret)
        opened = _NEXT_ITEM.match(text.text, end + len(quote)) if after["bracket"] else None


_PAIR_START = lazy_pattern(
    r"[\[(]\s{0,8}[bBuU]?(?:\\{0,64}[\"']|&quot;|%22)(?:[\w.-]{0,20}[#.]|[\w.]{0,20}\[[\w-]{1,20}=\\{0,64}[\"']?)?\Z"
)


def _is_pair(text: str, name: _Name, after: re.Match[str]) -> bool:
    """Return whether a name and what follows after a comma are an option and its value, or the two items of one bracket."""
    if not after["closed"]:
        return False
    if name.name.startswith("-"):
        return True
    before = text[max(0, name.start - 80) : name.start]
    return _PAIR_START.search(before) is not None


def _name_around(text: str, position: int) -> tuple[int, int]:
    before = text[max(0, position - _LONGEST_NAME) : position]
    start = position - len(before) + len(before.rstrip(_NAME_CHARACTERS))
    if text[start - 1 : start] == "[" and (color := _COLOR_END.match(text, start, position)):
        start = color.end()
    if start < position and text[start] in "nrt" and text[start - 1 : start] == "\\":
        start += 1  # of an escape
    if start + 2 < position and text[start - 1 : start] == "%" and _HEX.match(text, start):
        start += 2
    match = _NAME_END.match(text, position)
    end = match.end() if match else position
    if (end == position or text[end : end + 1] == " ") and (phrase := _PHRASE.match(text, position)):
        match = _NAME_END.match(text, phrase.end())
        end = match.end() if match else phrase.end()
    return start, end


def _place(text: str, name: _Name, after: re.Match[str]) -> re.Pattern[str] | None:
    """Return what a value without quotes looks like where it stands; None where there can be none."""
    start = name.start
    before = text[max(0, start - 6) : start]
    if after["assigned"] == ":" and before.endswith((":", "//")):
        return None  # a part of a longer name, as of a resource, or the user of an address
    if after["folded"]:
        return _BARE
    if after["sibling"]:
        return _ELEMENT
    if after["tag"]:
        return _ELEMENT if after["closed"] or before.endswith(("<", "&lt;")) else None
    if after["prose"]:
        return _IN_PROSE if name.secret.rule == "password" else _BARE
    if after["form"]:
        return _VARIABLE if after["closed"] else None
    if after["space"]:
        if name.name.startswith("-") or "login " in text[max(0, start - 80) : start]:
            return _VARIABLE
        return _RANDOM if name.secret.is_certain else _LONG_RANDOM
    if (
        after["listed"]
        or after["attribute"]
        or after["typed"]
        or (after["gap"] and not after["gap"].isspace())
        or "\n" in (after["gap"] or "")
    ):
        return None
    if after["assigned"] and "=" in after["assigned"] and not after["gap"]:
        if _BEFORE_PARAMETER.search(before):
            return _PARAMETER
        if name.name.startswith("-") or (_UPPER_NAME.match(name.name) and _VARIABLE_START.search(before)):
            return _VARIABLE
    return _BARE


def _bare(text: Text, name: _Name, after: re.Match[str]) -> Iterator[Found]:
    """Yield what stands after a name without quotes."""
    whole, secret = text.text, name.secret
    place = _place(whole, name, after)
    match = place.match(whole, after.end()) if place else None
    if match is None:
        return
    start, value = match.start(), match[0]
    text.spend(2 * len(value))
    if secret.rule in {"authorization", "cookie"}:
        text.spend(JUDGED)
        run = (_CREDENTIAL if secret.rule == "authorization" else _COOKIES).match(whole, start)
        if not (after["space"] or after["prose"]) and run and whole[run.end() : run.end() + 1] not in {"(", "["}:
            text.spend((8 if secret.rule == "cookie" else 2) * len(run[0]))
            yield from _found(whole, start, run.end(), secret, is_alone=True)
        return
    end = start + len(value)
    if place is _BARE and whole[end : end + 1] in {"(", "["} and _IDENTIFIER.match(value):
        return  # a call, or an item of a list
    if after["closed"] and (number := _NUMBER.match(whole, start)):
        if (
            secret.is_certain
            and secret.rule in {"password", "passcode"}
            and len(number[0]) >= (3 if secret.rule == "passcode" else 4)
        ):
            quote = after["closed"] if after["closed"][-1] in "\"'" else ""
            yield Found(start, number.end(), secret.rule, number[0], quote)
        return
    if after["assigned"] and after["assigned"].startswith("%"):
        value = _PERCENT_AMPERSAND.split(value, maxsplit=1)[0]
    if after["prose"] or place is _BARE:
        value = _CJK.split(value, maxsplit=1)[0]
        value = value.rstrip(_TRAILING) if not value.endswith("=") else value
    yield from _found(whole, start, start + len(value), secret, is_alone=False)


def _found(text: str, start: int, end: int, secret: NamedSecret, *, is_alone: bool) -> Iterator[Found]:
    value = text[start:end]
    if secret.rule == "cookie":
        yield from credentials.cookies(value, start)
        return
    part = masked_part(secret, value, is_alone=is_alone)
    if part is not None:
        yield Found(start + part[0], start + part[1], secret.rule, value[part[0] : part[1]])


_FIELD = lazy_pattern(r"(?:\n|\\{1,64}n)([\w.-]{1,100})(?:\n|\\{1,64}n)[^\n]{0,300}\Z")
_INPUT = lazy_pattern(rf"input_value=(?P<open>{QUOTE})")
INPUT_LITERALS = ("input_value=",)
_BEFORE_INPUT = 400


class InvalidInputDetector:
    """Read the inputs that validation errors of pydantic quote, below the names of their fields."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Yield the input that follows a literal, where the field has the name of a secret."""
        whole = text.text
        text.spend(_BEFORE_INPUT)
        field = _FIELD.search(whole, max(0, position - _BEFORE_INPUT), position)
        match = _INPUT.match(whole, position)
        secret = named_secret(field[1]) if field and match else None
        if match is None or secret is None:
            return
        end = end_of_quoted(whole, match.end(), match["open"])
        text.spend(end - match.end() + JUDGED)
        yield from _found(whole, match.end(), end, secret, is_alone=True)


class ParameterDetector:
    """Read the parameters of addresses that hold secrets there only, as ``sig`` of a signed address."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Yield the value of the parameter at a literal, where it is one and looks random."""
        whole = text.text
        start, _ = _name_around(whole, position)
        text.spend(20)
        if whole[start - 1 : start] == ";" or not _BEFORE_PARAMETER.search(whole[max(0, start - 6) : start]):
            return
        equals = whole.find("=", position)
        match = _PARAMETER.match(whole, equals + 1)
        if match is None:
            return
        text.spend(len(match[0]) + JUDGED)
        name = whole[start:equals].lower()
        if named_secret(name) is None and looks_random(match[0], 16) and ("code" not in name or _CODE.match(match[0])):
            rule = "signed-url" if name.endswith(("sig", "signature")) else "url-parameter"
            yield Found(match.start(), match.end(), rule, match[0])
