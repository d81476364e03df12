"""Read the value in a text: JSON or a Python literal, whole, or the beginning of one that a limit has cut.

OpenTelemetry's limits on the length of attributes cut JSON in the middle. Whatever is complete in it is read, and of the
value at the end the items of a container and the characters of a text; a number may have been longer, and is left out.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.json_repair import repaired
from otel_agent_trace.values import Truncated

LONGEST_LITERAL = 100_000
_DEEPEST = 200
_decode = msgspec.json.Decoder().decode


def value_in(text: str) -> Any:
    """Return the value of JSON or of a Python literal such as ``{'city': 'Paris'}``; else the text itself.

    A number that JSON would write in another way, like 1.10, -0 and 1e3, is a text: a version, an id, a price.
    """
    try:
        value = _decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _repaired(text) if looks_structured(text) else text
    return text if type(value) in (int, float) and json.dumps(value) != text else value


def looks_structured(text: str) -> bool:
    """Return whether a text may be more than plain text: an object, a list, a tuple or a quoted text."""
    return text.lstrip()[:1] in ("{", "[", "(", "'", '"') if text else False


def _repaired(text: str) -> Any:
    """Return the value of JSON with half an emoji or NaN in it, or of a Python literal; else the text itself."""
    data, what = repaired(text.encode(errors="replace"))
    if what:
        try:
            return _decode(data)
        except (msgspec.DecodeError, RecursionError):
            pass
    return _literal(text)


def _literal(text: str) -> Any:
    if len(text) > LONGEST_LITERAL:
        return text
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return text if "..." in text and any(map(_is_ellipsis, ast.walk(tree))) else ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _is_ellipsis(node: ast.AST) -> bool:
    """Return whether a node is `...`, by which a `repr` leaves out items: what has it is no value."""
    return isinstance(node, ast.Constant) and node.value is ...


# ── beginnings ───────────────────────────────────────────────────────────────────────────────────────────────────────

_CLOSERS = {"{": "}", "[": "]", "(": ")"}
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<open>[{\[(]) | (?P<close>[}\])]) | (?P<comma>,) | (?P<colon>:)
    | (?P<value>
        "[^"\\]*(?:\\.[^"\\]*)*" | '[^'\\]*(?:\\.[^'\\]*)*'
        | (?:-?\d[\d.eE+-]*|true|false|null|True|False|None)(?=\s*[,:\]})])
      )
    )""",
    re.DOTALL | re.VERBOSE,
)
_BLANKS = re.compile(r"\s*")
_CUT_SCALAR = re.compile(r"-?[\d.eE+-]*|[tTfFnN][a-zA-Z]{0,4}")
_COMPLETE_ESCAPES = re.compile(
    r"""["'][^\\]*(?:\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|N\{[^}]*\}|[^uUxN])[^\\]*)*""", re.DOTALL
)
_HALF_CHARACTER = re.compile(r"(?:(?<!\\)(?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}|\ufffd)$")
_MARK = re.compile(
    r"\s*(?:\.{3}|…)?\s*(?:[\[(<{]+[\s.…+-]*(?:\w+[ :]+){0,2}(?:truncated|omitted)\b[^\n]{0,100}[\])>}]+(?:\s*\.{3})?|\.{3}|…)\s*$",
    re.IGNORECASE,
)
_MARK_CHARACTERS = 200
"""Ends of texts that frameworks have cut: ``...``, ``[truncated]``, ``...[TRUNCATED: original length 70000]``."""


def beginning_of(text: str) -> Truncated | None:
    """Return what can be read of JSON, or of a Python literal, that ends in the middle; None for any other text.

    Its `kept` is an object or a list, with a `Truncated` in it in place of a text that ends in the middle, or a text.
    """
    first = text.lstrip()[:1]
    if first == '"':
        return _beginning_of_quoted(text)
    if first not in ("{", "["):
        return None
    mark = _MARK.search(text, max(0, len(text) - _MARK_CHARACTERS))
    return (_beginning_of_container(text[: mark.start()]) if mark else None) or _beginning_of_container(text)


