"""Find the secrets in values of a known form: authorization headers, cookies, addresses with passwords, private keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otel_agent_trace.redaction.masks import MASK
from otel_agent_trace.redaction.ordinary import (
    is_nothing_but_masks,
    is_password,
    is_placeholder,
    is_reference,
    is_token,
    is_wordy,
    looks_random,
    without_masks,
)
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.quoting import QUOTE, end_of_quoted
from otel_agent_trace.redaction.texts import JUDGED, Found, Text

# ── authorization headers ────────────────────────────────────────────────────────────────────────────────────────────

_SCHEME = lazy_pattern(r"\s{0,8}[A-Za-z][A-Za-z0-9_-]{1,30}(?:\s{1,8}|%20)(?=\S)")
_WITH_PARAMETERS = lazy_pattern(
    r"(?i)\s{0,8}(?:digest|oauth|hawk|signature|aws4-hmac-\w{1,20}|goog4-\w{1,20}|sharedkey|mac|hoba)\b[^{}]*\Z"
)


def part_of_authorization(value: str) -> tuple[int, int] | None:
    """Return where the credentials of an authorization header are: after the scheme; None if there are none."""
    scheme = _SCHEME.match(value)
    start = scheme.end() if scheme else 0
    end = len(value.rstrip())
    rest = without_masks(value[start:end])
    if rest != value[start:end] and is_nothing_but_masks(rest):
        return None
    if not (is_token(rest) or _WITH_PARAMETERS.match(value)):
        return None
    if is_password(rest) or (scheme is not None and rest.isdigit() and len(rest) > 5):
        return start, end
    return None


# ── cookies ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_COOKIE = lazy_pattern(r"([^\s=;,\"'{}\[\]:]{1,128})=([^;\s\"'\\]{1,8192})")
_COOKIE_ATTRIBUTES = frozenset({"path", "expires", "domain", "max-age", "samesite", "version", "comment", "priority"})
_SESSION = lazy_pattern(r"(?i)sess|sid\b|auth|token|csrf|xsrf|jwt|login|remember|secret|credential")


def cookies(value: str, start: int = 0) -> Iterator[Found]:
    """Yield the values of cookies in a header ``Cookie`` or ``Set-Cookie`` that stands at a position."""
    for match in _COOKIE.finditer(value):
        if match[1].lower() not in _COOKIE_ATTRIBUTES and is_cookie_secret(match[1], match[2]):
            yield Found(start + match.start(2), start + match.end(2), "cookie", match[2])


def is_cookie_secret(name: str, value: str) -> bool:
    """Return whether the value of a cookie is one that lets its holder in."""
    rest = without_masks(value)
    return looks_random(rest, 8) or (
        len(rest) >= 6 and bool(_SESSION.search(name)) and not is_placeholder(rest) and not is_wordy(rest)
    )


_COOKIE_NAME = lazy_pattern(rf"{QUOTE}name{QUOTE}\s{{0,8}}:\s{{0,8}}(?P<open>{QUOTE})")
_COOKIE_VALUE = lazy_pattern(rf"{QUOTE}value{QUOTE}\s{{0,8}}:\s{{0,8}}(?P<open>{QUOTE})")
_COOKIE_OBJECT = 1500
"""Characters around ``httpOnly`` in which the name and the value of the cookie are looked for."""


class CookieObjectDetector:
    """Read cookies that stand in JSON as objects, as browsers that agents drive return them."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Yield the value of a cookie of which one of the attributes stands at a position."""
        whole = text.text
        first = max(whole.rfind("{", max(0, position - _COOKIE_OBJECT), position), 0)
        last = whole.find("}", position, position + _COOKIE_OBJECT)
        text.spend(_COOKIE_OBJECT // 8 + JUDGED)
        if last < 0:
            return
        name = _COOKIE_NAME.search(whole, first, last)
        value = _COOKIE_VALUE.search(whole, first, last)
        if name is None or value is None:
            return
        text.spend(last - first)
        start, end = value.end(), end_of_quoted(whole, value.end(), value["open"])
        if end <= last and is_cookie_secret(
            whole[name.end() : name.end() + 64].partition(name["open"])[0], whole[start:end]
        ):
            yield Found(start, end, "cookie", whole[start:end])


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────

_LONGEST_USERINFO = 512
_SCHEME_END = lazy_pattern(r"(?::|%3[Aa])(?:\\{0,64}/|%2[Ff]){2}")
_NO_USERINFO = lazy_pattern(r"[\s\"'`\[\](){}|^]|<(?!secret:)|&lt")
_COMMON_PASSWORDS = frozenset(
    (
        *("user", "username", "pass", "password", "passwd", "pwd", "secret", "changeme", "changeit"),
        *("postgres", "root", "admin", "guest", "test", "token", "example", "tiger", "masterkey", "default"),
        *("mysql", "redis", "rabbitmq", "mongo", "oauth2", "x-oauth-basic", "x-access-token", "apikey"),
        *("api_key", "key", "foo", "bar"),
    )
)


class UserinfoDetector:
    """Read addresses with a user name and a password before an ``@``."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Return the password, or the token that stands for both, before an ``@``."""
        whole = text.text
        before = whole[max(0, position - _LONGEST_USERINFO) : position]
        text.spend(20)
        if ":" not in before and "%3" not in before:
            return ()
        schemes = list(_SCHEME_END.finditer(before))
        if not schemes:
            return ()
        userinfo = before[schemes[-1].end() :]
        text.spend(len(before) + JUDGED)
        if _NO_USERINFO.search(userinfo):
            return ()
        return _userinfo(userinfo, position - len(userinfo))


def _halves(value: str, mark: str) -> tuple[str, str, str]:
    """Return what is before and after the first mark that is not one of a mask, as `str.partition` does."""
    visible = MASK.sub(lambda mask: "\0" * len(mask[0]), value) if "<" in value else value
    position = visible.find(mark)
    if position < 0:
        return value, "", ""
    return value[:position], mark, value[position + len(mark) :]


def _userinfo(userinfo: str, start: int) -> Iterator[Found]:
    user, colon, password = _halves(userinfo, ":")
    if not colon:
        user, colon, password = _halves(userinfo, "%3A")
    if any(mark in user for mark in "/?#"):
        return
    if not colon:
        if looks_random(without_masks(user), 16):
            yield Found(start, start + len(user), "url-credentials", user)
        return
    rest = without_masks(password)
    if "/" in rest and (rest.partition("/")[0].isdigit() or not looks_random(rest, 6)):
        return  # a port and a path
    if (
        rest
        and rest.lower() not in _COMMON_PASSWORDS
        and rest != user
        and not is_placeholder(rest)
        and not is_reference(rest)
    ):
        first = start + len(user) + len(colon)
        yield Found(first, first + len(password), "url-credentials", password)


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_USER_OPTION = lazy_pattern(r"(?:-u|--user|--proxy-user|--auth|-U)(?: {1,4}|=)?[\"']?(?=([^\s\"'\\]{3,640}))")


class UserOptionDetector:
    """Read the option ``-u user:password`` of commands."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Yield the password of a user option."""
        match = _USER_OPTION.match(text.text, position)
        part = part_of_user_option(match[1]) if match and not text.text[position - 1 : position].isalnum() else None
        if match and part:
            start, end = match.start(1) + part[0], match.start(1) + part[1]
            yield Found(start, end, "password", text.text[start:end])


def part_of_user_option(value: str) -> tuple[int, int] | None:
    """Return where the password is in the value of an option ``-u user:password``; None if it holds ids or names."""
    user, colon, password = _halves(value, ":")
    rest = without_masks(password)
    if not (user and colon) or "/" in user:
        return None
    is_simple = rest.isalnum() and rest[-1:].isdigit() and not rest.isdigit() and len(rest) >= 6
    return (len(user) + 1, len(value)) if is_simple or looks_random(rest, 6) else None


# ── private keys ─────────────────────────────────────────────────────────────────────────────────────────────────────

_BEGIN = lazy_pattern(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BETWEEN = r"(?:\\{1,64}[nrt]|[\s\"'+,>#|*]|\\\r?\n|[0-9]{1,6}(?:\t|\\{1,64}t|\u2192|: ?| ?\| ?)){0,64}"
"""Match what stands between two lines of a key: ends of lines, quotes, and the numbers that tools put before lines."""
_HEADERS = lazy_pattern(
    rf"(?:{_BETWEEN}(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset)[:=][^\r\n\\]{{0,200}}){{0,6}}"
)
_LINE = lazy_pattern(rf"{_BETWEEN}(?:\\?/|[A-Za-z0-9+]){{16,}}={{0,2}}")
_LAST_LINE = lazy_pattern(
    rf"{_BETWEEN}((?:\\?/|[A-Za-z0-9+]){{1,15}}={{0,2}}(?:{_BETWEEN}=[A-Za-z0-9+/]{{4}})?)(?={_BETWEEN}(?:-----|\Z|[\"']|[^\sA-Za-z]))"
)


_WHOLE_LINE = lazy_pattern(r"\s{0,64}[A-Za-z0-9+/]{1,76}={0,2}\s{0,8}\Z")


def is_begin_of_key(line: str) -> bool:
    """Return whether a line is the first one of a private key."""
    return line.startswith("-----BEGIN ") and _BEGIN.match(line) is not None


def is_line_of_key(line: str) -> bool:
    """Return whether a line may be one of the body of a private key."""
    return len(line) <= 150 and _WHOLE_LINE.match(line) is not None


class PrivateKeyDetector:
    """Read private keys in PEM, with or without their last line, escaped, quoted or indented."""

    def __call__(self, text: Text, position: int) -> Iterable[Found]:
        """Yield the body of a private key."""
        whole = text.text
        begin = _BEGIN.match(whole, position)
        if begin is None:
            return
        headers = _HEADERS.match(whole, begin.end())
        start = end = headers.end() if headers else begin.end()
        while line := _LINE.match(whole, end):
            end = line.end()
        if end == start:
            return
        if last := _LAST_LINE.match(whole, end):
            end = last.end(1)
        text.spend(end - start)
        yield Found(start, end, "private-key", whole[start:end])
