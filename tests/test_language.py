"""Check that the package is written in plain English: docstrings begin with a verb, and no word is a riddle."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_agent_trace

PACKAGE = Path(otel_agent_trace.__file__).parent
FIRST_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a all an any as at each every for from here how if in it its of on one only our some that the their these they "
        "this those to what when where whether which who whom whose why with",
    )
)
"""First words of docstrings that have no verb in the imperative."""
RIDDLES = frozenset(
    re.findall(
        r"\w+",
        "said say says saying told tell tells telling twin twins crown crowned hear hears heard guest guests become becomes "
        "became meaning meanings foreign stray strays patience discretion",
    )
)
"""Words that data and code do not mean literally: spans record, attributes hold, functions return."""
ALLOWED: dict[str, frozenset[str]] = {
    "sources/file_contents.py": frozenset({"tell"}),  # a method of Python's files
    "sources/file_pieces.py": frozenset({"tell"}),  # a method of Python's files
    "sources/scanned_files.py": frozenset({"tell"}),  # a method of Python's files
    "demo/sentences.py": RIDDLES,  # the stop words of questions in English
    "demo/chat.py": frozenset({"say"}),  # the instructions of a model
    "redaction/credentials.py": frozenset({"guest"}),  # a common password
    "redaction/ordinary.py": frozenset({"guest"}),  # likewise
    "demo/planner.py": frozenset({"say"}),  # an answer of the agent
}


def sources() -> list[str]:
    return [file.relative_to(PACKAGE).as_posix() for file in sorted(PACKAGE.rglob("*.py"))]


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of every statement that is a string: docstrings, and texts below constants and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}


def verbless(source: str) -> list[str]:
    first = ((line, re.match(r"\W*(\w+)", text)) for line, text in docstrings(ast.parse(source)))
    return [f"line {line}: {word[1]}" for line, word in first if word and word[1].lower() in FIRST_WORDS]


def riddles(source: str, allowed: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Return the lines with such words in names, docstrings, comments or other strings."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = ((token.start[0], words(token.string) & RIDDLES - allowed) for token in tokens)
    return [f"line {line}: {', '.join(sorted(those))}" for line, those in found if those]


@pytest.mark.parametrize("name", sources())
def test_docstrings_begin_with_a_verb(name: str) -> None:
    assert verbless((PACKAGE / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", sources())
def test_names_and_texts_have_no_riddles(name: str) -> None:
    assert riddles((PACKAGE / name).read_text(encoding="utf-8"), ALLOWED.get(name, set())) == []


def test_exceptions_are_of_modules_that_exist() -> None:
    """Every module is checked, and each exception is that of a module and of words in it."""
    assert ALLOWED.keys() <= set(sources())
    assert [name for name in ALLOWED if not riddles((PACKAGE / name).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "docstring", ["What a span is.", "`Whether` it ends.", "The runs.", "\n    An id.", "One span.", "Its name."]
)
@pytest.mark.parametrize(
    "place", ["{}", "class A:\n {}", "class A:\n def f(self):\n  {}", "A = 1\n{}", "async def f(): {}"]
)
def test_a_docstring_without_a_verb_is_found(place: str, docstring: str) -> None:
    (found,) = verbless(place.format(repr(docstring)))
    assert found.startswith("line ")
    assert verbless(place.format(repr("Return the runs."))) == []


@pytest.mark.parametrize(
    "code",
    ["said_type = 1", "def _told(): pass", "x.merge_guest_shells()", "class TwinSpan: pass", "x = 1  # nobody said it",
     "'it tells'", "f'{told} once'", "def f():\n    'Become a span.'", "isForeign = 1"],
)  # fmt: skip
def test_a_riddle_is_found(code: str) -> None:
    assert len(riddles(code)) == 1


def test_words_that_only_contain_a_riddle_are_none() -> None:
    assert riddles("essay = intelligent = sayings_of = 'crowns' and 'hearing' and 'untold'") == []
