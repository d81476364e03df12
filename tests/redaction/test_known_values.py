"""Values that are known are found wherever they stand, in any usual encoding."""

from __future__ import annotations

import base64
import html
import json
import os
import urllib.parse
from collections.abc import Iterator

import pytest

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.redaction.redactor import Redactor

VALUES = [
    "Zx9-kq.Plain~77",
    'a"b\\c/d e&f<g>é日!x',
    "d#qjw4!bC!S4",
    "p@!w$%^&*(",
    "line1\nline2pass",
    "日本語パスワード",
    "\\\\server\\share",
    "tok+en/with=stuff==",
    "pa s s w",
    "smile\U0001f600pass",
]


def encoded(value: str) -> Iterator[tuple[str, str]]:
    """Ways of writing a value, and the texts."""
    text = f"x {value} y"
    yield "as it is", text
    yield "repr", repr(text)
    for ascii_only in (True, False):
        inner = text
        for level in range(1, 6):
            inner = json.dumps(inner, ensure_ascii=ascii_only)
            yield f"JSON of {level} levels, ASCII: {ascii_only}", inner
    yield "JSON with escaped slashes", json.dumps(text).replace("/", "\\/")
    yield "percent", urllib.parse.quote(text, safe="")
    yield "percent, slashes kept", urllib.parse.quote(text)
    yield "percent, plus for blanks", urllib.parse.quote_plus(text)
    yield "percent twice", urllib.parse.quote(urllib.parse.quote(text, safe=""), safe="")
    yield "JSON, percent", urllib.parse.quote(json.dumps({"a": value}))
    yield "HTML", html.escape(text)
    yield "JSON, HTML", html.escape(json.dumps(text))
    for before in ("", "a", "ab", "user:"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode((before + value + "tail").encode()).decode()
            yield f"{encode.__name__} after {before!r}", form
            yield f"{encode.__name__} after {before!r}, percent", urllib.parse.quote(form, safe="")


@pytest.mark.parametrize("value", VALUES)
def test_a_registered_value_is_found_in_any_encoding(value: str) -> None:
    redact = Redactor()
    redact.add_secret(value)
    found = {way: redact(text) for way, text in encoded(value)}
    assert [way for way, masked in found.items() if masked.count("<secret:known:") != 1] == []
    assert [way for way, masked in found.items() if redact(masked) != masked] == []
    masks = {masked[masked.index("<secret:known:") :][:19] for masked in found.values()}
    assert len(masks) == 1


def test_what_stands_around_stays() -> None:
    redact = Redactor()
    redact.add_secret('a"b\\c and so on')
    inner = json.loads(redact(json.dumps({"k": 'x a"b\\c and so on y'})))["k"]
    assert inner.startswith("x <secret:known:")
    assert inner.endswith("> y")


def test_values_of_the_environment_under_telling_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "quite-Unusual-77")
    monkeypatch.setenv("ACME_URL", "postgres://app:dbPassw0rd9@db/x")
    monkeypatch.setenv("ACME_GREETING", "hello-World-2026")
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    monkeypatch.setenv("ACME_SECRET", "s3cret")
    monkeypatch.setenv("SSH_KEY_FILE", "/home/eva/.ssh/id_ed25519")
    redact = Redactor()
    for value in ("quite-Unusual-77", "dbPassw0rd9"):
        assert value not in redact(f"it is {value} here")
        assert value not in str(redact({value: [value]}))
    for ordinary in ("hello-World-2026", "postgres is up", "s3cret", "/home/eva/.ssh/id_ed25519"):
        assert redact(ordinary) is ordinary


def test_a_variable_that_is_set_later_is_known_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    redact = Redactor()
    text = "it is later-Known-88 here"
    assert redact(text) is text
    before = redact.revision
    monkeypatch.setenv("ACME_TOKEN", "later-Known-88")
    assert "later-Known-88" not in redact(text)
    assert redact.revision > before


def test_a_variable_that_is_changed_is_known_with_its_new_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "first-Known-88")
    monkeypatch.setenv("ACME_COLOUR", "blue")
    redact = Redactor()
    assert "first-Known-88" not in redact("it is first-Known-88 here")
    before = redact.revision
    monkeypatch.setenv("ACME_COLOUR", "red")
    assert redact("it is red") == "it is red"
    assert redact.revision == before
    monkeypatch.setenv("ACME_TOKEN", "rotated-Known-99")
    assert "rotated-Known-99" not in redact("it is rotated-Known-99 here")
    assert redact.revision == before + 1


def test_an_environment_that_is_a_mapping_of_its_own_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"ACME_TOKEN": "patched-Known-77"})
    redact = Redactor()
    assert "patched-Known-77" not in redact("it is patched-Known-77 here")


def test_a_value_that_is_registered_later_is_known_from_then_on() -> None:
    redact = Redactor()
    assert not redact.may_change(["my horse is Bucephalus"])
    before = redact.revision
    redact.add_secret("Bucephalus")
    assert redact.revision == before + 1
    redact.add_secret("Bucephalus")
    assert redact.revision == before + 1
    assert redact.may_change(["my horse is Bucephalus"])


def test_a_short_value_is_no_part_of_longer_words() -> None:
    redact = Redactor()
    redact.add_secret("1234")
    assert redact("x1234y 12345") == "x1234y 12345"
    assert "1234" not in redact("a 1234 b").replace("<secret:known:", "")[:6]


@pytest.mark.parametrize("value", ["", "abc", "   a  ", None, 12345])
def test_too_short_a_text_is_no_secret(value: object) -> None:
    with pytest.raises(ConfigurationError, match="at least 4"):
        Redactor().add_secret(value)  # type: ignore[arg-type]


def test_known_values_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "quite-Unusual-77")
    assert Redactor(remove=["known"])("it is quite-Unusual-77") == "it is quite-Unusual-77"


def test_a_secret_of_backslashes_takes_no_time() -> None:
    redact = Redactor()
    redact.add_secret("\\" * 20 + "abcd" + "\\" * 9)
    text = ("\\" * 300 + "abcd") * 200
    redact(text)
