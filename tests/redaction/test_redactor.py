"""A redactor takes any JSON value, changes nothing but secrets, never raises, and does what its arguments ask for."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.redaction import rules
from otel_agent_trace.redaction.masks import MASK, UNSCANNED
from otel_agent_trace.redaction.names import named_secret
from otel_agent_trace.redaction.redactor import Find, Redactor
from otel_agent_trace.redaction.rules import Rule
from otel_agent_trace.redaction.shapes import ShapeDetector
from tests.support.made_up_secrets import NAMES, TOKENS, by_form, by_name, by_shape
from tests.support.processes import ROOT, RunPython
from tests.support.waiting import DEADLOCK_S

GITHUB = TOKENS["ghp"]()
SECRETS = [*by_shape(), *by_name(), *by_form()]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
redact = Redactor()


@settings(deadline=None)
@given(JSON)
def test_any_json_value_is_taken_and_masked_once(value: Any) -> None:
    masked = redact(value)
    assert redact(masked) == masked
    if masked is not value:
        assert masked != value


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([one.value for one in SECRETS if isinstance(one.value, str)]),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_masking_a_part_of_a_text_twice_changes_nothing_more(text: str, start: int, length: int) -> None:
    masked = redact(text[start : start + length])
    assert redact(masked) == masked


def test_unchanged_parts_are_the_same_objects() -> None:
    value = {"clean": ["a", {"b": "c"}], "token": GITHUB, "also": ("x", "y")}
    masked = redact(value)
    assert masked["clean"] is value["clean"]
    assert masked["also"] is value["also"]
    assert list(masked) == list(value)
    assert isinstance(redact(("a", GITHUB)), tuple)


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, float("nan"), "", [], (), {}, {1: 2}, [[[]]], b"bytes", object()]
)
def test_what_has_no_text_is_the_same_object(value: Any) -> None:
    assert redact(value) is value


# ── masks ──


def test_equal_values_have_equal_masks_and_different_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "one")
    other = TOKENS["ghp"]()
    first, second, third = redact([GITHUB, {"a": f"see {GITHUB}"}, other])
    assert second["a"] == f"see {first}"
    assert third != first
    assert re.fullmatch(r"<secret:github:[0-9a-f]{4}>", first)
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "two")
    assert redact(GITHUB) != first


@pytest.mark.parametrize("labelled", SECRETS, ids=lambda labelled: labelled.kind)
def test_masks_quote_nothing_of_what_matched(labelled: Any) -> None:
    for mask in MASK.findall(json.dumps(redact(labelled.value))):
        assert len(mask) < 40
        assert not any(secret[:8] in mask for secret in labelled.secrets if len(secret) >= 8)


def test_the_same_value_has_the_same_mask_at_each_depth_of_json() -> None:
    value = {"password": 'pa"ss\\wo/rd 9'}
    masks = set()
    for _ in range(4):
        masks |= set(re.findall(r"<secret:password:[0-9a-f]{4}>", json.dumps(redact(value))))
        value = {"inner": json.dumps(value)}  # type: ignore[dict-item]
    assert len(masks) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"password": "hunter2", "a": 1}', '{"password": "#", "a": 1}'),
        ("login(user='eva', password='hunter2')", "login(user='eva', password='#')"),
        ("postgres://eva:hunter2x@db:5432/x?a=1", "postgres://eva:#@db:5432/x?a=1"),
        ("https://x/?api_key=aB3dE6gH9jK2&b=1#top", "https://x/?api_key=#&b=1#top"),
        ("Authorization: Bearer aB3dE6gH9jK2mN5p\r\nHost: x", "Authorization: Bearer #\r\nHost: x"),
        ("Cookie: a=b; sid=aB3dE6gH9jK2", "Cookie: a=b; sid=#"),
        ('"{\\"secret_key\\": \\"aB3dE6gH9jK2\\"}"', '"{\\"secret_key\\": \\"#\\"}"'),
        ('{"password": 12345678}', '{"password": "#"}'),
        ("export TOKEN_OF_X=1 API_KEY='aB3dE6gH9jK2'", "export TOKEN_OF_X=1 API_KEY='#'"),
    ],
)
def test_the_value_alone_is_replaced(text: str, expected: str) -> None:
    assert MASK.sub("#", redact(text)) == expected


def test_a_forged_mask_hides_nothing() -> None:
    assert "hunter2x" not in redact({"password": "<secret:password:0000>hunter2x"})["password"]
    assert GITHUB not in redact(f"<secret:{GITHUB}:0000>")


@pytest.mark.parametrize("digits", ["1234", "3f9a", "0000"])
def test_a_masked_key_is_no_name(digits: str) -> None:
    value = {f"<secret:password:{digits}>": "shop", "list": [f"-p<secret:password:{digits}>", "shop"]}
    assert redact(value) is value


# ── names ──


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_secret_has_a_literal(name: str) -> None:
    """Otherwise values under it would be passed over without a look."""
    assert named_secret(name) is not None
    assert redact._current().may_find_in({name: "x"})


@pytest.mark.parametrize("words", ["api", "access", "client", "webhook", "fernet", "integration"])
def test_keys_of_all_kinds_are_found_in_each_spelling(words: str) -> None:
    for name in (f"{words}_key", f"{words}Key", f"{words}-key", f"{words.upper()}_KEY", f"my{words.title()}Key"):
        assert redact({name: "aB3dE6gH9jK2mN5p"}) != {name: "aB3dE6gH9jK2mN5p"}, name


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "token_count",
        "password_hash",
        "cache_key",
        "token_endpoint",
        "has_secret",
        "eos_token",
        "primary_key",
    ]
    + [
        "session_id",
        "nextPageToken",
        "Idempotency-Key",
        "public_key",
        "tokenizer",
        "author",
        "keyboard",
        "cookie_policy",
    ],
)
def test_names_of_other_things_are_none(name: str) -> None:
    assert named_secret(name) is None


def test_a_text_is_masked_by_the_name_of_its_attribute() -> None:
    assert MASK.fullmatch(redact.masked_text("hunter2", "http.request.header.authorization"))
    assert redact.masked_text("Bearer", "http.request.header.authorization") == "Bearer"
    assert MASK.fullmatch(redact.masked_text("hunter2", "db.password"))
    assert redact.masked_text("hunter2", "gen_ai.usage.input_tokens") == "hunter2"
    assert redact.masked_text("hunter2") == "hunter2"


# ── arguments ──


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Redactor(pii=["emial"]), "emial"),
        (lambda: Redactor(remove=["gitbuh"]), "gitbuh"),
        (lambda: Redactor(add={"ticket": "("}), "ticket"),
        (lambda: Redactor(add={"Ticket No": "x"}), "Ticket No"),
        (lambda: Redactor(add={"ticket": 5}), "ticket"),  # type: ignore[dict-item]
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Redactor], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        make()


def test_patterns_can_be_added() -> None:
    with_tickets = Redactor(add={"ticket": r"ACME-\d+", "hex": re.compile("[0-9a-f]{4}")})
    masked = with_tickets({"a": "see ACME-123 now", "ACME-1": 1})
    assert re.fullmatch(r"see <secret:ticket:[0-9a-f]{4}> now", masked["a"])
    assert "ACME-1" not in masked
    assert with_tickets(masked) == masked
    assert with_tickets.may_change(["ACME-9"])
    assert Redactor(add={"whole": "^ACME$"}).may_change(["x", "ACME"])


def test_rules_can_be_removed() -> None:
    lax = Redactor(remove=["github", "password"])
    assert lax(GITHUB) == GITHUB
    assert lax({"password": "hunter2"}) == {"password": "hunter2"}
    assert lax({"api_key": TOKENS["groq"]()}) != {"api_key": ""}


class Point:
    name, value = "acme", "acme:rules"

    def __init__(self, found: object) -> None:
        self._found = found

    def load(self) -> object:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(*found: object) -> None:
        monkeypatch.setattr(metadata, "entry_points", lambda group: [Point(one) for one in found])
        rules.plugin_rules.cache_clear()

    yield give
    monkeypatch.undo()
    rules.plugin_rules.cache_clear()


ACME = Rule(name="acme", literals=("acme-",), pattern="acme-[0-9]{6}", source="Acme")


def test_other_packages_add_rules(plugins: Callable[..., None]) -> None:
    plugins(ACME, (ACME, ACME))
    assert re.fullmatch(r"use <secret:acme:[0-9a-f]{4}>", Redactor()("use acme-123456"))
    assert Redactor(remove=["acme"])("use acme-123456") == "use acme-123456"


def test_a_package_that_cannot_be_imported_is_left_out(
    plugins: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    plugins(ImportError("no acme"))
    with caplog.at_level(logging.WARNING):
        assert GITHUB not in Redactor()(GITHUB)
    assert "no acme" in caplog.text


@pytest.mark.parametrize("broken", [Rule(name="acme", literals=("acme-",), pattern="(")])
def test_a_rule_that_fails_drops_the_value(
    broken: Rule, plugins: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    plugins(broken)
    strict = Redactor()
    assert strict({"a": "acme-123456", "b": "clean", "c": GITHUB})["a"] == UNSCANNED
    assert strict({"b": "clean acme"}) == {"b": "clean acme"}
    assert strict.may_change(["acme-1"])
    assert list(strict.finds(["acme-1"])) == [Find("unscanned", "[0]")]
    assert "acme-" not in caplog.text


def test_an_exception_of_a_rule_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ShapeDetector, text: object, position: int) -> None:
        raise ZeroDivisionError(GITHUB)

    monkeypatch.setattr(ShapeDetector, "__call__", fail)
    broken = Redactor()
    assert broken(GITHUB) == UNSCANNED
    assert broken.masked_text(GITHUB, "x") == UNSCANNED
    assert broken({GITHUB: 1}) == {UNSCANNED: 1}


def test_a_very_deep_value_is_kept_or_dropped_but_never_raises() -> None:
    clean: Any = "clean"
    secret: Any = GITHUB
    for _ in range(100_000):
        clean, secret = [clean], {"a": secret}
    assert redact(clean) is clean
    masked = redact(secret)
    for _ in range(1_000):
        if not isinstance(masked, dict):
            break
        masked = masked["a"]
    assert masked == UNSCANNED


def test_bytes_are_masked_as_texts_and_stay_bytes() -> None:
    masked = redact(
        {"body": b"x " + GITHUB.encode(), "password": b"aB3dE6gH9jK2", "picture": b"\xff\xd8\xff" + bytes(range(256))}
    )
    assert masked["body"].startswith(b"x <secret:github:")
    assert masked["password"].startswith(b"<secret:password:")
    assert masked["picture"] == b"\xff\xd8\xff" + bytes(range(256))
    mixed = redact([b"\xff\xfe " + GITHUB.encode() + b" \x80"])[0]
    assert mixed.startswith(b"\xff\xfe <secret:github:")
    assert mixed.endswith(b"> \x80")


def test_copies_are_the_redactor_itself_and_elsewhere_it_knows_the_same(run_python: RunPython) -> None:
    made = Redactor(pii=["email"], add={"ticket": r"ACME-\d+"}, remove=["npm"])
    made.add_secret("correct horse battery")
    assert copy.deepcopy(made) is copy.copy(made) is pickle.loads(pickle.dumps(made)) is made
    program = f"""
        import pickle
        made = pickle.loads({pickle.dumps(made)!r})
        print(made("ACME-1 a@example.com correct horse battery {GITHUB}"))
        """
    shown = run_python(program).stdout
    assert re.sub("[0-9a-f]{4}>", ">", shown) == "<secret:ticket:> <email:> <secret:known:> <secret:github:>\n"


# ── finds ──


def test_finds_are_listed_with_their_places() -> None:
    value = {
        "arguments": {
            "headers": [["accept", "*/*"], ["x-api-key", "aB3dE6gH9jK2"]],
            "text": f"{GITHUB} and {TOKENS['npm']()}",
        },
        GITHUB: 1,
    }
    found = list(redact.finds(value))
    assert found == [
        Find("api-key", "arguments.headers[1][1]"),
        Find("github", "arguments.text"),
        Find("npm", "arguments.text"),
        Find("github", ""),
    ]
    assert list(redact.finds({"a": ["clean"]})) == []


@pytest.mark.parametrize("labelled", SECRETS, ids=lambda labelled: labelled.kind)
def test_what_is_masked_is_found_and_may_change(labelled: Any) -> None:
    assert list(redact.finds(labelled.value))
    if isinstance(labelled.value, str):
        assert redact.may_change(["clean", labelled.value])


def test_clean_texts_do_not_change() -> None:
    assert not redact.may_change([])
    assert not redact.may_change(["What is the weather like?", "tokens: 12", '{"city": "Lyon"}'])


# ── the import ──


def test_rules_and_the_engine_are_imported_with_the_first_value() -> None:
    program = (
        "import sys; from otel_agent_trace.redaction.redactor import Redactor; r = Redactor();"
        "print('otel_agent_trace.redaction.rules' in sys.modules, 'hyperscan' in sys.modules);"
        "r('a'); print('otel_agent_trace.redaction.rules' in sys.modules, 'opentelemetry' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=DEADLOCK_S, cwd=ROOT
    )
    assert result.stdout.split() == ["False", "False", "True", "False"]


def test_a_value_that_contains_itself_is_dropped() -> None:
    value: list[object] = ["x"]
    value += [value, {"again": value}]
    assert Redactor()(value) == "<secret:unscanned>"
