"""Read quoted texts inside texts: JSON in JSON in JSON, source code, reprs, HTML and percent-encoded texts."""

from __future__ import annotations

from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.texts import UnscannableError

QUOTE = r"(?:\\{0,64}[\"'`]|&quot;|&[#](?:34|39|x27|x22|X27|X22);|%22|%27|%5C%22)"
"""Match a quote, with the backslashes of each level of JSON that it lies in."""
_MOST_BACKSLASHES = 256
_LONGEST = 1 << 16
_LINE_END = lazy_pattern(r"\r|\n|\\{1,64}[nr]")


def end_of_quoted(text: str, start: int, quote: str) -> int:
    """Return where a quoted text ends: before its closing quote, else before the quote that closes a text around it.

    Where neither follows, it ends with its line, and with the text.

    Raises:
        UnscannableError: it is longer than 65536 characters.

    Args:
        text: the whole text.
        start: the position after the opening quote.
        quote: the opening quote with its backslashes, as `QUOTE` matches it.
    """
    limit = min(len(text), start + _LONGEST)
    if quote[-1] in "\"'`":
        end = _end_at(text, start, quote[-1], len(quote) - 1, limit)
    else:
        end = text.find(quote, start, limit)
    return end if end >= 0 else end_of_line(text, start)


def _end_at(text: str, start: int, mark: str, backslashes: int, limit: int) -> int:
    """Return where the quote is that has as many backslashes as the opening one, or fewer; -1 if there is none.

    Among levels of JSON, a quote of the next level has one backslash more than twice as many; and backslashes of the
    quoted text itself come in multiples of the same number.
    """
    step = 2 * (backslashes + 1)
    position = text.find(mark, start, limit)
    while position >= 0:
        before = text[max(start, position - _MOST_BACKSLASHES) : position]
        run = len(before) - len(before.rstrip("\\"))
        if run < backslashes:
            return position - run
        if (run - backslashes) % step == 0:
            return position - backslashes
        position = text.find(mark, position + 1, limit)
    return -1


def end_of_line(text: str, start: int) -> int:
    """Return where the line ends; the ends of lines are escaped in JSON.

    Raises:
        UnscannableError: it is longer than 65536 characters.
    """
    match = _LINE_END.search(text, start, start + _LONGEST)
    if match:
        return match.start()
    if len(text) > start + _LONGEST:
        raise UnscannableError
    return len(text)
