"""Walk through a JSON value: every text of it, keys too, with what its place announces."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.redaction.credentials import (
    is_begin_of_key,
    is_cookie_secret,
    is_line_of_key,
    part_of_user_option,
)
from otel_agent_trace.redaction.masks import UNSCANNED
from otel_agent_trace.redaction.named_values import ATTACHED_OPTION, NAME_LITERALS, found_under_name, of_second
from otel_agent_trace.redaction.names import NamedSecret, named_secret
from otel_agent_trace.redaction.ordinary import is_password
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.texts import Found, bytes_of_texts, texts_of_bytes

MOST_LEVELS = 150
_LONGEST_NAME = 100
_NAME_KEYS = ("name", "key", "header", "field", "k", "param", "parameter", "parameterkey")
_VALUE_KEYS = ("value", "val", "v", "content", "parametervalue")
_INNER_VALUE_KEYS = frozenset({"value", "stringvalue", "string_value"})
_ELEMENT_KEYS = ("element", "selector", "label", "target")
_KIND_OF_ELEMENT = lazy_pattern(r"(?i)[ _-](?:input[ _-])?(?:field|input|text ?box|box)\Z")
_COOKIE_KEYS = frozenset({"httponly", "samesite"})
_USER_OPTIONS = frozenset({"-u", "--user", "-U", "--proxy-user"})
_MOST_PAIR_KEYS = 16
_LEAST_NUMBERS = {"password": 1000, "passcode": 100}
"""Numbers from which one is a secret, by rule; below, pins are those of a processor."""
_LEVELS_OF_JSON = 3
_LEAST_IN_SECRETS = 12


class Announced(NamedTuple):
    """Hold what the place of a value announces: a secret, and whether a simple word is one there."""

    secret: NamedSecret
    is_alone: bool = True


Mask = Callable[[str, Sequence[Found], str], str]
"""Represent what masks a text: given the text, what its place finds in it, and its path."""


class Walk:
    """Replace the texts of JSON values; what contains no changed text remains the same object."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def text(self, text: str, name: str | None) -> str:
        """Return a text that stands under a name as the function of this walk returns it."""
        secret = named_secret(name) if name else None
        return self._mask(text, found_under_name(text, secret) if secret else [], "")

    def value(self, value: Any, announced: Announced | None = None, path: str = "", level: int = 0) -> Any:
        """Return a value with the texts that the function of this walk returns for its own."""
        if isinstance(value, str):
            return self._mask(value, found_under_name(value, *announced) if announced else [], path)
        if isinstance(value, dict):
            return self._mapping(value, announced, path, level + 1) if level < MOST_LEVELS else UNSCANNED
        if isinstance(value, (list, tuple)):
            return self._sequence(value, announced, path, level + 1) if level < MOST_LEVELS else UNSCANNED
        if isinstance(value, bytes):
            texts = texts_of_bytes(value)
            masked = self.value(texts, announced, path, level)
            return value if masked is texts else bytes_of_texts(value, masked)
        if announced and isinstance(value, int) and _is_secret_number(value, announced.secret):
            text = str(value)
            return self._mask(text, [Found(0, len(text), announced.secret.rule, text)], path)
        return value

    def _mapping(self, value: dict[Any, Any], announced: Announced | None, path: str, level: int) -> dict[Any, Any]:
        pair_key, of_pair = _pair(value, announced)
        changed: dict[Any, Any] = {}
        is_changed = False
        for key, item in value.items():
            new_key, new_item = key, item
            if isinstance(key, str):
                new_key = self._mask(key, [], path)
                place = of_pair if key == pair_key else _announced_by(key, item, announced)
                new_item = self.value(item, place, f"{path}.{new_key}" if path else new_key, level)
            else:
                new_item = self.value(item, None, f"{path}[{key!r}]", level)
            is_changed |= new_key is not key or new_item is not item
            while new_key is not key and new_key in changed:
                new_key += "+"
            changed[new_key] = new_item
        return changed if is_changed else value

    def _sequence(
        self, value: list[Any] | tuple[Any, ...], announced: Announced | None, path: str, level: int
    ) -> list[Any] | tuple[Any, ...]:
        changed: list[Any] = []
        is_changed = False
        before: Any = None
        is_key = False
        for index, item in enumerate(value):
            is_key = _is_line_of_key(before, item, is_key)
            place = _LINE_OF_KEY if is_key else _announced_by_item(before, item, is_pair=len(value) == 2)
            place = place or _announced_by_command(value, before, item)
            if place is None and announced is not None:
                place = Announced(of_second(announced.secret) if index else announced.secret, is_alone=False)
            new = self.value(item, place, f"{path}[{index}]", level)
            is_changed |= new is not item
            changed.append(new)
            before = item
        if not is_changed:
            return value
        return tuple(changed) if isinstance(value, tuple) else changed


def _is_secret_number(value: int, secret: NamedSecret) -> bool:
    if isinstance(value, bool) or not secret.is_certain:
        return False
    return abs(value) >= _LEAST_NUMBERS.get(secret.rule, math.inf)


