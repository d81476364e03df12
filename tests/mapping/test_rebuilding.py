"""Recorded values are given back to a program as fresh instances of its classes, or refused by place and name."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import pickle
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given

from otel_agent_trace.values import Limits, Opaque, decode_text, encode_text, same
from otel_agent_trace.values.rebuilding import NotRebuiltError, classes_in, rebuilt
from tests.support.exact_comparison import assert_alike
from tests.support.strategies import Celsius, Point, values

T = TypeVar("T")


def carried(value: Any, limits: Limits = Limits()) -> Any:
    """The value as it comes out of a trace."""
    encoded = encode_text(value, limits)
    return decode_text(encoded.text, json.loads(msgspec.json.encode(encoded.tag)))


def name_of(cls: type) -> str:
    return f"{__name__}.{cls.__qualname__}"


# ── classes that nobody registered ───────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Plain:
    item: Any
    late: Any = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        self.late = f"{self.late}!"


@dataclasses.dataclass(frozen=True)
class Frozen:
    item: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    item: Any


@attrs.define
class Attrs:
    item: Any
    converted: str = attrs.field(default="a", converter=lambda text: text + "!")
    _hidden: Any = 1
    late: Any = attrs.field(default=2, init=False)


@attrs.frozen
class FrozenAttrs:
    item: Any


class Named(NamedTuple):
    item: Any


class Struct(msgspec.Struct, frozen=True):
    item: Any


class Model(pydantic.BaseModel):
    item: Any
    _private: Any = 1


class Colour(enum.Enum):
    RED = ("r", 1)


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Words(str):
    """A text of a class of its own."""


class Ordered(dict):
    """A mapping of a class of its own."""


KINDS = (Plain, Frozen, Slotted, Attrs, FrozenAttrs, Named, Struct, Model, Colour, Rights, Words, Ordered)
CLASSES = {name_of(cls): cls for cls in KINDS}
MADE: list[Callable[[Any], Any]] = [
    *(Plain, Frozen, Slotted, Attrs, FrozenAttrs, Named, Struct),
    lambda item: Model(item=item),
    lambda item: Ordered(item=item),
]


@pytest.mark.parametrize("outer", MADE)
@pytest.mark.parametrize("inner", [*MADE, lambda item: [item], lambda item: (item,), lambda item: {(1,): item}])
def test_instances_of_all_kinds(outer: Callable[[Any], Any], inner: Callable[[Any], Any]) -> None:
    value = outer(inner([Colour.RED, Rights.READ | Rights.WRITE, Words("x"), {1}, b"y", datetime.date(2026, 5, 1)]))
    read = carried(value)
    before = encode_text(read)
    back = rebuilt(read, CLASSES)
    assert same(back, value)
    assert type(back) is type(value)
    assert_alike(back, value)
    assert encode_text(read) == before


def test_code_of_a_class_does_not_change_what_was_recorded() -> None:
    """Converters and `__post_init__` ran when the value was made."""
    plain, converted = Plain(1), Attrs(1)
    plain.late, converted.late = "own", "own"
    for value in (plain, converted):
        assert same(rebuilt(carried(value), CLASSES), value)


@given(values())
def test_values_are_copied(value: Any) -> None:
    """What was read is equal after the copy was made; nothing changeable is shared."""
    read = carried(value)
    copy = rebuilt(read, {})
    assert same(copy, read)
    assert not {id(one) for one in containers(copy)} & {id(one) for one in containers(read)}


def containers(value: Any) -> Iterator[Any]:
    if type(value) in (list, dict, set, bytearray, collections.deque):
        yield value
    if isinstance(value, pydantic.BaseModel) or (dataclasses.is_dataclass(value) and type(value) is not Point):
        yield value
        for item in vars(value).values():
            yield from containers(item)
    elif isinstance(value, dict):
        for pair in value.items():
            yield from containers(pair)
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        for item in value:
            yield from containers(item)


def test_a_copy_may_be_changed() -> None:
    read = carried([{"rows": [[1]], "point": Point([2])}, Model(item=[3])])
    copy = rebuilt(read, CLASSES)
    copy[0]["rows"][0].append(5)
    copy[0]["point"].x.append(5)
    copy[1].item.append(5)
    assert read == [{"rows": [[1]], "point": Point([2])}, Opaque(name_of(Model), {"item": [3], "_private": 1})]
    assert rebuilt(read, CLASSES)[1].item == [3]


def test_plain_texts_and_numbers_are_given_back_as_they_are() -> None:
    for value in ("x", 5, 1.5, None, True, b"x", datetime.date(2026, 5, 1)):
        assert rebuilt(value, {}) is value


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


class Refusing:
    def __init__(self, item: Any) -> None:
        self.item = item


@pytest.mark.parametrize(
    ("value", "limits", "path", "what"),
    [
        ([{"city": Frozen(1)}], Limits(), "[0].city", f"an instance of {name_of(Frozen)}, a class that is neither"),
        (Frozen(1), Limits(), "", f"an instance of {name_of(Frozen)}, a class that is neither"),
        ([Plain([Frozen(1)])], Limits(), "[0].item[0]", f"an instance of {name_of(Frozen)}, a class that is neither"),
        ({"a": Refusing(1)}, Limits(), ".a", f"an instance of {name_of(Refusing)}, of which only the repr"),
        (Model(item=threading.Lock()), Limits(), ".item", "an instance of _thread.lock, a class that is neither"),
        (["x" * 5000, [[1]]], Limits(value_bytes=1000), "[0]", "a value that was truncated (bytes)"),
        ([[[1]]], Limits(depth=1), "[0]", "a value that was truncated (depth)"),
        ([{"k": Plain([[1]])}], Limits(depth=3), "[0].k.item", "a value that was truncated (depth)"),
        ({1, (Frozen(1),)}, Limits(), None, f"an instance of {name_of(Frozen)}, a class that is neither"),
        ({(Frozen(1),): 1}, Limits(), ".(key)[0]", f"an instance of {name_of(Frozen)}, a class that is neither"),
        (pydantic.SecretStr("x"), Limits(), "", "an instance of pydantic.types.SecretStr, a class that is neither"),
    ],
)
def test_what_cannot_be_given_back_is_refused(value: Any, limits: Limits, path: str | None, what: str) -> None:
    with pytest.raises(NotRebuiltError) as refused:
        rebuilt(carried(value, limits), {name_of(Plain): Plain, name_of(Refusing): Refusing, name_of(Model): Model})
    assert refused.value.what.startswith(what)
    if path is not None:
        assert refused.value.path == path
        assert str(refused.value) == f"{path or 'the value'} is {refused.value.what}"
    again = pickle.loads(pickle.dumps(refused.value))
    assert (again.path, again.what) == (refused.value.path, refused.value.what)


@dataclasses.dataclass
class Later:
    """The class of today has another field than the one that was recorded."""

    other: int


def test_data_that_a_class_does_not_take_is_refused() -> None:
    with pytest.raises(NotRebuiltError, match=r"\[0\] is an instance of .*Later, which cannot be built .*TypeError"):
        rebuilt([Opaque(name_of(Later), {"city": "Lyon"})], {name_of(Later): Later})
    with pytest.raises(NotRebuiltError, match="'blue' is not a valid Colour"):
        rebuilt(Opaque(name_of(Colour), "blue"), {name_of(Colour): Colour})


def test_a_registered_class_needs_no_naming() -> None:
    read = carried([Point(1), Celsius(5.0)])
    copy = rebuilt(read, {})
    assert copy == [Point(1), Celsius(5.0)]
    assert copy[1] is not read[1]
    assert rebuilt(Opaque("celsius", (5.0,)), {}) == Celsius(5.0)


def test_nothing_is_imported() -> None:
    for name in ("openai.types.made_up.Answer", "antigravity.Thing", "anthropic", "openai.", "openai.types.chat.x.Y.Z"):
        with pytest.raises(NotRebuiltError):
            rebuilt(Opaque(name, {}), {})
    assert "openai.types.made_up" not in sys.modules
    assert "antigravity" not in sys.modules


# ── classes that annotations name ────────────────────────────────────────────────────────────────────────────────────


class Leaf(pydantic.BaseModel):
    x: int


class LeafOfOwn(Leaf):
    y: int = 0


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


@dataclasses.dataclass
class Box(Generic[T]):
    content: T
    colours: list[Colour]


@dataclasses.dataclass
class Tree:
    children: list[Tree]
    named: Named | None
    unknown: Missing  # type: ignore[name-defined]  # noqa: F821


class Row(TypedDict):
    leaf: Leaf


class Inner(NamedTuple):
    row: Row


Alias = NewType("Alias", Leaf)
Bound = TypeVar("Bound", bound=Frozen)
ALL_OF_LEAF = {Leaf, LeafOfOwn}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Leaf, ALL_OF_LEAF),
        ("list[Leaf]", ALL_OF_LEAF),
        (list["Leaf"], ALL_OF_LEAF),
        (Optional["Leaf"], ALL_OF_LEAF),
        (int | Leaf, ALL_OF_LEAF),
        (dict[str, tuple[Leaf, ...]], ALL_OF_LEAF),
        (Annotated[Leaf, "x"], ALL_OF_LEAF),
        (Alias, ALL_OF_LEAF),
        (Row, {Row, *ALL_OF_LEAF}),
        (Inner, {Inner, Row, *ALL_OF_LEAF}),
        (Page[Leaf], {Page, Page[Leaf], *ALL_OF_LEAF}),
        (Box[Leaf], {Box, Colour, *ALL_OF_LEAF}),
        (Tree, {Tree, Named}),
        ("Tree | None", {Tree, Named}),
        (Bound, {Frozen}),
        (Literal[Colour.RED], {Colour}),
        (Callable[[Leaf], Frozen], {Frozen, *ALL_OF_LEAF}),
        ("Undefined", set()),
        ("1 +", set()),
        (None, set()),
        (Any, set()),
        (object(), set()),
    ],
)
def test_classes_that_an_annotation_names(annotation: Any, expected: set[type]) -> None:
    found = classes_in(annotation, globals())
    assert {cls for cls in found.values() if cls.__module__ == __name__} == expected
    assert all(rebuilt(Opaque(name_of(cls), {}), {name_of(cls): dict}) == {} for cls in expected)
    assert {name for name in found if name.startswith(__name__)} == {name_of(cls) for cls in expected}


def test_texts_of_literals_are_no_annotations() -> None:
    ran: list[int] = []
    assert classes_in(Literal["ran.append(1)"], {"ran": ran, "x": Leaf}) is not None
    assert classes_in(typing.get_type_hints(takes_literal)["word"], {"ran": ran, "x": Leaf}) is not None
    assert ran == []


def takes_literal(word: Literal["ran.append(1)"]) -> None: ...


def test_annotations_of_modules_that_are_gone() -> None:
    made = types.new_class("Made", (), {}, lambda body: body.update(__module__="gone", __annotations__={"x": "Leaf"}))
    assert list(classes_in(made, {})) == ["gone.Made"]


def test_values_by_what_an_annotation_names() -> None:
    value = [Page[Leaf](items=[LeafOfOwn(x=1, y=2)]), {"box": Box(LeafOfOwn(x=3), [Colour.RED])}]
    classes = classes_in("list[Page[Leaf] | dict[str, Box[Leaf]]]", globals())
    assert rebuilt(carried(value), classes) == value
