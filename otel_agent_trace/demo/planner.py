"""Decide without a model what the agent does next: rules over the question and the results so far.

The rules look for arithmetic in the question, for a file that it names, then search, read, and answer by the sentence
that fits best; a question about 3 of something is calculated where the sentence gives the number for one.
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
    content_words,
    is_about_one,
    number_about,
    stem,
    stems,
)

_FILE_NAME = re.compile(r"[\w./-]*\w\.(?:txt|md)\b")
_QUANTITY = re.compile(r"\b(\d+)\s+([^\W\d_]+)")
_OPERATOR_WORDS = {"divided by": "/", "multiplied by": "*", "times": "*", "plus": "+", "minus": "-"}
_OPERATOR_WORD = re.compile(rf"(?<=[\d)])\s+({'|'.join(_OPERATOR_WORDS)})\s+(?=[\d(])")
_EXPRESSION = re.compile(r"[\d(][\d\s.+\-*/%()]*[\d)]")
# A range such as "10-12" or a date has the shape of a difference, but is none: "-" needs spaces.
_OPERATION = re.compile(r"[\d)]\s*[+*/%]|[\d)]\s+-\s+[(\d]")


class NoAnswerError(Exception):
    """Indicate that the agent has tried everything that it can, without an answer."""


@dataclass(frozen=True)
class ToolCall:
    """Represent a decision to call a tool with these arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """Represent a decision to answer."""

    text: str


@dataclass(frozen=True)
class GiveUp:
    """Represent a decision that there is no answer, with the reason."""

    reason: str


Decision = ToolCall | Answer | GiveUp


@dataclass(frozen=True)
class Observation:
    """Represent the outcome of a tool call: a result, or the error that it raised."""

    call: ToolCall
    result: Any = None
    error: Exception | None = None


def decide(question: str, seen: Sequence[Observation], tools: Container[str]) -> Decision:
    """Decide what to do next.

    No call is decided twice, so that calling this again and again comes to an end.

    Args:
        question: the user's question.
        seen: the calls made so far, in order, with their outcomes.
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
    """Hold the question, the observations and the tools that the rules look at."""

    question: str
    seen: Sequence[Observation]
    tools: Container[str]

    def once(self, tool: str, **arguments: Any) -> ToolCall | None:
        """Return the call, if the tool exists and was not called so before: what failed once fails again."""
        call = ToolCall(tool, arguments)
        tried = any(observation.call == call for observation in self.seen)
        return None if tried or tool not in self.tools else call

    def results(self, tool: str) -> Iterator[Observation]:
        """Return the observations of that tool which succeeded."""
        return (seen for seen in self.seen if seen.call.tool == tool and seen.error is None)

    @property
    def expression(self) -> str | None:
        """Return the arithmetic in the question; None without any."""
        text = _OPERATOR_WORD.sub(lambda match: f" {_OPERATOR_WORDS[match[1]]} ", plain(self.question))
        candidates = [match[0] for match in _EXPRESSION.finditer(text) if _OPERATION.search(match[0])]
        return max(candidates, key=len, default=None)

    @property
    def named_files(self) -> list[str]:
        """Return the files that the question names."""
        return _FILE_NAME.findall(self.question)

    @property
    def query(self) -> str:
        """Return the text to search for."""
        return " ".join(content_words(_FILE_NAME.sub(" ", self.question)))

    @property
    def found_files(self) -> list[str]:
        """Return the files that searches found, the best first."""
        return list(dict.fromkeys(str(hit["file"]) for hit in self.hits if "file" in hit))

    @property
    def hits(self) -> Iterator[Mapping[str, Any]]:
        """Yield what searches found, the best first."""
        found = (hit for search in self.results("search") for hit in _items(search.result))
        return (hit for hit in found if isinstance(hit, Mapping))

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield each text read with its file, the latest first; without a tool that reads, each passage found."""
        for read in reversed(list(self.results("read"))):
            yield str(read.result), str(read.call.arguments["file"])
        if "read" not in self.tools:
            yield from (
                (str(hit["passage"]), str(hit["file"])) for hit in self.hits if {"passage", "file"} <= hit.keys()
            )

    @property
    def query_stems(self) -> frozenset[str]:
        """Return the word stems that an answer should have."""
        return frozenset(stems(self.query))

    @property
    def best_sentence(self) -> tuple[str, str] | None:
        """Return the first sentence of the texts that fits, and its file; None if there is none."""
        for text, file in self.texts:
            fitting = best_sentence(text, self.query_stems, wants_number=asks_for_number(self.question))
            if fitting is not None:
                return fitting, file
        return None


def _calculate(now: _Situation) -> Decision | None:
    if now.expression is None:
        return None
    for done in now.results("calculator"):
        return Answer(_equation(done))
    return now.once("calculator", expression=now.expression)


def _read_named_file(now: _Situation) -> Decision | None:
    return None if now.best_sentence else _first_call(now.once("read", file=file) for file in now.named_files)


def _search(now: _Situation) -> Decision | None:
    return None if now.best_sentence or not now.query else now.once("search", query=now.query)


def _read_found_file(now: _Situation) -> Decision | None:
    return None if now.best_sentence else _first_call(now.once("read", file=file) for file in now.found_files)


def _scale(now: _Situation) -> Decision | None:
    """Multiply the number for one by the count: "480 * 3" for "... of 3 loaves" and "one loaf takes 480 grams"."""
    if now.best_sentence is None or any(seen.call.tool == "calculator" for seen in now.seen):
        return None
    sentence, _ = now.best_sentence
    for count, noun in _QUANTITY.findall(now.question):
        number = number_about(sentence, now.query_stems - {stem(noun)}) if is_about_one(sentence, noun) else None
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
"""Rules in order: the first that returns a decision wins."""


def _equation(done: Observation) -> str:
    result = done.result
    if isinstance(result, float):
        result = int(result) if result.is_integer() else round(result, 6)
    return f"{done.call.arguments['expression']} = {result}"


def _items(result: Any) -> Iterable[Any]:
    return result if isinstance(result, list | tuple) else ()


def _first_call(calls: Iterable[ToolCall | None]) -> ToolCall | None:
    return next((call for call in calls if call is not None), None)
