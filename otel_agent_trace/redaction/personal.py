"""Find personal data: addresses of e-mail, telephone numbers, cards, bank accounts, IP addresses, US social security numbers.

What can be checked is checked: a card has a valid number of its issuer, an account the check digits and the length of its
country. What is longer than it should be, is no such number: one in ten times in nanoseconds has the check digit of a card.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator

import msgspec

from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.redaction.patterns import lazy_pattern


class PersonalRule(msgspec.Struct, frozen=True):
    """Describe personal data of one kind.

    Attributes:
        name: the name, as `Redactor(pii=)` and masks have it.
        pattern: a regular expression, searched for in the whole text.
        shape: what is found, in words.
        test: a function that returns whether a matched text is such a datum.
    """

    name: str
    pattern: str
    shape: str
    test: Callable[[re.Match[str]], bool]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each datum in a text."""
        for match in _compiled(self.pattern).finditer(text):
            if self.test(match):
                yield match.span()


@functools.lru_cache(maxsize=16)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# ── e-mail ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_EMAIL = (
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_](?:[A-Za-z0-9._+'-]|%2[Bb]){0,63}(?:@|%40)"
    r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.){1,8}(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59}|[^\W\d_]{2,24})(?![A-Za-z0-9_-])"
)

_AUTHORITY_BEFORE = lazy_pattern(r"://[^\s/@]{0,64}\Z")
_FILE_ENDINGS = frozenset(
    (
        *("png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "avif", "css", "js", "mjs", "ts", "tsx", "jsx"),
        *("py", "json", "md", "html", "yaml", "yml", "lock", "toml", "txt"),
    )
)
_SERVICE_USERS = frozenset({"git", "noreply", "no-reply", "hg", "svn"})


def _is_email(match: re.Match[str]) -> bool:
    user, _, domain = match[0].replace("%40", "@").partition("@")
    text, end = match.string, match.end()
    return (
        domain.rpartition(".")[2].lower() not in _FILE_ENDINGS
        and user.lower() not in _SERVICE_USERS
        and not (user[-1] == "." or ".." in user)
        and not (text[end : end + 1] == ":" and not text[end + 1 : end + 2].isspace())  # git@host:path
        and not _AUTHORITY_BEFORE.search(text[max(0, match.start() - 64) : match.start()])
    )


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


_PHONE = (
    r"(?<![\w.+/-])(?:"
    r"\+[1-9][0-9]{0,2}[ .\u00a0-]?(?:\(0?[0-9]{1,5}\)[ .-]?)?[0-9]{1,5}(?:[ ./\u00a0-]?[0-9]{1,5}){1,6}"
    r"|\([2-9][0-9]{2}\)[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|(?:1[ .-])?[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1[0-9]{4}"
    r"|(?:1 )?[2-9][0-9]{2} [2-9][0-9]{2}-[0-9]{4}"
    r"|00[1-9][0-9]{1,2}[ .-][0-9]{1,5}(?:[ ./-][0-9]{2,8}){1,4}"
    r"|\(?0[1-9][0-9]{0,4}\)?[ ./-][0-9]{2,8}(?:[ .-][0-9]{2,5}){0,4}"
    r"|%2B[1-9][0-9]{7,14}"
    r")(?![\w-]|[.,:][0-9])"
)
_LEAST_PHONE, _MOST_PHONE = 8, 15
_DATE = lazy_pattern(r"(?:0[1-9]|[12][0-9]|3[01])[./-](?:0[1-9]|1[0-2])[./-][0-9]{2,4}")


def _is_phone(match: re.Match[str]) -> bool:
    text = match[0]
    digits = _digits(text)
    if text.startswith("+") and digits.startswith("1"):
        return len(digits) == 11 and digits[1] in "23456789"
    least = 9 if text[0] in "(0" else _LEAST_PHONE
    return least <= len(digits) <= _MOST_PHONE and not _DATE.match(text) and len(set(digits)) > 2


_CARD = r"(?<![\w.+-])[2-6][0-9]{3}(?:[ -]?[0-9]{2,6}){2,4}(?![\w-]|\.[0-9])"
_ISSUERS = lazy_pattern(
    r"""(?x)
    4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})                                                              # Visa
    | (?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}             # Mastercard
    | 3[47][0-9]{13}                                                                                # American Express
    | 3(?:0[0-5]|[689][0-9])[0-9]{11} | 3(?:0[0-5]|[689][0-9])[0-9]{13}                             # Diners Club
    | (?:6011|64[4-9][0-9]|65[0-9]{2}|622[1-9])[0-9]{12,15}                                         # Discover
    | 35(?:2[89]|[3-8][0-9])[0-9]{12,15}                                                            # JCB
    | 62[0-9]{14,17} | 81[0-9]{14,17}                                                               # UnionPay
    | (?:5018|5020|5038|5893|6304|6759|676[123])[0-9]{8,15}                                         # Maestro
    """
)


def _is_card(match: re.Match[str]) -> bool:
    text = match[0]
    digits = _digits(text)
    separators = {character for character in text if not character.isdigit()}
    return len(separators) <= 1 and _ISSUERS.fullmatch(digits) is not None and _luhn(digits) and len(set(digits)) > 2


def _luhn(digits: str) -> bool:
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)) % 10 == 0


