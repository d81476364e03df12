"""The rules come to sensible answers over the texts that come with the package."""

from __future__ import annotations

import pytest

from otel_agent_trace.demo import QUESTIONS, NoAnswerError, make_tools
from otel_agent_trace.demo.agent import follow_rules, observe
from otel_agent_trace.demo.chat import Tools
from otel_agent_trace.demo.planner import Answer, GiveUp, Observation, ToolCall, decide


@pytest.fixture(scope="module")
def tools() -> Tools:
    return make_tools()


def calls_and_decision(question: str, tools: Tools) -> tuple[list[Observation], Answer | GiveUp]:
    seen: list[Observation] = []
    while isinstance(decision := decide(question, seen, tools), ToolCall):
        seen.append(observe(decision, tools))
    return seen, decision


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("At what wind speed does the dome have to be closed?", "55 kilometres"),
        ("How wide is the main mirror?", "1.8 metres"),
        ("When does the last train return from the summit?", "22:15"),
        ("Who was the last keeper of the lighthouse?", "Marguerite Oduya"),
        ("How deep was the water where the Halcyon anchored in Gannet Bay?", "11 fathoms"),
        ("When was the lighthouse lit?", "1868"),
        ("Who repaired the fore topmast?", "fore topmast"),
    ],
)
def test_fact(tools: Tools, question: str, part: str) -> None:
    """A fact is searched for, read, and answered by its sentence."""
    seen, decision = calls_and_decision(question, tools)
    assert [observation.call.tool for observation in seen] == ["search", "read"]
    assert isinstance(decision, Answer)
    assert part in decision.text


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("How much flour do 3 loaves of ridge bread need?", "480 * 3 = 1440"),
        ("How much salt is in 5 loaves?", "11 * 5 = 55"),
        ("How much honey do 12 hives give?", "17 * 12 = 204"),
        ("What do 20 visitors pay at the gate?", "7 * 20 = 140"),
        ("How much paraffin did the lamp use in 30 nights?", "5 * 30 = 150"),
        ("How long do 12 exposures last?", "240 * 12 = 2880"),
    ],
)
def test_calculation_over_text(tools: Tools, question: str, part: str) -> None:
    """What a text says of one is calculated for many."""
    seen, decision = calls_and_decision(question, tools)
    assert [observation.call.tool for observation in seen] == ["search", "read", "calculator"]
    assert isinstance(decision, Answer)
    assert part in decision.text


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is (1250 - 430) * 3 / 4?", "(1250 - 430) * 3 / 4 = 615"),
        ("calculate 2^10", "2**10 = 1024"),
        ("What is 12 minus 5?", "12 - 5 = 7"),
        ("How much is 10 divided by 3?", "10 / 3 = 3.333333"),
        ("1,200 \N{MULTIPLICATION SIGN} 2", "1200 * 2 = 2400"),
    ],
)
def test_arithmetic_in_question(tools: Tools, question: str, answer: str) -> None:
    """Arithmetic is calculated and nothing else."""
    seen, decision = calls_and_decision(question, tools)
    assert [observation.call.tool for observation in seen] == ["calculator"]
    assert decision == Answer(answer)


@pytest.mark.parametrize("question", ["What happened on 2024-05-01?", "Are 10-12 visitors welcome?"])
def test_ranges_and_dates_are_no_arithmetic(tools: Tools, question: str) -> None:
    """A hyphen between numbers is not calculated."""
    seen, _ = calls_and_decision(question, tools)
    assert "calculator" not in [observation.call.tool for observation in seen]


def test_goes_on_after_failing_tool(tools: Tools) -> None:
    """A file that does not exist fails to be read, and the answer is found elsewhere."""
    seen, decision = calls_and_decision("According to tide-table.txt, when is high water at Sallow Point?", tools)
    assert [(observation.call.tool, type(observation.error)) for observation in seen] == [
        ("read", FileNotFoundError),
        ("search", type(None)),
        ("read", type(None)),
    ]
    assert isinstance(decision, Answer)
    assert "40 minutes" in decision.text


def test_named_file_is_read_at_once(tools: Tools) -> None:
    """A file that the question names is not searched for."""
    seen, decision = calls_and_decision("How many seats has a carriage, by cog-railway.txt?", tools)
    assert [dict(observation.call.arguments) for observation in seen] == [{"file": "cog-railway.txt"}]
    assert isinstance(decision, Answer)
    assert "56 passengers" in decision.text


def test_division_by_zero_gives_up(tools: Tools) -> None:
    """Where the only thing to try has failed, there is no answer."""
    with pytest.raises(NoAnswerError, match="division by zero"):
        follow_rules("What is 84 divided by (7 - 7)?", tools)


def test_file_outside_gives_up(tools: Tools) -> None:
    """A file outside of the folder is refused, and so is the answer."""
    with pytest.raises(NoAnswerError, match="outside of the folder"):
        follow_rules("What does ../secrets.txt say?", tools)


@pytest.mark.parametrize("question", ["What is the capital of France?", "", "???", "Why?"])
def test_nothing_to_say(tools: Tools, question: str) -> None:
    """Of what is in no text, the answer is that."""
    assert follow_rules(question, tools) == "The texts say nothing about that."


def test_missing_tools_are_not_called() -> None:
    """Only tools that there are get called."""
    assert decide("What is 1 + 1?", [], {}) == Answer("The texts say nothing about that.")


def test_unexpected_results_are_borne() -> None:
    """Tools of somebody else, with results of other shapes, bring no answer but no exception either."""
    tools = {"search": lambda query: {"r": "sunny"}, "calculator": lambda expression: "4"}
    assert follow_rules("What is the weather?", tools) == "The texts say nothing about that."
    assert follow_rules("What is 2 + 2?", tools) == "2 + 2 = 4"


def test_search_that_fails_gives_up() -> None:
    """A search that fails is not tried for ever."""
    calls: list[str] = []

    def search(query: str) -> list[object]:
        calls.append(query)
        raise ConnectionError("the index is gone")

    with pytest.raises(NoAnswerError, match="the index is gone"):
        follow_rules("Who keeps bees?", {"search": search})
    assert calls == ["keeps bees"]


def test_questions_are_worth_asking(tools: Tools) -> None:
    """The questions that come with the package cover success, a failing tool, a calculation and a failing run."""
    outcomes = [calls_and_decision(question, tools) for question in QUESTIONS]
    assert [type(decision) for _, decision in outcomes] == [Answer] * 5 + [GiveUp]
    assert not any("nothing" in decision.text for _, decision in outcomes if isinstance(decision, Answer))
    assert any(seen.error for observations, _ in outcomes[:5] for seen in observations)
