"""A history of messages that grows is made from the one before, and recognised without being compared again."""

from __future__ import annotations

import json

from otel_agent_trace.growing_texts import begins_with, longer, without_bracket
from otel_agent_trace.mapping.conversation import History
from otel_agent_trace.values import Limits


def message(number: int) -> dict[str, str]:
    return {"role": "user", "content": f"message {number} in Łódź"}


def test_a_longer_array_is_the_array_of_all_items() -> None:
    assert json.loads(longer('[{"a":1}]', ['{"b":2}', "3"])) == [{"a": 1}, {"b": 2}, 3]


def test_a_text_that_was_cut_is_cut_once_until_another_is() -> None:
    text = "[1,2]"
    assert without_bracket(text) == "[1,2"
    assert without_bracket(text) is without_bracket(text)
    assert without_bracket("[3]") == "[3"
    assert without_bracket(text) == "[1,2"


def test_texts_are_compared_by_what_they_hold() -> None:
    """Also after the same text, or the same beginning, was found in another one."""
    earlier, other = "[1]", "[2]"
    later = longer(earlier, ["2"])
    assert begins_with(later, without_bracket(earlier))
    assert not begins_with(later, without_bracket(other))
    assert not begins_with(other, without_bracket(earlier))
    assert begins_with("".join(later), "[1")


def test_conversations_that_continue_or_leave_each_other_have_all_their_messages() -> None:
    history = History(Limits())
    numbers = ([0], [0, 1, 2], [0, 1, 2], [0, 1, 3], [0, 1, 2, 4, 5], [7], [0, 1, 3, 8])
    for sent in numbers:
        conversation = history.conversation([message(number) for number in sent])
        assert conversation is not None
        contents = [one["parts"][0]["content"] for one in json.loads(conversation.text())]
        assert contents == [message(number)["content"] for number in sent]


def test_only_the_latest_conversation_keeps_its_text() -> None:
    history = History(Limits())
    first = history.conversation([message(0)])
    assert first is not None
    first.text()
    second = history.conversation([message(0), message(1)])
    assert second is not None
    second.text()
    assert first.known_text is None
