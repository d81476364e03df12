"""Mask what Microsoft Presidio finds: names, places and national numbers, in the attributes that a program names.

Presidio takes much that is ordinary for personal data (54 of 205 values of agents, with all of its recognizers), and reads
some 0.1 MB in a second, so that it looks at nothing that it is not asked to.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.extras import needed_by
from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.keys import default_key
from otel_agent_trace.policies.rewriting import container_in
from otel_agent_trace.redaction.masks import MASK, personal_mask

_STRUCTURE = frozenset({"role", "type", "id", "finish_reason"})
"""Keys of messages and their parts, under which no person writes anything."""
_KEPT_TEXTS = 512
_KEPT_CHARACTERS = 16_384


class _Datum(NamedTuple):
    """Hold a part of a text that is to be masked."""

    start: int
    end: int
    score: float
    entity: str


class PresidioMask:
    """Mask what Presidio finds in attributes, as ``<person:3f9a>``: a function for the argument `mask`.

    Texts are looked at wherever they stand in an attribute, in JSON within JSON too, as are keys that are no identifiers;
    numbers are not. Texts that were looked at lately, as those of a growing history, are not looked at again.

    Args:
        entities: what to look for, such as ``["PERSON", "LOCATION"]``, by the name of the attribute, or by ``status``,
            ``body``, ``span.name`` or ``event.name``.
        analyzer: the `AnalyzerEngine` of the program. By default one without a model, which has Presidio's patterns for
            numbers and the like, but finds neither names nor places, and downloads nothing.
        language: the language of the texts.
        score_threshold: the least score, between 0 and 1, of what is masked.

    Raises:
        ConfigurationError: Presidio is not installed, the analyzer does not know an entity, or an argument is not valid.
    """

    def __init__(
        self,
        entities: Mapping[str, Iterable[str]],
        *,
        analyzer: Any = None,
        language: str = "en",
        score_threshold: float = 0.4,
    ) -> None:
        self._entities = {where: _names(where, names) for where, names in _checked(entities).items()}
        if not 0 <= score_threshold <= 1:
            msg = f"score_threshold={score_threshold!r} must be between 0 and 1"
            raise ConfigurationError(msg)
        self._given, self._language, self._score_threshold = analyzer, language, score_threshold
        self._analyzer = _analyzer(language) if analyzer is None else analyzer
        self._check_entities()
        self._known = functools.lru_cache(maxsize=_KEPT_TEXTS)(self._analyzed)

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {
            "analyzer": self._given,
            "language": self._language,
            "score_threshold": self._score_threshold,
        }
        return functools.partial(type(self), self._entities, **settings), ()

    def __call__(self, value: Any, where: str) -> Any:
        """Return a JSON value with masks, the same one if nothing is found or the attribute is not named."""
        entities = self._entities.get(where)
        return value if entities is None else self._masked(value, entities)

    def _check_entities(self) -> None:
        known = set(self._analyzer.get_supported_entities(self._language))
        unknown = sorted({name for names in self._entities.values() for name in names} - known)
        if unknown:
            msg = (
                f"the analyzer finds no {', '.join(unknown)} in the language {self._language!r}, only "
                f"{', '.join(sorted(known))}; names and places need a model: PresidioMask(..., analyzer=AnalyzerEngine())"
            )
            raise ConfigurationError(msg)

    def _masked(self, value: Any, entities: tuple[str, ...]) -> Any:
        if isinstance(value, str):
            data = container_in(value)
            masked = data if data is None else self._masked(data, entities)
            if masked is not data:
                return msgspec.json.encode(masked).decode()
            return value if data is not None else self._masked_text(value, entities)
        if isinstance(value, dict):
            changed = self._masked_mapping(value, entities)
            return changed if changed != value else value
        if isinstance(value, list | tuple):
            items = [self._masked(item, entities) for item in value]
            return items if any(new is not item for new, item in zip(items, value, strict=True)) else value
        return value

    def _masked_mapping(self, value: dict[Any, Any], entities: tuple[str, ...]) -> dict[Any, Any]:
        changed: dict[Any, Any] = {}
        for key, item in value.items():
            new_key = key if not isinstance(key, str) or key.isidentifier() else self._masked_text(key, entities)
            while new_key is not key and new_key in changed:
                new_key += "+"
            changed[new_key] = item if key in _STRUCTURE else self._masked(item, entities)
        return changed

    def _masked_text(self, text: str, entities: tuple[str, ...]) -> str:
        find = self._known if len(text) <= _KEPT_CHARACTERS else self._analyzed
        data = find(text, entities)
        if not data:
            return text
        parts: list[str] = []
        done, key = 0, default_key()
        for datum in data:
            parts += text[done : datum.start], personal_mask(datum.entity.lower(), text[datum.start : datum.end], key)
            done = datum.end
        return "".join(parts) + text[done:]

    def _analyzed(self, text: str, entities: tuple[str, ...]) -> tuple[_Datum, ...]:
        """Return what is found in a text between the masks that stand in it, in order and without overlaps."""
        ends = [0, *(edge for mask in MASK.finditer(text) for edge in mask.span()), len(text)]
        return tuple(
            datum._replace(start=start + datum.start, end=start + datum.end)
            for start, end in zip(ends[::2], ends[1::2], strict=True)
            for datum in self._found(text[start:end], entities)
        )

    def _found(self, text: str, entities: tuple[str, ...]) -> list[_Datum]:
        if not text.strip():
            return []
        results = self._analyzer.analyze(
            text, language=self._language, entities=[*entities], score_threshold=self._score_threshold
        )
        found: list[_Datum] = []
        for datum in sorted(_Datum(one.start, one.end, one.score, one.entity_type) for one in results):
            if found and datum.start < found[-1].end:
                better = max(datum, found[-1], key=lambda one: one.score)
                found[-1] = better._replace(start=found[-1].start, end=max(datum.end, found[-1].end))
            else:
                found.append(datum)
        return found


def _checked(entities: object) -> Mapping[str, Iterable[str]]:
    if not isinstance(entities, Mapping) or not entities:
        msg = f'entities={entities!r} must be a mapping such as {{"gen_ai.input.messages": ["PERSON"]}}'
        raise ConfigurationError(msg)
    return entities


def _names(where: object, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of entities of an attribute; Presidio itself would take no names for all that it knows."""
    found = () if isinstance(names, str) else tuple(names)
    if not found or not isinstance(where, str):
        msg = f'entities[{where!r}]={names!r} must be a list of names such as ["PERSON"]'
        raise ConfigurationError(msg)
    return found


