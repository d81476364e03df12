"""Values that mean harm, kept where pytest does not look at them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any

from otel_agent_trace.values import Opaque, Truncated, register_type


class Boom(Exception):
    """What hostile values raise."""


class FatalBoom(BaseException):
    """Not even an Exception."""


def run_coroutine(waiting: Any) -> Any:
    """The result of what awaits nothing; asyncio would look at it."""
    try:
        waiting.send(None)
    except StopIteration as stop:
        return stop.value


def boom(*_: Any, **__: Any) -> Any:
    raise Boom("no")


class RaisesEverything:
    __repr__ = __str__ = __len__ = __iter__ = __eq__ = __hash__ = __bool__ = __getattr__ = boom  # type: ignore[assignment]
    __class__ = property(boom)  # type: ignore[assignment]


class Endless:
    def __iter__(self) -> Any:
        return iter(int, 1)

    def __len__(self) -> int:
        return 2**60


class HugeRepr:
    def __repr__(self) -> str:
        return "x" * 10_000_000


class ReprIsNoText:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class BrokenText:
    def __repr__(self) -> str:
        return "\ud800"


class DictThatLies(dict):  # type: ignore[type-arg]
    items = keys = values = __iter__ = __len__ = boom


class ListThatLies(list):  # type: ignore[type-arg]
    __iter__ = __len__ = __getitem__ = boom


class StrThatLies(str):
    __slots__ = ()
    __str__ = __len__ = encode = isascii = boom  # type: ignore[assignment]


class Zone(datetime.tzinfo):
    utcoffset = tzname = dst = boom  # type: ignore[assignment]


class Meta(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        return boom()


class OddClass(metaclass=Meta):
    pass


class ModuleIsNoText:
    __module__ = None  # type: ignore[assignment]


class BrokenName:
    __module__ = "\udc80"


class Property:
    @property
    def __dataclass_fields__(self) -> Any:
        return boom()


class Cancels:
    def __repr__(self) -> str:
        raise GeneratorExit


class CancelsInside(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise GeneratorExit


class Russian:
    """A doll with a doll in it, without end."""


register_type(Russian, to_data=lambda _: Russian(), from_data=lambda _: Russian())


class RaisingCodec:
    pass


register_type(RaisingCodec, to_data=boom, from_data=boom)


HOSTILE: dict[str, Callable[[], Any]] = {
    "everything raises": RaisesEverything,
    "a class of such": lambda: RaisesEverything,
    "endless": Endless,
    "huge repr": HugeRepr,
    "repr is no text": ReprIsNoText,
    "repr is broken text": BrokenText,
    "dict": lambda: DictThatLies(a=1),
    "list": lambda: ListThatLies([1]),
    "str": lambda: StrThatLies("abc"),
    "datetime": lambda: datetime.datetime(2026, 1, 1, tzinfo=Zone()),
    "time": lambda: datetime.time(1, tzinfo=Zone()),
    "raising module": OddClass,
    "class with raising module": lambda: OddClass,
    "module is no text": ModuleIsNoText,
    "module is broken text": BrokenName,
    "dataclass fields raise": Property,
    "repr cancels": Cancels,
    "parts cancel": lambda: CancelsInside([1]),
    "endless codec": Russian,
    "raising codec": RaisingCodec,
    "endless iterator": lambda: iter(int, 1),
    "generator": lambda: (number for number in range(3)),
    "object": object,
    "function": lambda: len,
    "long cut": lambda: Truncated(1, 10**30, "bytes"),
    "nan cut": lambda: Truncated(1, math.nan, "bytes"),  # type: ignore[arg-type]
    "odd cut": lambda: Truncated({1}, object(), "\ud800"),  # type: ignore[arg-type]
    "broken opaque": lambda: Opaque("\ud800", 1),
    "odd opaque": lambda: Opaque(5, object()),  # type: ignore[arg-type]
    "long range": lambda: range(-(10**5000), 10**6000, 10**4400),
}
"""How each is made, by what it does."""
