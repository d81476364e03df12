"""Read what the attributes of a scanned span have of the row of its run, by where a span of its kind has them."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import FAILED_STATUSES, RunStatus
from otel_agent_trace.sources.index.rows import preview
from otel_agent_trace.sources.index.scan import OwnSpan, Pair
from otel_agent_trace.sources.index.schema import UNKNOWN

_MOST_NAMES, _MOST_NAME_BYTES = 4096, 256
_MODELS = (semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
_TOKENS = (semconv.USAGE["input_tokens"], semconv.USAGE["output_tokens"])
USAGE = frozenset((*semconv.USAGE.values(), semconv.USAGE_DETAILS))
_UNUSUAL = frozenset(
    {semconv.INTERRUPTED_FOR, semconv.INTERRUPTED, semconv.RUN_TRACE_IDS, semconv.USAGE_DETAILS, semconv.RUN_PARENT_ID}
)
_text_decoder = msgspec.json.Decoder(str)


class WholeTraceError(Exception):
    """Indicate a trace that has to be read as a whole."""


class Shape(NamedTuple):
    """Hold which attributes a span has and where, as spans of a kind have the same ones."""

    is_unusual: bool
    has_usage: bool
    has_kind: bool
    messages: int | None
    models: tuple[int, ...]
    results: tuple[int, ...]
    tool_results: tuple[int, ...]
    places: dict[str, int]

    def status(self, root: OwnSpan) -> str:
        """Return the status of the run whose root a span is."""
        written = self.text(root, semconv.RUN_STATUS)
        if written is not None and written in FAILED_STATUSES:
            return written
        is_error = root.status is not None and root.status.code == semconv.STATUS_ERROR
        return str((RunStatus.ERROR if is_error else RunStatus.SUCCESS).value)

    def has_error(self, span: OwnSpan) -> bool:
        """Return whether a span failed.

        Raises:
            WholeTraceError: the error itself has to be looked at.
        """
        error_type, status = self.text(span, semconv.ERROR_TYPE), span.status
        if error_type is None and (status is None or status.code != semconv.STATUS_ERROR):
            return False
        if error_type in (None, semconv.ERROR_TYPE_OTHER) and not (status is not None and status.message):
            raise WholeTraceError
        return True

    def tokens(self, span: OwnSpan) -> int:
        """Return the sum of the tokens of a span.

        Raises:
            WholeTraceError: one is no whole number.
        """
        total = 0
        for key in _TOKENS:
            if key in self.places:
                number = span.attributes[self.places[key]].value.int_value
                if number is None:
                    raise WholeTraceError
                total += number
        return total

    def number(self, span: OwnSpan, key: str) -> float | None:
        """Return the number of an attribute, None where there is none.

        Raises:
            WholeTraceError: it is no number.
        """
        place = self.places.get(key)
        if place is None:
            return None
        value = span.attributes[place].value
        number = value.int_value if value.double_value is None else value.double_value
        if number is None:  # it may be a text
            raise WholeTraceError
        return float(number)

    def name(self, span: OwnSpan, key: str) -> str | None:
        """Return the text of an attribute that many spans have, None where there is none."""
        place = self.places.get(key)
        return None if place is None else decoded_names[bytes(span.attributes[place].value.string_value)]

    def text(self, span: OwnSpan, key: str) -> str | None:
        """Return the text of an attribute, None where there is none."""
        place = self.places.get(key)
        if place is None:
            return None
        text: str = _text_decoder.decode(span.attributes[place].value.string_value)
        return text

    def messages_preview(self, span: OwnSpan, key: str, most_chars: int) -> str | None:
        """Return the beginning of the only text in messages, as our tracer writes the question and the answer of a run."""
        place = self.places.get(key)
        if place is None:
            return None
        if semconv.TYPES in self.places and key in (self.text(span, semconv.TYPES) or ""):
            return UNKNOWN  # it is no text
        try:
            messages = _messages_decoder.decode(_text_decoder.decode(span.attributes[place].value.string_value))
        except msgspec.DecodeError:
            return UNKNOWN
        contents = [part.content for message in messages for part in message.parts]
        return preview(contents[0] if len(contents) == 1 else contents, most_chars)


@functools.lru_cache(maxsize=1024)
def shape_of(keys: tuple[str, ...]) -> Shape:
    """Return the shape of the spans with some attributes."""
    places = {name: place for place, name in enumerate(keys)}
    return Shape(
        len(places) < len(keys) or not _UNUSUAL.isdisjoint(places),
        not USAGE.isdisjoint(places),
        semconv.STEP_KIND in places,
        places.get(semconv.INPUT_MESSAGES),
        tuple([places[key] for key in _MODELS if key in places]),
        tuple([places[key] for key in (semconv.OUTPUT,) if key in places]),
        tuple([places[key] for key in (semconv.OUTPUT, semconv.TOOL_RESULT) if key in places]),
        places,
    )


def has_word(pair: Pair, word: bytes) -> bool:
    """Return whether the JSON of a text has a word.

    Raises:
        WholeTraceError: the attribute is no text.
    """
    raw = bytes(pair.value.string_value)
    if not raw:  # no text
        raise WholeTraceError
    return word in raw


class _Names(dict[bytes, str]):
    """Map the JSON of texts that many spans have, such as names of tools, to the texts."""

    def __missing__(self, raw: bytes) -> str:
        """Decode a text."""
        text: str = _text_decoder.decode(raw)
        if len(self) >= _MOST_NAMES:
            self.clear()
        if len(raw) <= _MOST_NAME_BYTES:
            self[raw] = text
        return text


decoded_names = _Names()


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    content: Any = None


class _Message(msgspec.Struct, gc=False):
    parts: list[_Part] = []


_messages_decoder = msgspec.json.Decoder(list[_Message])
