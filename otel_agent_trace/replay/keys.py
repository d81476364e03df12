"""Make keys of recorded values: texts that are equal if the values are, in whatever process they were made.

Members of sets are sorted, since their order depends on the hash seed of the process, and so are keys of dicts;
addresses are cut from what `repr` returned.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from otel_agent_trace.values import encode

_SORTED = msgspec.json.Encoder(order="sorted")
_ADDRESS = re.compile(r"(?:(?<=<)(?:[\w]+\.)*(?=[\w.<>]+ object at 0x))|(?: at 0x[0-9a-fA-F]+)")
_SETS = ("set", "frozenset")


def key_of(value: Any) -> str:
    """Return the key of a value, in which types count: those of equal keys are equal by type and value."""
    encoded = encode(value)
    data = encoded.data if encoded.tag is None else _canonical(encoded.data, encoded.tag)
    return without_addresses(_SORTED.encode(data).decode())


def plain_key_of(value: Any) -> str:
    """Return the key of what other tracers record of a value: its JSON, in which a tuple is a list."""
    return without_addresses(_SORTED.encode(encode(value).data).decode())


def without_addresses(text: str) -> str:
    """Return a text without what `repr` shows of objects that differs between processes: the address, and the module,
    which is ``__main__`` in the program itself.
    """
    return _ADDRESS.sub("", text) if " at 0x" in text else text


def _canonical(data: Any, tag: Any) -> Any:
    """Return data with its tags inside, as lists of a name and a content."""
    if tag is None:
        return data
    name, parts = (tag, {}) if isinstance(tag, str) else (tag.get("t"), tag)
    if name == "items":
        pairs = ([_canonical(key, key_tag), _canonical(item, item_tag)] for key, key_tag, item, item_tag in parts["x"])
        return ["dict", _in_order(pairs)]
    content = _children(data, parts) if "k" not in parts else _canonical(data, parts["k"])
    if name == "dict":
        keys = parts.get("x") or {}
        return ["dict", _in_order([_canonical(*keys[key]) if key in keys else key, content[key]] for key in content)]
    if name in _SETS:
        content = _in_order(content)
    return content if name is None else [name, parts.get("x"), content]


def _children(data: Any, parts: dict[str, Any]) -> Any:
    tags = parts.get("c")
    if not tags:
        return data
    if isinstance(data, list):
        return [_canonical(item, tags.get(str(index))) for index, item in enumerate(data)]
    return {key: _canonical(item, tags.get(key)) for key, item in data.items()}


def _in_order(items: Any) -> list[Any]:
    return sorted(items, key=_SORTED.encode)
