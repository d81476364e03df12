"""Define the settings of a local store: its rotation, compression, retention and durability."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypedDict

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown

Durability = Literal["none", "run", "span"]
"""Time of each `fdatasync`: never, at the end of each run, or at that of each span."""
Compression = Literal["zst"]

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(?P<unit>[smhdw]?)")
_DAYS = re.compile(r"(\d+(?:\.\d+)?)d?(?P<unit>)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+)\s*(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE)
_UNITS_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LEAST_ROTATE_BYTES = 1 << 10
_MOST = 1 << 62


class StoreOptions(TypedDict, total=False):
    """Define the arguments about the store that `FileBackend` and `configure` take.

    For what is not given, or is None, ``OTEL_AGENT_TRACE_<NAME>`` counts, such as ``OTEL_AGENT_TRACE_ROTATE_BYTES``.
    """

    rotate_bytes: int | None
    """Size in bytes at which the live file is closed as a segment; by default it grows without a limit."""
    rotate_every: float | str | None
    """Age at which the live file is closed as a segment: seconds, or a text such as ``"1d"``; by default never."""
    compress: Compression | None
    """``"zst"`` to compress closed segments with Zstandard; by default they stay plain."""
    keep_days: float | None
    """Days for which closed segments are kept after their last span; by default for ever."""
    keep_bytes: int | None
    """Bytes on disk that the store may take; the oldest closed segments are removed. By default without a limit."""
    durability: Durability | None
    """Time of each `fdatasync`: ``"none"`` (never, the default), ``"run"`` (when a run ends), ``"span"`` (for each span)."""


class StoreSettings(NamedTuple):
    """Hold the settings of a store, after a check; None where something is off."""

    rotate_bytes: int | None = None
    rotate_every_s: float | None = None
    compress: Compression | None = None
    keep_days: float | None = None
    keep_bytes: int | None = None
    durability: Durability = "none"

    @property
    def rotates(self) -> bool:
        """Return whether the live file is ever closed as a segment."""
        return self.rotate_bytes is not None or self.rotate_every_s is not None

    @property
    def maintains(self) -> bool:
        """Return whether there is anything to do with closed segments."""
        return self.compress is not None or self.keep_days is not None or self.keep_bytes is not None

    def options(self) -> StoreOptions:
        """Return the arguments that these were made from."""
        return {
            "rotate_bytes": self.rotate_bytes,
            "rotate_every": self.rotate_every_s,
            "compress": self.compress,
            "keep_days": self.keep_days,
            "keep_bytes": self.keep_bytes,
            "durability": self.durability,
        }


def store_settings(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> StoreSettings:
    """Return the settings of a store: what is given, else what the environment has.

    Args:
        given: the values by the names of `StoreOptions`; None for what is not given.
        environ: the variables.

    Raises:
        ConfigurationError: a value cannot be meant; the message names the argument or the variable.
    """
    values = {}
    for name, (field, variable, read) in _READERS.items():
        value, where = given.get(name), f"{name}="
        if value is None:
            value, where = environ.get(variable, "").strip() or None, f"{variable}="
        if value is not None:
            values[field] = read(where, value)
    return StoreSettings(**values)


def _bytes(where: str, given: Any, least: int = 1) -> int:
    number: int | None = None
    if isinstance(given, str) and (match := _SIZE.fullmatch(given.strip())):
        number = int(match[1]) * _UNITS_BYTES[(match[2] or "").lower()]
    elif isinstance(given, int) and not isinstance(given, bool):
        number = given
    if number is None or not least <= number <= _MOST:
        msg = f'{where}{shown(given)} must be a number of bytes, at least {least}, or a text such as "64MB"'
        raise ConfigurationError(msg)
    return number


def _rotate_bytes(where: str, given: Any) -> int:
    return _bytes(where, given, _LEAST_ROTATE_BYTES)


def _seconds(where: str, given: Any) -> float:
    seconds = _amount(given, _AGE)
    if seconds is None or not 0 < seconds < _MOST:
        msg = f'{where}{shown(given)} must be seconds, more than 0, or a text such as "1d", "12h" or "30m"'
        raise ConfigurationError(msg)
    return seconds


def _days(where: str, given: Any) -> float:
    days = _amount(given, _DAYS)
    if days is None or not 0 < days < _MOST:
        msg = f"{where}{shown(given)} must be a number of days, more than 0"
        raise ConfigurationError(msg)
    return days


def _amount(given: Any, pattern: re.Pattern[str]) -> float | None:
    """Return a number, or that of a text in its unit; None for anything else."""
    if isinstance(given, str):
        match = pattern.fullmatch(given.strip())
        return None if match is None else float(match[1]) * _UNITS_S[match["unit"]]
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else None


def _one_of(*known: str) -> Callable[[str, Any], Any]:
    def read(where: str, given: Any) -> Any:
        if given not in known:
            msg = f"{where}{shown(given)} must be {' or '.join(map(repr, known))}"
            raise ConfigurationError(msg)
        return given

    return read


_READERS: dict[str, tuple[str, str, Callable[[str, Any], Any]]] = {
    "rotate_bytes": ("rotate_bytes", "OTEL_AGENT_TRACE_ROTATE_BYTES", _rotate_bytes),
    "rotate_every": ("rotate_every_s", "OTEL_AGENT_TRACE_ROTATE_EVERY", _seconds),
    "compress": ("compress", "OTEL_AGENT_TRACE_COMPRESS", _one_of("zst")),
    "keep_days": ("keep_days", "OTEL_AGENT_TRACE_KEEP_DAYS", _days),
    "keep_bytes": ("keep_bytes", "OTEL_AGENT_TRACE_KEEP_BYTES", _bytes),
    "durability": ("durability", "OTEL_AGENT_TRACE_DURABILITY", _one_of("none", "run", "span")),
}
"""Name of `StoreOptions` → field of `StoreSettings`, variable, and how its value is read."""
