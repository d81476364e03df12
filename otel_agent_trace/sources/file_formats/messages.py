"""Read OTLP messages one after another, each preceded by its length, as the Collector's file exporter writes them.

The length has four bytes, the highest first, or it is a varint, as protobuf's own tools write it. A message is protobuf or
JSON, and with the exporter's `compression` each is compressed with Zstandard by itself. A saved request without a length is
read as well: each of its fields is a message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.sources.file_formats.json_texts import JsonTexts
from otel_agent_trace.sources.file_formats.json_texts import trace_ids as trace_ids_in_text
from otel_agent_trace.sources.file_formats.pieces import DamagedError, Found, Pieces, salvaged
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.store import zstandard

_FIXED_BYTES, _VARINT_BYTES = 4, 5
_HEAD_BYTES = 16
_GROUP_TAG = b"\x0a"
_IN_GROUP = (b"\x0a", b"\x12", b"\x1a", b"")
_JSON = b"{"
_MAX_BYTES = 64 << 20
_BATCH_BYTES = 64 << 10
"""Small messages are handed on together, once they have this many bytes."""
_MAX_RATIO, _RATIO_FROM_BYTES = 1000, 1 << 20


class _Length(NamedTuple):
    """Hold the bytes before a message (`head`), how many of them belong to it (`kept`), and the bytes after them (`body`)."""

    head: int
    kept: int
    body: int


ReadLength = Callable[[bytes], "_Length | None"]
"""Function that returns the length at the beginning of some bytes, or None if there is none, or only a part of it."""


def _fixed_length(data: bytes) -> _Length | None:
    """Read a length of four bytes."""
    if len(data) < _FIXED_BYTES:
        return None
    return _Length(_FIXED_BYTES, 0, int.from_bytes(data[:_FIXED_BYTES], "big"))


def _varint_length(data: bytes) -> _Length | None:
    """Read a length that is a varint."""
    number = 0
    for at, digit in enumerate(data[:_VARINT_BYTES]):
        number |= (digit & 0x7F) << 7 * at
        if digit < 0x80:
            return _Length(at + 1, 0, number)
    return None


def _field_length(data: bytes) -> _Length | None:
    """Read the tag and length of a field of a request; both belong to the message, since the field is a whole request."""
    if data[:1] != _GROUP_TAG:
        return None
    length = _varint_length(data[1:])
    return length and _Length(length.head + 1, length.head + 1, length.body)


def detect_lengths(head: bytes) -> ReadLength | None:
    """Return the function that reads the lengths of a file that begins so, or None if it does not begin with a message."""
    return next(
        (read for read in (_fixed_length, _field_length, _varint_length) if _begins_message(read(head), head)), None
    )


def _begins_message(length: _Length | None, head: bytes) -> bool:
    if length is None or not 0 < length.body <= _MAX_BYTES:
        return False
    message = head[length.head - length.kept : length.head - length.kept + _HEAD_BYTES]
    if length.head == _FIXED_BYTES and message.startswith((zstandard.MAGIC, b'{"resource')):
        return True
    inner = _field_length(message)
    return (
        inner is not None
        and inner.head + inner.body <= length.kept + length.body
        and message[inner.head : inner.head + 1] in _IN_GROUP
    )


def _pieces(messages: list[bytes | None], number: int, position: int) -> Pieces:
    return Pieces(messages, range(number, number + len(messages)), position)


class Messages:
    """Read messages with their lengths; a `FileFormat`.

    Args:
        read_length: the function that reads the lengths.
    """

    piece_name = "message"

    def __init__(self, read_length: ReadLength) -> None:
        self._read_length = read_length
        self._texts = JsonTexts()
        self._compressed_bytes = self._decompressed_bytes = 0

    def fits(self, head: bytes) -> bool:
        """Return True, since the format is chosen only for a file that begins with a message."""
        return True

    def trace_ids(self, blocks: Iterator[bytes], max_bytes: int) -> Iterator[tuple[set[bytes], int]]:
        """Yield the trace ids in each message, and the bytes up to its end; ends where the file is damaged."""
        with suppress(DamagedError):
            for messages, _, position in self.pieces(blocks, sys.maxsize, max_bytes):
                for message in messages:
                    yield self._trace_ids(message) if message else set(), position

    def pieces(self, blocks: Iterator[bytes], size: int, max_bytes: int) -> Iterator[Pieces]:
        """Yield the messages of the first `size` bytes; the last one is left out if the file continues it after them.

        Raises:
            DamagedError: there is no message where one should begin.
        """
        rest = _ByteReader(blocks, size)
        messages: list[bytes | None] = []
        number, begin = 1, 0
        try:
            for message in self._messages(rest, max_bytes):
                messages.append(message)
                if rest.position - begin >= _BATCH_BYTES:
                    yield _pieces(messages, number, rest.position)
                    number, begin, messages = number + len(messages), rest.position, []
        except DamagedError:
            if messages:
                yield _pieces(messages, number, rest.position)
            raise
        if messages:
            yield _pieces(messages, number, rest.position)

    def _messages(self, rest: _ByteReader, max_bytes: int) -> Iterator[bytes | None]:
        """Yield each message, or None for one that is too long."""
        while True:
            head = rest.peek(_HEAD_BYTES)
            if not head:
                return
            length = self._read_length(head)
            if length is None or not length.body:
                if length is None and rest.grown:
                    return
                msg = f"no message begins at byte {rest.position}"
                raise DamagedError(msg)
            rest.skip(length.head - length.kept)
            whole = length.kept + length.body
            message = rest.take(whole) if whole <= max_bytes else None
            if message is None:
                rest.skip(whole)
            elif len(message) < whole and rest.grown:
                return
            yield message

    def read(self, message: bytes) -> list[SpanRecord]:
        """Return the spans of a message, or none if it holds log records or metrics.

        Raises:
            ValueError: the message cannot be decoded as a whole.
        """
        content = self._content(message)
        return self._texts.read(content) if content.startswith(_JSON) else otlp_proto.decode(content, _refuse)

    def mentions(self, message: bytes, mark: bytes) -> bool:
        """Return whether some bytes are in a message after decompression."""
        with suppress(ValueError):
            return mark in self._content(message)
        return False

    def read_unusual(self, message: bytes, refusal: Exception | None) -> Found:
        """Return the log records of a message without spans, or the spans that are intact in a damaged one."""
        try:
            content = self._content(message)
        except ValueError as error:
            return Found(reason=str(error))
        if content.startswith(_JSON):
            return self._texts.read_unusual(content, refusal)
        with suppress(otlp_proto.OtlpProtoError):
            if otlp_proto.holds_logs(content):
                return Found(logs=otlp_proto.decode_logs(content))
            if refusal is None or otlp_proto.holds_metrics(content):
                return Found()
        return salvaged(otlp_proto.salvage(content), str(refusal))

    def _content(self, message: bytes) -> bytes:
        """Return a message after decompression.

        Raises:
            ValueError: it cannot be decompressed, or the messages so far have a suspiciously high ratio.
        """
        if not message.startswith(zstandard.MAGIC):
            return message
        if self._decompressed_bytes > _MAX_RATIO * max(self._compressed_bytes, _RATIO_FROM_BYTES):
            msg = f"messages of more than {_MAX_RATIO} times their size after decompression"
            raise ValueError(msg)
        try:
            content = zstandard.decompress(message, _MAX_BYTES)
        except OSError as error:
            msg = f"a message that cannot be decompressed ({error})"
            raise ValueError(msg) from error
        self._compressed_bytes += len(message)
        self._decompressed_bytes += len(content)
        return content

    def _trace_ids(self, message: bytes) -> set[bytes]:
        """Return the trace ids in a message; of a damaged one those that `read_unusual` will find."""
        try:
            content = self._content(message)
        except ValueError:
            return set()
        if content.startswith(_JSON):
            return trace_ids_in_text(content)
        try:
            return otlp_proto.trace_ids(content)
        except otlp_proto.OtlpProtoError:
            return {span.trace_id.encode() for span in otlp_proto.salvage(content)}


def _refuse(reason: str) -> None:
    raise otlp_proto.OtlpProtoError(reason)


class _ByteReader:
    """Read the first `size` bytes of a file in parts of any size; `grown` is true once the file is known to have more."""

    def __init__(self, blocks: Iterator[bytes], size: int) -> None:
        self.position = 0
        self.grown = False
        self._blocks = blocks
        self._left = size
        self._data = b""
        self._at = 0  # bytes of the buffer that have been taken

    def peek(self, size: int) -> bytes:
        """Return the next bytes, at most `size`, without taking them."""
        while len(self._data) - self._at < size and (block := self._block()):
            self._data, self._at = self._data[self._at :] + block, 0
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """Take and return the next `size` bytes, or fewer at the end."""
        begin = self._at
        return self._data[begin : self._at] if self._passes(size) else b"".join(self._parts(size))

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes."""
        if not self._passes(size):
            for _ in self._parts(size):
                pass

    def _passes(self, size: int) -> bool:
        """Skip `size` bytes if the buffer has as many, and return whether it had."""
        end = self._at + size
        if end > len(self._data):
            return False
        self._at = end
        self.position += size
        return True

    def _parts(self, size: int) -> Iterator[bytes]:
        while size and (self._at < len(self._data) or self._fill()):
            part = self._data[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            self.position += len(part)
            yield part

    def _fill(self) -> bool:
        """Read the next block into the empty buffer, and return whether there is one."""
        self._data, self._at = self._block(), 0
        return bool(self._data)

    def _block(self) -> bytes:
        """Return the next block as far as it is within the size."""
        block = next(self._blocks, b"")
        self.grown = self.grown or len(block) > self._left
        block = block[: self._left]
        self._left -= len(block)
        return block
