"""Secrets of all kinds do not survive wherever agents have them; what only looks like them stays as it is."""

from __future__ import annotations

import copy
import json
import math
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from otel_agent_trace.redaction import engine
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.redaction.texts import texts_of
from tests.support.made_up_secrets import Labelled, by_form, by_name, by_shape
from tests.support.ordinary_values import ORDINARY

SECRETS = [*by_shape(), *by_name(), *by_form()]
LONGEST_REST = 24


@pytest.fixture(scope="module")
def redact() -> Redactor:
    return Redactor()


def texts(value: Any) -> Iterator[str]:
    """All texts and keys of a value, those of JSON in texts too."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, (list, tuple)):
            stack += item
        elif isinstance(item, str):
            yield item
            yield urllib.parse.unquote(item)
            yield item.replace("\\n", "\n")
            if item[:1] in '{["':
                try:
                    stack.append(json.loads(item))
                except ValueError:
                    pass


def shown(secret: str, value: Any) -> bool:
    """Whether a secret, or half of it, can still be read."""
    length = max(6, min(LONGEST_REST, math.ceil(len(secret) / 2)))
    parts = {secret[start : start + length] for start in range(max(1, len(secret) - length + 1))}
    return any(part in text for text in texts(value) for part in parts)


@pytest.mark.parametrize("labelled", SECRETS, ids=lambda labelled: labelled.kind)
def test_a_secret_does_not_survive(labelled: Labelled, redact: Redactor) -> None:
    given = copy.deepcopy(labelled.value)
    masked = redact(labelled.value)
    assert [secret for secret in labelled.secrets if shown(secret, masked)] == []
    assert [text for text in labelled.keep if text not in str(masked)] == []
    assert labelled.value == given
    assert redact(masked) == masked


@pytest.mark.parametrize("labelled", SECRETS, ids=lambda labelled: labelled.kind)
def test_what_was_readable_json_is_json_afterwards(labelled: Labelled, redact: Redactor) -> None:
    if isinstance(labelled.value, str) and labelled.value[:1] in "{[":
        try:
            json.loads(labelled.value)
        except ValueError:
            return
        json.loads(redact(labelled.value))


@pytest.mark.parametrize("labelled", SECRETS, ids=lambda labelled: labelled.kind)
def test_a_secret_does_not_survive_as_json_in_json(labelled: Labelled, redact: Redactor) -> None:
    text = json.dumps({"result": json.dumps(labelled.value)})
    masked = redact(text)
    assert [secret for secret in labelled.secrets if shown(secret, masked)] == []
    json.loads(json.loads(masked)["result"])


@pytest.mark.parametrize(("kind", "value"), ORDINARY, ids=[kind for kind, _ in ORDINARY])
def test_an_ordinary_value_stays_as_it_is_as_json_in_json(kind: str, value: Any, redact: Redactor) -> None:
    text = json.dumps({"result": json.dumps(value)})
    assert redact(text) is text


def test_both_engines_mask_the_same(redact: Redactor, monkeypatch: pytest.MonkeyPatch) -> None:
    masked = [redact(one.value) for one in SECRETS]
    monkeypatch.setattr(engine, "_hyperscan", lambda exact, folded: None)
    standard = Redactor()
    assert [standard(one.value) for one in SECRETS] == masked
    assert [value for _, value in ORDINARY if standard(value) is not value] == []


@pytest.mark.parametrize(("kind", "value"), ORDINARY, ids=[kind for kind, _ in ORDINARY])
def test_an_ordinary_value_is_the_same_object(kind: str, value: Any, redact: Redactor) -> None:
    assert redact(value) is value


@pytest.mark.parametrize("value", [*(one.value for one in SECRETS), *(value for _, value in ORDINARY)])
def test_the_look_at_all_texts_together_overlooks_nothing(value: Any, redact: Redactor) -> None:
    assert redact._current().walk(redact._masked).value(value) == redact(value)
    if redact(value) is not value:
        assert redact.may_change(list(texts_of(value))) or not isinstance(value, str)


def test_there_are_enough_of_each() -> None:
    assert len(SECRETS) >= 300
    assert len(ORDINARY) >= 300
