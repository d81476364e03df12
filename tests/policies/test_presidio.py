"""Presidio masks personal data in the attributes that a program names, and in no others."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, PresidioMask
from otel_agent_trace.errors import ConfigurationError
from tests.support.requirements import need_package

QUESTION, ARGUMENTS = "gen_ai.input.messages", "gen_ai.tool.call.arguments"
MASK = re.compile(r"<[a-z_]+:[0-9a-f]{4}>")


class Names:
    """An analyzer of the program: it finds names as a model would, and counts what it is given."""

    def __init__(self, *, also: str = "") -> None:
        self.texts: list[str] = []
        self._pattern = re.compile(f"Ann Smith|Paris{also}")

    def get_supported_entities(self, language: str) -> list[str]:
        return ["PERSON", "LOCATION"]

    def analyze(self, text: str, *, language: str, entities: list[str], score_threshold: float) -> list[Any]:
        self.texts.append(text)
        found = (
            SimpleNamespace(
                start=match.start(),
                end=match.end(),
                score=0.85,
                entity_type="LOCATION" if match[0] == "Paris" else "PERSON",
            )
            for match in self._pattern.finditer(text)
        )
        return [one for one in found if one.entity_type in entities]


def masked(mask: PresidioMask, value: Any) -> Any:
    """What a mask makes of a value of the attribute, with digits in masks replaced by ``*``."""

    def without_digits(value: Any) -> Any:
        if isinstance(value, str):
            return MASK.sub(lambda found: found[0][:-5] + "*>", value)
        if isinstance(value, dict):
            return {without_digits(key): without_digits(item) for key, item in value.items()}
        return [without_digits(item) for item in value] if isinstance(value, list) else value

    return without_digits(mask(value, ARGUMENTS))


@pytest.fixture
def mask() -> PresidioMask:
    return PresidioMask({ARGUMENTS: ["PERSON", "LOCATION"]}, analyzer=Names())


def test_only_attributes_that_are_named_are_masked_with_the_entities_they_are_named_with() -> None:
    backend = InMemoryBackend()
    mask = PresidioMask({QUESTION: ["PERSON"]}, analyzer=Names())
    tracer = AgentTracer(backend=backend, agent_name="clerk", mask=mask)

    @tracer.tool
    def look(who: str) -> str:
        return who

    with tracer.run(user_input="Where in Paris is Ann Smith? Ann Smith!"):
        look("Ann Smith")
    (run,) = backend.runs()
    found = re.fullmatch(r"Where in Paris is (<person:[0-9a-f]{4}>)\? (<person:[0-9a-f]{4}>)!", run.user_input)
    assert found is not None
    assert found[1] == found[2]
    assert run.steps[0].input == {"who": "Ann Smith"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("to Ann Smith, Paris", "to <person:*>, <location:*>"),
        ({"to": ["Ann Smith", 5, None]}, {"to": ["<person:*>", 5, None]}),
        ({"Ann Smith": 1, "Paris": 2}, {"<person:*>": 1, "Paris": 2}),
        ('{"who": "[\\"Ann Smith\\"]"}', '{"who":"[\\"<person:*>\\"]"}'),
        ([{"role": "Paris", "content": "Paris"}], [{"role": "Paris", "content": "<location:*>"}]),
    ],
    ids=["text", "container", "keys that are no identifiers", "JSON in JSON", "roles stay"],
)
def test_texts_are_masked_wherever_they_stand(mask: PresidioMask, value: Any, expected: Any) -> None:
    assert masked(mask, value) == expected


def test_what_has_nothing_in_it_remains_the_same_object(mask: PresidioMask) -> None:
    for value in ("fine", {"a": ["fine", 1]}, ["fine"], '{ "a" : "fine" }'):
        assert mask(value, ARGUMENTS) is value


def test_two_names_whose_masks_are_equal_stay_two_keys() -> None:
    mask = PresidioMask({ARGUMENTS: ["PERSON"]}, analyzer=Names())
    (first,) = mask({"Ann Smith": 1}, ARGUMENTS)
    assert mask({first: 0, "Ann Smith": 1}, ARGUMENTS) == {first: 0, f"{first}+": 1}


def test_masks_are_not_analyzed_again_but_what_stands_beside_them_is() -> None:
    analyzer = Names(also="|secret|github")
    mask = PresidioMask({ARGUMENTS: ["PERSON"]}, analyzer=analyzer)
    once = mask("Ann Smith has <secret:github:3f9a>", ARGUMENTS)
    assert "<secret:github:3f9a>" in once
    assert mask(once, ARGUMENTS) == once
    assert masked(mask, f"{once} and Ann Smith").endswith(" and <person:*>")


def test_texts_of_a_growing_history_are_analyzed_once() -> None:
    analyzer = Names()
    mask = PresidioMask({ARGUMENTS: ["PERSON"]}, analyzer=analyzer)
    for number in range(5):
        mask([f"message {each}" for each in range(number)], ARGUMENTS)
    assert analyzer.texts == [f"message {each}" for each in range(4)]


def test_where_two_entities_overlap_all_of_both_is_masked() -> None:
    results = [
        SimpleNamespace(start=0, end=9, score=0.5, entity_type="PERSON"),
        SimpleNamespace(start=4, end=14, score=0.9, entity_type="LOCATION"),
    ]
    analyzer = Names()
    analyzer.analyze = lambda text, **_: results  # type: ignore[method-assign]
    mask = PresidioMask({ARGUMENTS: ["PERSON", "LOCATION"]}, analyzer=analyzer)
    assert masked(mask, "Ann Smithville is there") == "<location:*> is there"


def test_an_analyzer_that_fails_drops_the_value() -> None:
    def fail(text: str, **_: Any) -> list[Any]:
        raise RuntimeError

    analyzer = Names()
    analyzer.analyze = fail  # type: ignore[method-assign]
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, mask=PresidioMask({QUESTION: ["PERSON"]}, analyzer=analyzer))
    with tracer.run(user_input="Ann Smith"):
        pass
    (run,) = backend.runs()
    assert run.user_input is None


@pytest.mark.parametrize("entities", [{}, ["PERSON"], {QUESTION: []}, {QUESTION: "PERSON"}, {1: ["PERSON"]}])
def test_attributes_and_entities_must_be_named(entities: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a"):
        PresidioMask(entities, analyzer=Names())


def test_an_entity_that_the_analyzer_does_not_find_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="finds no SHOE in the language 'en', only LOCATION, PERSON"):
        PresidioMask({QUESTION: ["PERSON", "SHOE"]}, analyzer=Names())


def test_without_presidio_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'otel-agent-trace\[personal-data\]'"):
        PresidioMask({QUESTION: ["US_SSN"]})


# ── the package itself ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a network, on which Presidio is installed."""
    need_package("presidio-analyzer", "frameworks")
    reached: list[Any] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *names, **_: reached.append(names))
    yield
    assert reached == []


@pytest.mark.slow
@pytest.mark.frameworks
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_the_patterns_of_presidio_need_no_model_and_no_network() -> None:
    mask = PresidioMask({ARGUMENTS: ["US_SSN", "US_PASSPORT", "EMAIL_ADDRESS", "UK_NHS"]})
    text = "SSN 219-09-9999, mail ann@example.com"
    assert masked(mask, text) == "SSN <us_ssn:*>, mail <email_address:*>"
    assert masked(mask, "her passport 912803456") == "her passport <us_passport:*>"
    assert masked(mask, "some 912803456 rows") == "some 912803456 rows"
    assert masked(mask, "1234567890 bytes at 10.0.0.1 on 2026-11-29 in run_tests") == (
        "1234567890 bytes at 10.0.0.1 on 2026-11-29 in run_tests"
    )
    assert pickle.loads(pickle.dumps(mask))(text, ARGUMENTS) == mask(text, ARGUMENTS)


@pytest.mark.slow
@pytest.mark.frameworks
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_names_need_an_analyzer_with_a_model() -> None:
    with pytest.raises(ConfigurationError, match=r"finds no PERSON .*AnalyzerEngine\(\)"):
        PresidioMask({QUESTION: ["PERSON"]})
