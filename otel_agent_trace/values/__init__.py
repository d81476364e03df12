"""Any Python value ⇄ standard JSON beside a tree of type tags: faithful to types, bounded, never raising on user data.

`encode` gives JSON that everybody can read, and a tag where JSON alone would not bring the same value back; `restore`
puts the two together again. A tag is a name, or an object with

- ``t`` the name of the type, ``x`` what that type needs beside the JSON,
- ``c`` the tags of the children, by index or key, ``k`` the tag of what is kept of a cut value.

What JSON can say has no tag at all, so plain values cost one look.
"""

from __future__ import annotations

from otel_agent_trace.values.classes import register_type, repaired
from otel_agent_trace.values.encoded import Encoded, EncodedText, Opaque, Tag
from otel_agent_trace.values.equality import same
from otel_agent_trace.values.limits import NO_LIMITS, Limits, Truncated
from otel_agent_trace.values.restoring import decode_text, restore
from otel_agent_trace.values.writing import encode, encode_string, encode_text, is_iterator

__all__ = [
    "NO_LIMITS",
    "Encoded",
    "EncodedText",
    "Limits",
    "Opaque",
    "Tag",
    "Truncated",
    "decode_text",
    "encode",
    "encode_string",
    "encode_text",
    "is_iterator",
    "register_type",
    "repaired",
    "restore",
    "same",
]
