import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.views.escape import escaped, escaped_json, escaped_line

any_text = st.text(st.characters(codec=None))
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def is_harmless(char: str) -> bool:
    return char in "\n\t" or unicodedata.category(char) not in UNSAFE


@given(any_text)
def test_no_control_character_survives(text: str) -> None:
    """Whatever the text, nothing is left in it that a terminal would act on."""
    assert all(map(is_harmless, escaped(text)))


@given(st.text(st.characters(exclude_categories=tuple(UNSAFE))))  # type: ignore[arg-type]
def test_printable_text_stays_as_it_is(text: str) -> None:
    """What can be printed is not touched."""
    assert escaped(text) == text


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\x1b", r"\x1b"),
        ("\x07", r"\x07"),
        ("\r", r"\r"),
        ("\x7f", r"\x7f"),
        ("\x9b", r"\x9b"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u2028", r"\u2028"),
        ("\ufeff", r"\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_each_kind_of_control_is_shown(char: str, shown: str) -> None:
    """A control character stands there as the escape by which Python writes it."""
    assert escaped(f"a{char}b") == f"a{shown}b"


@given(any_text)
def test_a_line_is_one_line(text: str) -> None:
    """The form for one line has no line break and no tab."""
    assert not set("\n\t") & set(escaped_line(text))


@given(any_text)
def test_escaped_json_says_the_same(text: str) -> None:
    """JSON loses its control characters and not its meaning."""
    written = escaped_json(json.dumps({text: text}, ensure_ascii=False))
    assert all(map(is_harmless, written))
    paired = json.loads(json.dumps(text))  # two surrogates that follow each other are one character in JSON
    assert json.loads(written) == {paired: paired}
