"""What one span says: one module per attribute scheme, each a `read(span) -> Meaning | None`; a table picks.

None of the modules knows another. The first whose evidence is in the span says what it means.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_agent_trace.dialects import genai
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.span import SpanRecord

DIALECTS: tuple[Callable[[SpanRecord], Meaning | None], ...] = (genai.read,)


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, in the first dialect that understands it."""
    for dialect in DIALECTS:
        meaning = dialect(span)
        if meaning is not None:
            return meaning
    return None
