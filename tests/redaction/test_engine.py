"""Both ways of finding literals return the same hits, in threads and forked processes too; whatever fails is a hit."""

from __future__ import annotations

import importlib.util
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace.redaction import engine
from otel_agent_trace.redaction.engine import Hit, LiteralScanner
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.redaction.texts import UnscannableError
from tests.support.made_up_secrets import by_form, by_name, by_shape

EXACT, FOLDED = ["sk-", "sk-ant-", "é", "@", "ghp_", "日"], ["password", "api_key", "ключ", "k"]
PIECES = [*EXACT, *FOLDED, "PassWord", "API_KEY", "\u212a", "K", "İ", "\ud800", "\0", "é", " ", "x", "\U0001f600", "\n"]


needs_hyperscan = pytest.mark.skipif(
    importlib.util.find_spec("hyperscan") is None, reason="there is no wheel of hyperscan"
)


@pytest.fixture
def without_hyperscan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_hyperscan", lambda exact, folded: None)


def naive(text: str) -> list[Hit]:
    data = text.encode("utf-8", "surrogatepass")
    lower = data.lower()
    hits = [
        (number, position)
        for number, literal in enumerate(EXACT + FOLDED)
        for position in range(len(data))
        if (data if number < len(EXACT) else lower).startswith(literal.encode(), position)
    ]
    in_characters = [(number, len(data[:position].decode("utf-8", "surrogatepass"))) for number, position in hits]
    return sorted(in_characters, key=lambda hit: (hit[1], hit[0]))


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_the_standard_library_finds_every_literal(text: str) -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    scanner._engine = scanner._standard
    assert scanner.hits(text) == naive(text)
    assert scanner.has_hits(text) == bool(naive(text))


@needs_hyperscan
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_hyperscan_finds_every_literal(text: str) -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    assert isinstance(scanner._engine, engine._Hyperscan)
    assert scanner.hits(text) == naive(text)
    assert scanner.has_hits(text) == bool(naive(text))


FRAGMENTS = [str(one.value) for one in (*by_shape(), *by_name(), *by_form()) if len(str(one.value)) < 2_000]
WITH_HYPERSCAN, STANDARD = Redactor(), Redactor()


@needs_hyperscan
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from(PIECES), st.text(max_size=20)), max_size=5),
    st.integers(0, 100),
)
def test_both_ways_lead_to_the_same_masks(parts: list[str], cut: int) -> None:
    text = "".join(parts)[cut:]
    scanner = STANDARD._current()._scanner
    scanner._engine = scanner._standard
    assert STANDARD(text) == WITH_HYPERSCAN(text)
    assert STANDARD.may_change([text]) == WITH_HYPERSCAN.may_change([text])


@needs_hyperscan
def test_too_many_hits_end_a_scan_at_once() -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    with pytest.raises(UnscannableError):
        scanner.hits("@" * 100_000)
    assert scanner._known_standard is None


def test_it_works_where_hyperscan_cannot_be_imported(without_hyperscan: None) -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    assert scanner.hits("sk-ant-é my Password") == naive("sk-ant-é my Password")
    assert scanner._engine is scanner._standard


@pytest.mark.parametrize("name", ["_engine", "_standard"])
def test_a_text_of_nothing_but_literals_is_not_scanned(name: str) -> None:
    scanner = LiteralScanner(["ab"])
    scanner._engine = getattr(scanner, name)
    assert len(scanner.hits("ab" * engine.HITS_AT_LEAST)) == engine.HITS_AT_LEAST
    with pytest.raises(UnscannableError):
        scanner.hits("ab" * engine.HITS_AT_LEAST * 3)


def test_a_look_that_ends_at_its_first_hit_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has failed may be of a signal handler, which takes long to find out."""
    monkeypatch.setattr(engine, "is_of_signal_handler", None)
    assert LiteralScanner(EXACT, FOLDED).has_hits("a password, and a second password")


class Failing:
    def has_hits(self, text: str) -> bool:
        return True

    def hits(self, data: bytes, limit: int) -> list[Hit]:
        raise RuntimeError("scratch is in use")


def test_a_scan_that_fails_counts_as_a_hit_and_is_made_again() -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    scanner._engine = Failing()
    assert scanner.has_hits("nothing")
    assert scanner.hits("my password") == naive("my password")


def test_threads_share_a_scanner() -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    texts = [f"{'x' * number} sk-ant- {number} Password é" for number in range(50)]
    wrong: list[str] = []

    def scan() -> None:
        for _ in range(20):
            wrong.extend(text for text in texts if scanner.hits(text) != naive(text))

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_goes_on_with_the_scanner() -> None:
    scanner = LiteralScanner(EXACT, FOLDED)
    expected = scanner.hits("my password")
    child = os.fork()
    if not child:
        os._exit(0 if scanner.hits("my password") == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_scanner_without_literals_finds_nothing() -> None:
    assert LiteralScanner([]).hits("text") == []
    assert not LiteralScanner([]).has_hits("text")
