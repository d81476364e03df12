"""Encode any Python value as standard JSON with a tree of type tags, within limits, and restore it with its types.

`encode` returns JSON that any reader understands, and a tag if JSON alone would not restore the same value; `restore`
takes both and returns the value. Neither raises an exception because of a value. A tag is a name, or an object with

- ``t``: the name of the type,
- ``x``: what that type needs in addition to the JSON,
- ``c``: the tags of the children, by index or key,
- ``k``: the tag of what is kept of a truncated value, or of the data of an instance,
- ``s``: what the data of a pydantic model lacks (see `values.models`).

A value that JSON represents exactly has no tag, so that plain values cost a single pass.
"""

from __future__ import annotations

from otel_agent_trace.values.classes import register_type, repaired
from otel_agent_trace.values.encoded import Encoded, EncodedText, Opaque, Tag
from otel_agent_trace.values.equality import same
from otel_agent_trace.values.fields import fields_of, is_mapped
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
    "fields_of",
    "is_iterator",
    "is_mapped",
    "register_type",
    "repaired",
    "restore",
    "same",
]
