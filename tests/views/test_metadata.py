"""What frameworks add to metadata is counted, not shown, unless everything is asked for."""

from __future__ import annotations

from otel_agent_trace.views.metadata import metadata_rows
from otel_agent_trace.views.rows import Row

OF_LANGGRAPH = {"langgraph_step": 1, "langgraph_node": "agent", "langgraph_triggers": ["x"], "checkpoint_ns": "a"}
OF_LANGCHAIN = {"ls_provider": "openai", "lc_agent_name": "weather"}


def test_keys_of_frameworks_are_counted_below_those_of_the_program() -> None:
    rows = [
        *metadata_rows("metadata", {"tenant": "acme", **OF_LANGGRAPH, **OF_LANGCHAIN, "thread_id": "t"}, full=False)
    ]
    assert rows == [
        Row("metadata", '{"tenant": "acme"}'),
        Row("", "5 keys of LangGraph, 2 keys of LangChain (--full shows them)", "faint"),
    ]


def test_metadata_of_a_framework_alone_is_one_line() -> None:
    rows = [*metadata_rows("meta", {"ls_provider": "openai"}, "faint", full=False)]
    assert rows == [Row("meta", "1 key of LangChain (--full shows them)", "faint")]


def test_a_program_s_own_key_of_that_name_is_shown() -> None:
    assert [*metadata_rows("meta", {"thread_id": "t"}, full=False)] == [Row("meta", '{"thread_id": "t"}')]


def test_everything_is_shown_in_full() -> None:
    (row,) = metadata_rows("meta", {**OF_LANGGRAPH, **OF_LANGCHAIN, 5: "five"}, full=True)  # type: ignore[dict-item]
    assert all(key in row.text for key in (*OF_LANGGRAPH, *OF_LANGCHAIN))
    assert [*metadata_rows("meta", {}, full=False)] == [*metadata_rows("meta", {}, full=True)] == []
