"""Texts that are made to be slow take time in proportion to their length; what would take longer is dropped unread."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import FrameType

import pytest

from otel_agent_trace.redaction import engine
from otel_agent_trace.redaction.redactor import Redactor

TRAPS = {
    **{
        text: text
        for text in (
            "sk-",
            "sk-a",
            "password=",
            "password: ",
            "password='",
            '"password":"',
            "token ",
            "eyJ",
            ":AA",
            "@",
        )
    },
    **{
        text: text
        for text in (
            "://a:",
            "http://a:b@",
            "\\",
            "cookie: a=",
            '{"httpOnly":',
            "authorization: ",
            "Authorization: Bearer ",
        )
    },
    **{
        text: text
        for text in (
            "Q~",
            "JQQJ99",
            "AKIA",
            "mysql -",
            "mysql ",
            "-u a",
            "<password>",
            "<secret:x",
            "?key=a",
            "secret_",
        )
    },
    **{
        text: text
        for text in (
            '["token",',
            "%22password%22%3A%22",
            "&quot;password&quot;:&quot;",
            ".atlasv1.",
            "-----BEGIN PRIVATE KEY-----",
        )
    },
    **{
        text: text
        for text in (
            "1",
            "4111 1111 ",
            "+1 212 555 ",
            "a@b.",
            "1.1.1.",
            "a:",
            "DE89 3704 ",
            "1-",
            "a.",
            "p@",
            "ss-word",
            "\0token\0",
        )
    },
    "escaped JSON": '\\"password\\":\\"',
    "placeholders that do not end": '"password":"${\\"',
    "keys without end": "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n",
    "ambiguous characters of keys": "-----BEGIN PRIVATE KEY-----" + "+/" * 500,
    "long headers of tokens": "eyJ" + "a" * 3_000,
    "backslashes": "password" + "\\" * 60,
    "blanks": "password" + " " * 50,
    "cookies": "cookie: sid=abcdefgh123; ",
    "no Unicode": "\ud800token",
    "other letters": "password=\U0001f600",
    "colours": "\x1b[31mtoken\x1b[0m",
    "masks": "<secret:password:3f9a>",
    "wrapped": "sk-" + "ant-" + "a1B" * 12 + "\n",
    "words that begin like tokens": "glagent-_",
    "names without values": 'pin";.',
    "arguments of commands": "unzip -a ",
    "a password for standard input": "echo a|",
    "lines of keys with numbers": "-----BEGIN PRIVATE KEY-----\n 1\t" + "A" * 20,
    "errors that quote inputs": "\npassword\n input_value='",
    "JSON with many secrets": '{"password":{"value":"a1b2C3"},"x":[',
    "one long word": "a" * 1_000,
}
LENGTH = 60_000
LIMIT_S = 10.0
"""Time that is allowed for 250,000 characters: on a machine that does nothing else it is a hundredth of it."""


def redactor() -> Redactor:
    redact = Redactor(pii=["email", "phone", "card", "iban", "ip", "ssn"])
    redact.add_secret("p@ss-word!w0rd#x")
    redact.add_secret("\\" * 12 + "abcd" + "\\" * 4)
    return redact


def calls_of(call: Callable[[], object]) -> int:
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count


def text_of(trap: str, length: int) -> str:
    return (trap * (length // len(trap) + 1))[:length]


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
@pytest.mark.parametrize("is_standard", [False, True])
def test_twice_the_length_is_twice_the_work(trap: str, is_standard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_standard:
        monkeypatch.setattr(engine, "_hyperscan", lambda exact, folded: None)
    redact = redactor()
    short, long = text_of(trap, LENGTH), text_of(trap, 2 * LENGTH)
    redact(short)  # compiles patterns
    assert calls_of(lambda: redact(long)) <= 2.5 * calls_of(lambda: redact(short)) + 2_000


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_a_hostile_text_is_masked_soon(trap: str) -> None:
    redact = redactor()
    text = text_of(trap, 250_000)
    redact(text[:1_000])
    before = time.process_time()
    masked = redact(text)
    assert time.process_time() - before < LIMIT_S
    assert redact(masked) == masked


@pytest.mark.parametrize("names", [("hasło", "password"), ("identified by", "cookie")])
def test_json_in_json_is_masked_soon(names: tuple[str, str]) -> None:
    redact = redactor()
    text = "x" * 50
    for depth in range(12):
        text = json.dumps({names[depth % 2]: text, names[(depth + 1) % 2]: text[:50]})
    redact(text[:1_000])
    before = time.process_time()
    redact(text)
    redact(json.dumps({f"passwort{number}": {"value": f"a1b2C3-{number}"} for number in range(5_000)}))
    assert time.process_time() - before < LIMIT_S