def _announced_by(key: str, item: Any, announced: Announced | None) -> Announced | None:
    """Return what a key announces, else what the name of the whole mapping does."""
    if announced is not None and key.lower() in _INNER_VALUE_KEYS:
        return announced
    secret = named_secret(key)
    if secret is not None or announced is None or not isinstance(item, str):
        return Announced(secret) if secret else None
    if announced.secret.rule == "cookie":
        return Announced(_COOKIE_VALUE) if is_cookie_secret(key, item) else None
    if announced.secret == _SECRETS and len(item) >= _LEAST_IN_SECRETS:
        return announced._replace(is_alone=False)
    return None


_COOKIE_VALUE = NamedSecret("cookie-value")
_SECRETS = named_secret("secrets")


def _pair(value: dict[Any, Any], announced: Announced | None) -> tuple[Any, Announced | None]:
    """Return the key of a mapping that holds the value of a pair, as in ``{"name": …, "value": …}``, and what is announced."""
    if len(value) > _MOST_PAIR_KEYS:
        return None, None
    keys = {key.lower(): key for key in value if isinstance(key, str)}
    value_key = next((keys[key] for key in _VALUE_KEYS if key in keys), None)
    if value_key is None:
        return _typed(value, keys)
    name = next((value[keys[key]] for key in _NAME_KEYS if key in keys and isinstance(value[keys[key]], str)), None)
    if value.get("type") == "password":
        name = "password"
    if name is None or len(name) > _LONGEST_NAME:
        return None, None
    item = value[value_key]
    is_cookie = not _COOKIE_KEYS.isdisjoint(keys) or (announced is not None and announced.secret.rule == "cookie")
    if is_cookie and isinstance(item, str):
        return (value_key, Announced(_COOKIE_VALUE)) if is_cookie_secret(name, item) else (None, None)
    secret = named_secret(name)
    return (value_key, Announced(secret)) if secret else (None, None)


def _typed(value: dict[Any, Any], keys: dict[str, Any]) -> tuple[Any, Announced | None]:
    """Return the key of what a tool types into an element of a page, and what the name of the element announces."""
    text_key = keys.get("text")
    for key in _ELEMENT_KEYS if text_key is not None else ():
        name = value.get(key)
        if isinstance(name, str) and len(name) <= _LONGEST_NAME:
            secret = named_secret(_KIND_OF_ELEMENT.sub("", name))
            if secret is not None:
                return text_key, Announced(secret, is_alone=False)
    return None, None


def _announced_by_item(before: Any, item: Any, *, is_pair: bool) -> Announced | None:
    """Return what the item before announces, in lists of arguments and of headers."""
    if not isinstance(before, str) or len(before) > _LONGEST_NAME or not isinstance(item, str):
        return None
    if before in _USER_OPTIONS:
        return Announced(_USER_OPTION) if part_of_user_option(item) else None
    secret = named_secret(before) if before and " " not in before else None
    is_option = before.startswith("-")
    if secret is None or not (is_option or secret.is_certain or is_pair):
        return None
    return None if is_option and item.startswith("-") else Announced(secret, is_option)


def _announced_by_command(command: list[Any] | tuple[Any, ...], before: Any, item: Any) -> Announced | None:
    """Return what the option of a command announces, as in ``["sshpass", "-p", …]``."""
    if not isinstance(item, str) or not isinstance(command[0], str):
        return None
    program = command[0].rpartition("/")[2]
    if program.startswith(("mysql", "mariadb")) and item.startswith("-p") and is_password(item[2:]):
        return Announced(ATTACHED_OPTION)
    option = _PASSWORD_OPTIONS.get(program)
    return Announced(_COMMAND_PASSWORD, is_alone=False) if option is not None and before == option else None


def _is_line_of_key(before: Any, line: Any, is_key: bool) -> bool:
    """Return whether an item is a line of a private key, of which each line is an item."""
    if not (isinstance(line, str) and isinstance(before, str)):
        return False
    return (is_key or is_begin_of_key(before)) and is_line_of_key(line)


_LINE_OF_KEY = Announced(NamedSecret("private-key"))


def _escaped(name: str) -> Iterator[str]:
    """Yield a name as it stands in JSON, in JSON in JSON, and so on."""
    for _ in range(_LEVELS_OF_JSON):
        name = json.dumps(name)[1:-1]
        yield name


_PASSWORD_OPTIONS = {"sshpass": "-p", "docker": "-p", "podman": "-p", "helm": "-p", "redis-cli": "-a"}
SCREENED = (
    *('"-p"', '"-a"', "-p\\", "-a\\", "-u\\"),
    *(escaped for name in NAME_LITERALS if not name.isascii() for escaped in _escaped(name)),
)
"""Texts that make a value worth a look: options of commands in lists of arguments, and names as JSON escapes them."""
_COMMAND_PASSWORD = NamedSecret("password", is_certain=False)
_USER_OPTION = NamedSecret("user-option")
