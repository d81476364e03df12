"""Divide the conversation that an agent's span records among its model calls, whose own spans record nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.calls import place_of_question
from otel_agent_trace.runs.node import Node, Origin, end_of
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span_facts import Conversation


def divide_conversations(tree: TraceTree) -> None:
    """Give each model call of an agent its messages, model and tokens from the conversation on the agent's span.

    Takes agents with a conversation, after frames are gone. Needed for Haystack under OpenLLMetry, whose spans of model
    calls are empty. The answers are those after the run's question. Where there are fewer of them than model calls, those
    of a sub-agent without a span are among these: only the first and the last are known to be the run's own, and have no
    tokens, since their sum would be taken for that of the run. Where there are more answers, or where calls failed or
    overlap, nothing is known.
    """
    for run in tree.agents_of_others():
        conversation = run.facts.conversation
        if conversation is not None:
            models = [node for node in run.own_steps() if node.kind is StepKind.MODEL]
            places = _places_of_answers(conversation, run.facts.input)
            if _are_empty_and_sequential(models):
                for model, place in _pairs(models, places, conversation):
                    _fill_model(model, conversation, place, run.origins("conversation"))
                    if len(models) == len(places):
                        model.facts.usage = conversation.usages.get(place)
                        model.set_origins("usage", *run.origins("conversation"))


def _pairs(models: list[Node], places: list[int], conversation: Conversation) -> Iterable[tuple[Node, int]]:
    """Return the model calls whose answers are known, each with the place of its answer."""
    if len(models) == len(places):
        return zip(models, places, strict=True)
    if len(models) < len(places) or len(places) < 2:
        return ()
    first, last = places[0], places[-1]
    has_called = bool(conversation.messages[first].tool_calls)
    has_answered = last == len(conversation.messages) - 1 and not conversation.messages[last].tool_calls
    return ((models[0], first), (models[-1], last)) if has_called and has_answered else ()


def _places_of_answers(conversation: Conversation, question: object) -> list[int]:
    """Return the places of the assistant's messages after the question of the run."""
    first = place_of_question(conversation.messages, question) + 1
    return [
        place for place, message in enumerate(conversation.messages) if place >= first and message.role == "assistant"
    ]


def _are_empty_and_sequential(models: list[Node]) -> bool:
    return all(_is_empty(model) for model in models) and all(
        end_of(model) <= following.span.start_ns for model, following in itertools.pairwise(models)
    )


def _is_empty(model: Node) -> bool:
    """Return whether a model call of another tracer succeeded, and records neither content nor tokens."""
    facts = model.facts
    has_content = any(message.parts for message in facts.messages)
    return model.is_third_party and facts.error is None and not has_content and not facts.usage


def _fill_model(model: Node, conversation: Conversation, place: int, origins: tuple[Origin, ...]) -> None:
    facts = model.facts
    facts.set_messages(conversation.messages[:place], (conversation.messages[place],))
    model.set_origins("messages", *origins)
    if facts.model is None:
        facts.model = conversation.models.get(place)
        model.set_origins("model", *origins)