def is_cut(value: Any) -> bool:
    """Return whether a value is JSON of which only the beginning is there, at a glance: it may end in a closing bracket."""
    if type(value) is not str or value[:1] not in _CLOSERS or value[-1:] == _CLOSERS[value[0]]:
        return False
    return beginning_of(value) is not None


def _beginning_of_quoted(text: str) -> Truncated | None:
    """Return the beginning of a text in quotes, which may hold JSON itself."""
    begun = text.lstrip()
    closed = None if _TOKEN.match(begun) else _closed(begun)
    inner = None if closed is None else value_in(closed)
    if type(inner) is not str or inner == closed:
        return None
    return beginning_of(inner) or Truncated(inner, None, "bytes")


class _Scan(NamedTuple):
    """Represent where the complete part of a text ends, what closes it there, and what follows."""

    complete: str
    closers: str
    begun_at: int
    is_key: bool


def _beginning_of_container(text: str) -> Truncated | None:
    scan = _scan(text)
    if scan is None:
        return None
    begun = text[scan.begun_at :]
    if begun[:1] not in ('"', "'"):
        data = value_in(scan.complete + scan.closers) if _CUT_SCALAR.fullmatch(begun.rstrip()) else None
    else:
        closed = _closed(begun)
        if closed is None:
            return None
        whole = scan.complete if scan.is_key else text[: scan.begun_at] + closed
        data = value_in(whole + scan.closers)
        if not scan.is_key:
            data = _with_cut_text(data)
    return None if data is None or type(data) is str else Truncated(data, None, "bytes")


def _scan(text: str) -> _Scan | None:
    """Return what is complete at the beginning of a text; None where nothing, or all of it, is."""
    closers: list[str] = []
    at = complete = 0
    is_key = False
    while token := _TOKEN.match(text, at):
        kind, at = token.lastgroup, token.end()
        if kind == "open":
            closers.append(_CLOSERS[text[at - 1]])
        elif kind == "close" and (not closers or closers.pop() != text[at - 1]):
            return None
        if not closers or len(closers) > _DEEPEST:
            return None
        if kind in ("open", "close") or (kind == "value" and not is_key):
            complete = at
        is_key = closers[-1] == "}" and (kind in ("open", "comma") or (kind == "value" and is_key))
    begun_at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    return _Scan(text[:complete], "".join(reversed(closers)), begun_at, is_key) if complete else None


def _closed(begun: str) -> str | None:
    """Return a text in quotes that lacks its end, without half a character or escape there, and closed."""
    escapes = _COMPLETE_ESCAPES.match(begun)
    kept = escapes[0] if escapes else ""
    if not kept or (len(kept) < len(begun) and begun[len(kept)] != "\\"):
        return None
    half = _HALF_CHARACTER.search(kept, max(0, len(kept) - _MARK_CHARACTERS))
    return (kept[: half.start(1)] if half else kept) + kept[0]


def _with_cut_text(data: Any) -> Any:
    """Return containers with a `Truncated` in place of the last text, in which they end."""
    leaf = last_leaf(data)
    if leaf is not None and type(leaf.value) is str:
        leaf.holder[leaf.place] = Truncated(leaf.value, None, "bytes")
    return data


class Leaf(NamedTuple):
    """Represent a value that is not a container with items, its place in its container, and the last key before it."""

    holder: Any
    place: Any
    key: str
    value: Any


def last_leaf(data: Any) -> Leaf | None:
    """Return the last leaf of nested dicts and lists, where a limit cuts them; None where the data is a leaf itself."""
    leaf, key = None, ""
    while type(data) in (dict, list) and data:
        place = next(reversed(data)) if type(data) is dict else len(data) - 1
        key = place if type(place) is str else key
        leaf = Leaf(data, place, key, data[place])
        data = leaf.value
    return leaf