def _analyzer(language: str) -> Any:
    """Return an analyzer that has patterns only: no model, and nothing that it would download."""
    with needed_by("PresidioMask", "personal-data"), NO_FORK:
        import spacy  # noqa: PLC0415 - an extra, and large
        import tldextract  # noqa: PLC0415 - likewise
        from presidio_analyzer import AnalyzerEngine  # noqa: PLC0415 - likewise
        from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: PLC0415 - likewise
    engine: Any = SpacyNlpEngine(models=[{"lang_code": language, "model_name": language}])
    engine.nlp = {language: _with_words(spacy.blank(language))}
    analyzer: Any = AnalyzerEngine(nlp_engine=engine, supported_languages=[language])
    suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())  # Presidio's own downloads a list of them
    for recognizer in [*analyzer.registry.recognizers]:
        if type(recognizer).__name__ == "SpacyRecognizer":  # of names and places, which only a model finds
            analyzer.registry.remove_recognizer(recognizer.name)
        elif type(recognizer).__name__ == "EmailRecognizer":
            recognizer.validate_result = lambda text: bool(suffixes(text).fqdn)
    return analyzer


def _with_words(nlp: Any) -> Any:
    """Return a pipeline of spaCy in which each word is its own lemma, so that words such as "passport" raise scores."""
    tokenized = nlp.tokenizer

    def with_lemmas(text: str) -> Any:
        tokens = tokenized(text)
        for token in tokens:
            token.lemma_ = token.lower_
        return tokens

    nlp.tokenizer = with_lemmas
    return nlp
