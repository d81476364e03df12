"""Divide the conversation that an agent's span records among its model calls, whose own spans record nothing."""

from __future__ import annotations

import itertools

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.calls import place_of_question
from otel_agent_trace.runs.node import Node, Origin, end_of
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span_facts import Conversation


def divide_conversations(tree: TraceTree) -> None:
    """Give each model call of an agent its messages, model and tokens from the conversation on the agent's span.

    Takes agents with a conversation, after frames are gone. Needed for Haystack under OpenLLMetry, whose spans of model
    calls are empty. The answers are those after the run's question; where there are more or fewer of them than model
    calls (those of a sub-agent without a span are among them), or where calls failed or overlap, nothing is known.
    """
    for run in tree.agents_of_others():
        conversation = run.facts.conversation
        if conversation is not None:
            models = [node for node in run.own_steps() if node.kind is StepKind.MODEL]
            places = _places_of_answers(conversation, run.facts.input)
            if len(models) == len(places) and _are_empty_and_sequential(models):
                for model, place in zip(models, places, strict=True):
                    _fill_model(model, conversation, place, run.origins("conversation"))


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
    facts.usage = conversation.usages.get(place)
    model.set_origins("messages", *origins)
    model.set_origins("usage", *origins)
    if facts.model is None:
        facts.model = conversation.models.get(place)
        model.set_origins("model", *origins)
