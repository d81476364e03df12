"""Personal data is masked on request: what can be checked is checked, and what only looks like it is left."""

from __future__ import annotations

import random
import re

import pytest

from otel_agent_trace.redaction.personal import _IBAN_LENGTHS, _luhn
from otel_agent_trace.redaction.redactor import Redactor

_random = random.Random(3)
KINDS = ["email", "phone", "card", "iban", "ip", "ssn"]
redact = Redactor(pii=KINDS)


def card(prefix: str, length: int, is_valid: bool = True) -> str:
    while True:
        number = prefix + "".join(_random.choices("0123456789", k=length - len(prefix)))
        if _luhn(number) is is_valid:
            return number


def iban(country: str, is_valid: bool = True) -> str:
    bank = "ABCD" if country in {"GB", "NL", "IE", "LV"} else "5001"
    account = bank + "".join(_random.choices("0123456789", k=_IBAN_LENGTHS[country] - 8))
    check = 98 - int("".join(str(int(character, 36)) for character in f"{account}{country}00")) % 97
    return f"{country}{check if is_valid else (check + 5) % 90 + 3:02}{account}"


def in_fours(text: str) -> str:
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


PERSONAL = [
    *(
        ("email", text)
        for text in (
            *(
                "eva@example.com",
                "Eva Roth <eva.roth@sub.example.co.uk>",
                "mailto:eva@example.org",
                "(tom@firma.de).",
                "user='a.b+c@x.io'",
            ),
            *(
                "eva%40example.com&x",
                "jürgen@example.de",
                "To: EVA@EXAMPLE.COM;",
                "メールはeva@example.comです",
                "o'brien@example.ie",
            ),
            *('{"email": "eva_99@mail.example.museum"}', "https://x.io/?email=eva@example.com&y=1"),
        )
    ),
    *(
        ("phone", text)
        for text in (
            *(
                "+1 212 555 0187",
                "+1-212-555-0187",
                "+12125550187",
                "(646) 555-0142",
                "646-555-0142",
                "646.555.0142",
                "+49 89 1234567",
            ),
            *(
                "+49 (0)89 123456-7",
                "+4915112345678",
                "+44 20 7946 0958",
                "020 7946 0958",
                "+33 1 23 45 67 89",
                "01 23 45 67 89",
            ),
            *(
                "+81 3-1234-5678",
                "+86 138 0013 8000",
                "+91 98765 43210",
                "tel:+14155550123",
                "0171 1234567",
                "089/1234567",
                "+7 (495) 123-45-67",
            ),
        )
    ),
    *(
        ("card", card(prefix, length))
        for prefix, length in (("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16), ("3528", 16))
    ),
    *(("card", f"pay with {in_fours(card(prefix, 16))}, thanks") for prefix in ("4", "55", "62")),
    *(("iban", f"IBAN: {iban(country)}") for country in ("DE", "GB", "FR", "ES", "NO", "MT", "BR")),
    *(("iban", f"to {in_fours(iban(country))}.") for country in ("DE", "NL", "AT", "BE", "CH", "SA")),
    *(
        ("ip", text)
        for text in (
            *(
                "198.51.100.7",
                "client 203.0.113.9:443 closed",
                "[2001:db8::42]:443",
                "fe80::1ff:fe23:4567:890a",
                "::ffff:203.0.113.9",
            ),
            *("from 192.168.1.20/24", "http://203.0.113.50/x", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        )
    ),
    *(("ssn", text) for text in ("219-09-9999", "ssn 219 09 9998", '{"ssn": "301-22-4411"}')),
]
ORDINARY = [
    *("order 4024371672334598", f"id {card('4', 16, is_valid=False)}", "span cbd47072424fd6d0", "1795859000123456", "0.4111111111111111"),
    *(f"t={1795859000000000000 + number * 7919 * 1000003}" for number in range(30)),
    *("2026-11-28T09:00:00Z", "28.11.2026", "28/11/2026 09:00", "build 20261128.1 took 123456 ms", "1,234,567.89", "range 100-200-3000"),
    *("v1.2.3-4", "12:34:56.789", "lat 48.137154, lon 11.576124", "ISBN 978-3-16-148410-0", "1 234 567 890", "version 10.15.7.1"),
    *("numpy 2.3.1.dev0", "1.2.3.4.5", "OID 1.3.6.1.4.1.311", "Chrome/126.0.6478.127", "127.0.0.1:8000", "0.0.0.0", "255.255.255.0", "::1"),
    *("::", "std::vector<int>", "a::b::c", "std::map<a::b>", "00:1A:2B:3C:4D:5E", "@tool decorates; x@2x.png", "git@github.com:a/b.git"),
    *("user@localhost", "pkg@1.2.3", "@types/node@20.1.0", "https://medium.com/@eva", iban("DE", is_valid=False), "DE12 3456"),
    *("US12345678901234567890", "666-45-1234", "000-12-3456", "900-12-3456", "123-00-4567", "123-456-789", "0x219-09-9999"),
    *("550e8400-e29b-41d4-a716-446655440000", "tokens: 1024 2048 4096", "1700000000-1700003600", "Python 3.11.7", "req-123-456-7890-abc"),
    *("2026-11-28T10:00:00+01:00", "arn:aws:iam::123456789012:role/x", "+10%", "512 512 1024", "postgres://app:secret@db.example.com/x"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), PERSONAL, ids=[kind for kind, _ in PERSONAL])
def test_personal_data_is_masked_on_request(kind: str, text: str) -> None:
    masked = redact({"a": [text]})["a"][0]
    assert re.search(rf"<{kind}:[0-9a-f]{{4}}>", masked)
    assert redact(masked) == masked
    assert Redactor(pii=[kind])(text) == redact(text)
    others = Redactor(pii=[other for other in KINDS if other != kind])
    assert f"<{kind}:" not in others(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert redact(text) == text


def test_nothing_personal_is_masked_unless_asked_for() -> None:
    assert Redactor()("eva@example.com, +1 212 555 0187") == "eva@example.com, +1 212 555 0187"


def test_equal_data_has_equal_masks() -> None:
    masked = redact({"a": "eva@example.org", "b": "to eva@example.org", "c": "tom@example.org"})
    assert masked["b"] == f"to {masked['a']}"
    assert masked["c"] != masked["a"]


def test_keys_and_secrets_beside_personal_data() -> None:
    masked = redact({"eva@example.org": "password=aB3dE6gH9jK2 of eva@example.org"})
    ((key, text),) = masked.items()
    assert re.fullmatch(r"<email:[0-9a-f]{4}>", key)
    assert text.endswith(f" of {key}")
    assert "aB3dE6gH9jK2" not in text
