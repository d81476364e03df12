"""Tests of which messages of a model call are new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.model import Message
from otel_agent_trace.runs.calls import place_of_answer
from otel_agent_trace.views.histories import Exchange, History, new_from

_MESSAGES = st.builds(
    lambda role, text: Message(role=role, parts=({"type": "text", "content": text},)),
    st.sampled_from(["system", "user", "assistant"]),
    st.sampled_from(["a", "b", ""]),
)
_CALLS = st.lists(_MESSAGES, max_size=5)


@given(st.lists(_CALLS, max_size=6), _CALLS)
def test_a_call_alone_has_the_new_messages_that_it_has_after_all_earlier_ones(
    earlier: list[list[Message]], messages: list[Message]
) -> None:
    *before, call = (Exchange(each, place_of_answer(each)) for each in (*earlier, messages))
    history = History()
    for each in before:
        history.new_places(each)
    expected = next(iter(history.new_places(call)), len(messages))
    assert new_from(before[::-1], call) == expected
