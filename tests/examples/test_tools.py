"""The agent takes its tools as functions by name, or as a list of functions, descriptions and names."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, ConfigurationError, InMemoryBackend
from otel_agent_trace.demo import QUESTIONS, calculator, make_tools, run_agent, tools_by_name

PARAMETERS = {"type": "object", "properties": {"query": {"type": "string"}}}


@pytest.mark.parametrize(
    "given",
    [
        "search",
        {"name": "search"},
        {"name": "search", "description": "Search the texts."},
        {"name": "search", "description": "Search the texts.", "parameters": PARAMETERS},
        {"type": "function", "name": "search", "parameters": PARAMETERS},
        {"type": "function", "function": {"name": "search", "parameters": PARAMETERS}},
    ],
)
def test_a_description_is_the_tool_of_that_name(given: Any) -> None:
    """A bare name, a plain description, and OpenAI's shapes of one, old and new, mean the same tool."""
    (tool,) = tools_by_name([given]).items()
    assert tool[0] == "search"
    assert tool[1]("wind dome") == make_tools()["search"]("wind dome")


def test_functions_go_by_their_names() -> None:
    def search(query: str) -> str:
        return query

    bound = functools.partial(search, "x")
    assert tools_by_name([search, calculator, bound]) == {
        "search": search,
        "calculator": calculator,
        "partial": bound,
    }


def test_a_description_may_bring_its_function() -> None:
    assert tools_by_name([{"name": "search", "description": "Mine.", "function": len}]) == {"search": len}


def test_a_mapping_stays_as_it_is() -> None:
    tools = {"weather": len}
    assert tools_by_name(tools) is tools


def test_no_tools() -> None:
    assert tools_by_name([]) == {}


@pytest.mark.parametrize("given", ["serach", {"name": "serach"}, {"type": "function", "function": {"name": "serach"}}])
def test_an_unknown_name_is_one_error_with_the_known_ones(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tools_by_name(["search", given])
    assert str(caught.value) == "no tool 'serach'; there are: search, read, calculator"


@pytest.mark.parametrize("given", [{"description": "no name"}, {}, {"name": 3}, {"function": {}}, 3, None, ["search"]])
def test_what_is_no_tool_is_named_in_the_error(given: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="a tool is a function, a description with a name, or a name"
    ) as caught:
        tools_by_name([given])
    assert repr(given) in str(caught.value)


def test_an_unknown_tool_starts_no_run() -> None:
    backend = InMemoryBackend()
    with pytest.raises(ConfigurationError):
        run_agent("Hello?", ["serach"], AgentTracer(backend=backend))
    assert backend.runs() == []


def test_searching_alone_answers_by_what_was_found() -> None:
    """Without a tool that reads, the passages of the search are the texts."""
    backend = InMemoryBackend()
    answer = run_agent(QUESTIONS[0], [{"name": "search", "description": "..."}], AgentTracer(backend=backend))
    assert "55 kilometres per hour" in answer
    assert [step.name for step in backend.runs()[0].steps] == ["search"]