_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
    "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
    "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
    "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
_IBAN = r"(?<![A-Za-z0-9])(?i:[A-Z]{2})[0-9]{2}(?:[ \u00a0-]?(?i:[A-Z0-9]{4})){2,7}(?:[ \u00a0-]?(?i:[A-Z0-9]{1,3}))?(?![A-Za-z0-9])"


def _iban_end(text: str) -> bool:
    bare = re.sub(r"[ \u00a0-]", "", text).upper()
    if len(bare) != _IBAN_LENGTHS.get(bare[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in bare[4:] + bare[:4])) % 97 == 1


# ── IP addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────

_IP = (
    r"(?<![\w.:-])(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.[0-9A-Za-z])"
    r"|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![\w:])"
    r"|(?:[0-9A-Fa-f]{1,4}:){1,7}(?::[0-9A-Fa-f]{1,4}){0,7}:?(?![\w:])"
    r"|::(?:ffff:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})(?![\w:]))"
)
_VERSION_BEFORE = lazy_pattern(
    r"(?i)(?:version|ver|v|release|build|oid|chrome/|safari/|edg/|firefox/|opr/|==|>=|<=|~=)\s{0,2}[:=]?\s{0,2}\Z"
)


def _is_ip(match: re.Match[str]) -> bool:
    with NO_FORK:
        import ipaddress  # noqa: PLC0415 - few texts need it

    text = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.packed == b"\xff\xff\xff\xff":
        return False
    if address.version == 6:
        return len(text) > 6 and any(character.isdigit() for character in text)
    before = match.string[max(0, match.start() - 12) : match.start()]
    return not _VERSION_BEFORE.search(before) and not text.startswith(("0.", "255."))


# ── US social security numbers ───────────────────────────────────────────────────────────────────────────────────────

_SSN = r"(?<![\w.+/-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![\w-]|\.[0-9])"


PERSONAL_RULES: tuple[PersonalRule, ...] = (
    PersonalRule("email", _EMAIL, "an address of e-mail", _is_email),
    PersonalRule(
        "iban", _IBAN, "a bank account: check digits, and the length of its country", lambda match: _iban_end(match[0])
    ),
    PersonalRule("card", _CARD, "a payment card: check digit, prefix and length of an issuer", _is_card),
    PersonalRule("ssn", _SSN, "a social security number of the United States", lambda match: match[0] != "123-45-6789"),
    PersonalRule(
        "phone", _PHONE, "a telephone number: international, or as written in North America and Europe", _is_phone
    ),
    PersonalRule("ip", _IP, "an IP address, but no loopback, version or mask", _is_ip),
)
