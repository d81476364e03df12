"""An agent's mind without a model: rules that decide what to do next from the question and what was seen so far.

The rules look for arithmetic in the question, for a file that it names, then search, read, and answer by the sentence
that fits best; a question about 3 of what the sentence says of one is calculated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_agent_trace.demo.calculator import plain
from otel_agent_trace.demo.sentences import (
    asks_for_number,
    best_sentence,
    number_about,
    says_of_one,
    stem,
    stems,
    telling_words,
)

_FILE_NAME = re.compile(r"[\w./-]*\w\.(?:txt|md)\b")
_QUANTITY = re.compile(r"\b(\d+)\s+([^\W\d_]+)")
_OPERATOR_WORDS = {"divided by": "/", "multiplied by": "*", "times": "*", "plus": "+", "minus": "-"}
_OPERATOR_WORD = re.compile(rf"(?<=[\d)])\s+({'|'.join(_OPERATOR_WORDS)})\s+(?=[\d(])")
_EXPRESSION = re.compile(r"[\d(][\d\s.+\-*/%()]*[\d)]")
# A range such as "10-12" or a date has the shape of a difference, but nobody wants it done: "-" needs spaces.
_OPERATION = re.compile(r"[\d)]\s*[+*/%]|[\d)]\s+-\s+[(\d]")


class NoAnswerError(Exception):
    """The agent has tried everything that it can think of."""


@dataclass(frozen=True)
class ToolCall:
    """A decision to call a tool with these arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """A decision to answer."""

    text: str


@dataclass(frozen=True)
class GiveUp:
    """A decision that there is no answer, and why."""

    reason: str


Decision = ToolCall | Answer | GiveUp


@dataclass(frozen=True)
class Observation:
    """What came of a tool call: a result, or the error that it raised."""

    call: ToolCall
    result: Any = None
    error: Exception | None = None


def decide(question: str, seen: Sequence[Observation], tools: Container[str]) -> Decision:
    """Decide what to do next.

    No call is decided twice, so that asking again and again comes to an end.

    Args:
        question: what is asked.
        seen: the calls made so far, in order, with what came of them.
        tools: the names of the tools there are, of `calculator`, `search` and `read`.
    """
    situation = _Situation(question, seen, tools)
    for rule in _RULES:
        decision = rule(situation)
        if decision is not None:
            return decision
    return Answer("The texts say nothing about that.")


@dataclass(frozen=True)
class _Situation:
    """What the rules look at."""

    question: str
    seen: Sequence[Observation]
    tools: Container[str]

    def once(self, tool: str, **arguments: Any) -> ToolCall | None:
        """The call, if the tool exists and was not called so before: what failed once fails again."""
        call = ToolCall(tool, arguments)
        tried = any(observation.call == call for observation in self.seen)
        return None if tried or tool not in self.tools else call

    def results(self, tool: str) -> Iterator[Observation]:
        """What succeeded with that tool."""
        return (seen for seen in self.seen if seen.call.tool == tool and seen.error is None)

    @property
    def expression(self) -> str | None:
        """The arithmetic in the question."""
        text = _OPERATOR_WORD.sub(lambda match: f" {_OPERATOR_WORDS[match[1]]} ", plain(self.question))
        candidates = [match[0] for match in _EXPRESSION.finditer(text) if _OPERATION.search(match[0])]
        return max(candidates, key=len, default=None)

    @property
    def named_files(self) -> list[str]:
        """The files that the question names."""
        return _FILE_NAME.findall(self.question)

    @property
    def query(self) -> str:
        """What to search for."""
        return " ".join(telling_words(_FILE_NAME.sub(" ", self.question)))

    @property
    def found_files(self) -> list[str]:
        """The files that searches found, the best first."""
        hits = (hit for search in self.results("search") for hit in _items(search.result))
        return list(dict.fromkeys(str(hit["file"]) for hit in hits if isinstance(hit, Mapping) and "file" in hit))

    @property
    def wanted(self) -> frozenset[str]:
        """The stems that an answer would have."""
        return frozenset(stems(self.query))

    @property
    def best_sentence(self) -> tuple[str, str] | None:
        """Of the texts read, the latest first, the sentence that fits, and its file; None if there is none."""
        for read in reversed(list(self.results("read"))):
            fitting = best_sentence(str(read.result), self.wanted, wants_number=asks_for_number(self.question))
            if fitting is not None:
                return fitting, str(read.call.arguments["file"])
        return None


def _calculate(now: _Situation) -> Decision | None:
    if now.expression is None:
        return None
    for done in now.results("calculator"):
        return Answer(_equation(done))
    return now.once("calculator", expression=now.expression)


def _read_named_file(now: _Situation) -> Decision | None:
    return None if now.best_sentence else _first(now.once("read", file=file) for file in now.named_files)


def _search(now: _Situation) -> Decision | None:
    return None if now.best_sentence or not now.query else now.once("search", query=now.query)


def _read_found_file(now: _Situation) -> Decision | None:
    return None if now.best_sentence else _first(now.once("read", file=file) for file in now.found_files)


def _scale(now: _Situation) -> Decision | None:
    """For "... of 3 loaves" and a sentence with "one loaf takes 480 grams": "480 * 3"."""
    if now.best_sentence is None or any(seen.call.tool == "calculator" for seen in now.seen):
        return None
    sentence, _ = now.best_sentence
    for count, noun in _QUANTITY.findall(now.question):
        number = number_about(sentence, now.wanted - {stem(noun)}) if says_of_one(sentence, noun) else None
        if number is not None:
            return now.once("calculator", expression=f"{number} * {count}")
    return None


def _answer(now: _Situation) -> Decision | None:
    if now.best_sentence is None:
        return None
    sentence, file = now.best_sentence
    equations = [f"{_equation(done)}. " for done in now.results("calculator")]
    return Answer(f"{''.join(equations)}{sentence} ({file})")


def _give_up(now: _Situation) -> Decision | None:
    errors = [seen.error for seen in now.seen if seen.error is not None]
    return GiveUp(f"nothing that was tried worked, at last: {errors[-1]}") if errors else None


_RULES: tuple[Callable[[_Situation], Decision | None], ...] = (
    _calculate,
    _read_named_file,
    _search,
    _read_found_file,
    _scale,
    _answer,
    _give_up,
)
"""The first that has something to say decides."""


def _equation(done: Observation) -> str:
    result = done.result
    if isinstance(result, float):
        result = int(result) if result.is_integer() else round(result, 6)
    return f"{done.call.arguments['expression']} = {result}"


def _items(result: Any) -> Iterable[Any]:
    return result if isinstance(result, list | tuple) else ()


def _first(calls: Iterable[ToolCall | None]) -> ToolCall | None:
    return next((call for call in calls if call is not None), None)
