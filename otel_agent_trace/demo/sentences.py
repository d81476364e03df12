"""Find the sentence of a text that answers an English question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e)$")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_CLAUSE_END = re.compile(r"[,;.]\s+")
_ASKS_FOR_NUMBER = re.compile(r"\b(?:how (?!do|does|did|can|to)\w+|when|what time|what year)\b", re.IGNORECASE)
_SHORT_SENTENCE_WORDS = 3
_NUMBER_BONUS = 1.25
_ONE = frozenset({"one", "each", "every", "per", "a", "an"})
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an the of in on at to by for from with is are was were be been do does did has have had can could will would "
        "what when where which who whom whose why how much many long old often there it its this that these those and "
        "or not i we you me tell give calculate compute result equal equals please according say says said need needs "
        "divided multiplied times plus minus"
    )
)


def content_words(question: str) -> list[str]:
    """Return the words of a question that a text about it would have."""
    return [word for word in _WORD.findall(question) if word.lower() not in _STOP_WORDS]


def stem(word: str) -> str:
    """Return a word without its ending: the same for close, closed and closing, and for loaf and loaves."""
    bare = _ENDING.sub("", word.lower())
    return f"{bare[:-1]}f" if bare.endswith("v") else bare


def stems(text: str) -> Iterator[str]:
    """Return the stems of all words of a text, in order."""
    return (stem(word) for word in _WORD.findall(text))


def asks_for_number(question: str) -> bool:
    """Return whether the answer to a question will have a number in it."""
    return _ASKS_FOR_NUMBER.search(question) is not None


def best_sentence(text: str, query_stems: AbstractSet[str], *, wants_number: bool) -> str | None:
    """Return the sentence with most of the query's stems, rare ones counting more; None if none has half of them."""
    sentences = [(sentence, query_stems & set(stems(sentence))) for sentence in _sentences(text)]
    frequency = Counter(word for _, found in sentences for word in found)

    def score(item: tuple[str, AbstractSet[str]]) -> float:
        sentence, found = item
        bonus = _NUMBER_BONUS if wants_number and _NUMBER.search(sentence) else 1.0
        return bonus * sum(1 / frequency[word] for word in found)

    fitting = [item for item in sentences if item[1] and len(item[1]) >= len(query_stems) // 2]
    return max(fitting, key=score)[0] if fitting else None


def is_about_one(sentence: str, noun: str) -> bool:
    """Return whether the sentence states something of one, of each, or per such thing."""
    words = _WORD.findall(sentence)
    return any(one.lower() in _ONE and stem(word) == stem(noun) for one, word in pairwise(words))


def number_about(sentence: str, query_stems: AbstractSet[str]) -> str | None:
    """Return the number in the clause of a sentence that has most of the query's stems; None without a number."""
    clauses = [clause for clause in _CLAUSE_END.split(sentence) if _NUMBER.search(clause)]
    best = max(clauses, key=lambda clause: len(query_stems & set(stems(clause))), default="")
    number = _NUMBER.search(best)
    return number[0] if number else None


def _sentences(text: str) -> Iterator[str]:
    for paragraph in _PARAGRAPH_END.split(text):
        if not paragraph.lstrip().startswith("#") and not paragraph.isupper():  # no heading
            yield from _with_short_parts_joined(_SENTENCE_END.split(" ".join(paragraph.split())))


def _with_short_parts_joined(parts: Iterable[str]) -> Iterator[str]:
    """Yield very short parts, such as the date before an entry, together with what follows them."""
    pending = ""
    for part in parts:
        pending = f"{pending} {part}".strip()
        if len(pending.split()) > _SHORT_SENTENCE_WORDS:
            yield pending
            pending = ""
    if pending:
        yield pending
