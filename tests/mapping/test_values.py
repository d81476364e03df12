"""Any value goes to JSON and comes back as itself; no value makes the library fail."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
import math
import zoneinfo
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.values import (
    NO_LIMITS,
    Limits,
    Opaque,
    Truncated,
    decode_text,
    encode,
    encode_string,
    encode_text,
    restore,
    same,
)
from tests.support.exact_comparison import assert_alike, difference
from tests.support.hostile_values import HOSTILE
from tests.support.strategies import Aliased, Celsius, Pair, Point, Tag, Unregistered, texts, values


def refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def parsed(text: str) -> Any:
    """The text as the standard library reads it, which has to be valid JSON in valid UTF-8."""
    text.encode()
    return json.loads(text, parse_constant=refuse)


def carried(tag: Any) -> Any:
    """The tag as it comes out of its attribute."""
    return None if tag is None else parsed(msgspec.json.encode(tag).decode())


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(values())
def test_text_round_trip(value: Any) -> None:
    """What is encoded as JSON text is decoded to an equal value of the same type."""
    encoded = encode_text(value)
    decoded = decode_text(encoded.text, carried(encoded.tag))
    assert encoded.cuts == ()
    assert_alike(value, decoded)
    assert same(value, decoded)


@pytest.mark.parametrize("name", ["", "CET", "\ud800", "x" * 256])
@pytest.mark.parametrize("microseconds", [0, 1, -1, 3_600_000_000, -86_399_999_999])
def test_fixed_time_zones_come_back(name: str, microseconds: int) -> None:
    """Offsets that `fromisoformat` does not read, and names, alone and in times."""
    zone = datetime.timezone(datetime.timedelta(microseconds=microseconds), name)
    value = [zone, datetime.datetime(2026, 1, 1, tzinfo=zone), datetime.time(1, tzinfo=zone)]
    encoded = encode_text(value)
    decoded = decode_text(encoded.text, carried(encoded.tag))
    assert_alike(value, decoded)
    assert [decoded[0].tzname(None), decoded[1].tzname(), decoded[2].tzname()] == [name] * 3


def test_a_long_name_of_a_zone_is_not_kept() -> None:
    """A zone's name is bounded; its offset, which is its value, stays."""
    value = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "x" * 10_000_000))
    encoded = encode_text(value, Limits(value_bytes=100))
    assert len(encoded.text) + len(str(encoded.tag)) < 200
    assert decode_text(encoded.text, carried(encoded.tag)) == value


@given(values())
def test_data_round_trip(value: Any) -> None:
    """What is encoded as JSON-able data is restored to an equal value of the same type."""
    encoded = encode(value)
    restored = restore(parsed(json.dumps(encoded.data)), carried(encoded.tag))
    assert encoded.cuts == ()
    assert_alike(value, restored)


@given(values())
def test_encoding_again_is_a_fixpoint(value: Any) -> None:
    """A decoded value encodes to the same text, up to the order of sets."""
    encoded = encode_text(value)
    again = encode_text(decode_text(encoded.text, carried(encoded.tag)))
    assert_alike(value, decode_text(again.text, carried(again.tag)))


@given(values())
def test_text_is_standard_json(value: Any) -> None:
    """The text is JSON to the standard library and to msgspec, and is UTF-8."""
    text = encode_text(value).text
    assert_alike(parsed(text), msgspec.json.decode(text.encode()))


@given(texts())
def test_string_round_trip(text: str) -> None:
    """A bare text comes back as it was, also where UTF-8 cannot say it."""
    encoded = encode_string(text)
    encoded.text.encode()
    assert restore(encoded.text, carried(encoded.tag)) == text


@given(texts(), st.none() | st.recursive(st.none() | texts() | st.integers(), lambda i: st.dictionaries(texts(), i)))
def test_damaged_tags_do_no_harm(text: str, tag: Any) -> None:
    """A tag that does not fit costs the type, never an exception."""
    decode_text(text, tag)
    restore({"a": [text]}, {"c": tag, "t": text})


@given(values(4), st.data())
def test_tags_of_other_values_do_no_harm(value: Any, data: st.DataObject) -> None:
    """The tag of one value with the JSON of another never raises."""
    tag = carried(encode(data.draw(values(4))).tag)
    restore(encode(value).data, tag)


@pytest.mark.parametrize("digits", [600, 639, 640, 641, 1000, 4299, 4300, 4301, 4816, 4817, 5000, 20_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_long_integers(digits: int, sign: int) -> None:
    """Integers of any length come back, whatever Python's limit for decimal digits."""
    value = sign * (10**digits - 1)
    encoded = encode_text(value)
    assert decode_text(encoded.text, encoded.tag) == value


def test_several_nans_stay_several() -> None:
    """A set or a dictionary that holds NaN twice has as many members afterwards."""
    value = [{math.nan, float("nan")}, {float("nan"): 1, float("nan"): 2}]
    encoded = encode(value)
    assert [len(item) for item in restore(encoded.data, encoded.tag)] == [2, 2]


def test_deques_keep_their_bound() -> None:
    """A deque comes back with the length that it may have."""
    for value in (collections.deque([1, 2], maxlen=3), collections.deque([(1,)], 1), collections.deque((), 0)):
        encoded = encode_text([value])
        restored = decode_text(encoded.text, carried(encoded.tag))
        assert same(restored, [value])
        assert restored[0].maxlen == value.maxlen
    assert not same(collections.deque([1], 3), collections.deque([1]))


def test_pydantic_models_with_aliases() -> None:
    """A pydantic model whose fields have aliases comes back as itself."""
    value = Aliased.model_validate({"theName": "x", "inner": {"theName": "y"}})
    encoded = encode(value)
    assert_alike(restore(encoded.data, encoded.tag), value)


def test_shared_parts_are_no_cycle() -> None:
    """One list at two places is written twice."""
    part = [(1,)]
    assert_alike([part, part], restore(encode([part, part]).data, encode([part, part]).tag))


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def cuts_in(value: Any, path: str = "") -> list[str]:
    """Where `Truncated`s stand in a value, outermost last, in the words of `Encoded.cuts`."""
    if isinstance(value, Truncated):
        return [*cuts_in(value.kept, path), path]
    if isinstance(value, Opaque):
        return cuts_in(value.data, path)
    if isinstance(value, dict):
        inner = [cut for key, item in value.items() for cut in [*cuts_in(key, "(key)"), *cuts_in(item, "")]]
        return inner
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return [cut for item in value for cut in cuts_in(item)]
    if isinstance(value, Point):
        return [*cuts_in(value.x), *cuts_in(value.y)]
    if isinstance(value, Pair):
        return [*cuts_in(value.left), *cuts_in(value.right)]
    return []


small_limits = st.builds(Limits, value_bytes=st.integers(0, 120), depth=st.integers(0, 4))


@given(values(), small_limits)
def test_small_limits_never_raise(value: Any, limits: Limits) -> None:
    """With limits of any size a value is either whole, or holds a `Truncated` and a path for it."""
    encoded = encode_text(value, limits)
    decoded = decode_text(encoded.text, carried(encoded.tag))
    if encoded.cuts:
        assert cuts_in(decoded) or difference(value, decoded) is not None
        for path in encoded.cuts:
            path.encode()
    else:
        assert_alike(value, decoded)


@given(values(20), small_limits)
def test_output_size_is_bounded(value: Any, limits: Limits) -> None:
    """What is written is bounded by the limit, text, tags and paths together."""
    encoded = encode_text(value, limits)
    size = len(encoded.text) + len(msgspec.json.encode(encoded.tag)) + len("".join(encoded.cuts))
    assert size <= 64 * (limits.value_bytes + 64)


LARGE: dict[str, Callable[[], Any]] = {
    "text": lambda: "x" * 1_000_000,
    "broken text": lambda: "\udc80" * 1_000_000,
    "long characters": lambda: "😀" * 1_000_000,
    "broken text after others": lambda: [0, "\udc80" * 1_000_000],
    "broken text at the limit": lambda: [[0] * 124, "\udc80" * 1_000_000],
    "empty texts": lambda: [""] * 1_000_000,
    "empty texts beside others": lambda: ["", (), *[""] * 1_000_000],
    "nothing": lambda: [None] * 1_000_000,
    "empty lists": lambda: [[]] * 1_000_000,
    "key": lambda: {"😀" * 1_000_000: 1},
    "keys": lambda: {("x" * 500, number): 1 for number in range(2000)},
    "items": lambda: {str(number): (number,) for number in range(100_000)},
    "long paths": lambda: {"k" * 900: [[[[[[()]]]]] for _ in range(1000)]},
    "set": lambda: set(range(100_000)),
    "bytes": lambda: b"x" * 1_000_000,
    "integer": lambda: 10**100_000,
    "range": lambda: range(10**50_000),
    "deque": lambda: collections.deque([1.5] * 100_000),
    "decimal": lambda: decimal.Decimal("1" * 100_000),
    "fraction": lambda: fractions.Fraction(10**50_000, 3),
    "dataclass": lambda: Point("x" * 100_000, [1] * 100_000),
    "many of a long class": lambda: [type("C" * 900, (), {"__repr__": lambda _: "c"})()] * 10_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_values_are_bounded(name: str) -> None:
    """A large value of any type is cut to about the limit, and says so."""
    encoded = encode_text(LARGE[name](), Limits(value_bytes=1000, depth=6))
    assert encoded.cuts
    assert len(encoded.text) + len(msgspec.json.encode(encoded.tag)) + len("".join(encoded.cuts)) < 64_000
    decode_text(encoded.text, carried(encoded.tag))


def test_every_cut_is_listed_where_it_is() -> None:
    """Each place where something is missing is a `Truncated`, and its path is listed."""
    value = {"a": "x" * 50, "b": [[[("deep",)]]], "c": 1}
    encoded = encode(value, Limits(value_bytes=1000, depth=3))
    assert encoded.cuts == (".b[0][0]",)
    restored = restore(encoded.data, encoded.tag)
    assert restored == {"a": "x" * 50, "b": [[Truncated(None, 1, "depth")]], "c": 1}


def test_texts_are_cut_by_their_bytes() -> None:
    """A text that does not fit keeps its beginning and its length."""
    encoded = encode(["é" * 10], Limits(value_bytes=15))
    assert restore(encoded.data, encoded.tag) == [Truncated("ééé", 10, "bytes")]
    assert encoded.cuts == ("[0]",)


def test_keys_stay_at_the_last_level() -> None:
    """A dictionary at the last level that fits keeps its keys beside a value that does not."""
    encoded = encode({"a": 1, "b": (1,), (1,): 2}, Limits(depth=1))
    restored = restore(encoded.data, encoded.tag)
    assert (restored["a"], restored["b"]) == (1, Truncated(None, 1, "depth"))
    assert encoded.cuts == (".b", ".(key)")


def test_what_fits_is_not_cut() -> None:
    """The limit counts bytes of texts, so many short ones fit, whatever stands beside them."""
    value = [*["ab"] * 400, ()]
    assert encode(value, Limits(value_bytes=1000)).cuts == ()


@pytest.mark.parametrize("picture", ["iVBORw0KGgo" * 500, "data:image/png;base64," + "iVBOR" * 1000, b"x" * 5000])
def test_a_picture_is_cut_alone(picture: str | bytes) -> None:
    """What stands beside and after a picture is kept, whatever its length, and as much of the picture as fits."""
    text = "What is this? " * 20
    value = {"content": [{"data": picture}, {"text": text}], "after": (1, "x")}
    encoded = encode(value, Limits(value_bytes=1000))
    restored = restore(encoded.data, carried(encoded.tag))
    cut = restored["content"][0]["data"]
    assert restored == {"content": [{"data": cut}, {"text": text}], "after": (1, "x")}
    assert isinstance(cut, Truncated)
    assert (cut.size, cut.reason) == (len(picture), "bytes")
    assert picture.startswith(cut.kept)
    assert len(cut.kept) > 300
    assert encoded.cuts == (".content[0].data",)


def test_texts_are_kept_before_pictures() -> None:
    """A text that is longer than a picture is whole, as are the smaller pictures."""
    text, small, large = "some words " * 60, "iVBOR" * 20, "iVBOR" * 120
    encoded = encode([large, text, small], Limits(value_bytes=1200))
    restored = restore(encoded.data, encoded.tag)
    assert restored[1:] == [text, small]
    assert encoded.cuts == ("[0]",)


@pytest.mark.parametrize(
    ("before", "after"), [("![x](data:image/png;base64,", ") What is this?"), ('{"image":"', '","q":"?"}')]
)
def test_a_picture_within_a_text(before: str, after: str) -> None:
    """Of a text that holds a picture the rest is kept, before and after it."""
    text = before + "iVBORw0KGgo" * 100_000 + after
    encoded = encode_string(text, Limits(value_bytes=20_000))
    cut = restore(encoded.text, encoded.tag)
    assert cut.size == len(text)
    assert cut.kept.startswith(before + "iVBOR")
    assert cut.kept.endswith("..." + after)


def test_large_texts_that_fit_are_whole() -> None:
    value = {"a": "x" * 480, ("b",): ["y" * 480], "c": "ü"}
    encoded = encode(value, Limits(value_bytes=1000))
    assert encoded.cuts == ()
    assert_alike(restore(encoded.data, carried(encoded.tag)), value)


def test_self_references_are_cut() -> None:
    """A value that holds itself is cut there."""
    loop: list[Any] = [1]
    loop.append({"again": loop})
    encoded = encode(loop)
    assert restore(encoded.data, encoded.tag) == [1, {"again": Truncated(None, None, "cycle")}]
    assert encoded.cuts == ("[1].again",)


@given(values(5), st.integers(0, 200))
def test_cuts_survive_being_written_again(value: Any, size: int) -> None:
    """What was cut once is the same when the run is written again."""
    first = encode(value, Limits(value_bytes=size))
    restored = restore(first.data, carried(first.tag))
    again = encode(restored)
    assert_alike(restored, restore(again.data, carried(again.tag)))


# ── values that mean harm ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "around", [lambda v: v, lambda v: [v], lambda v: {"k": v}, lambda v: Point(v, v), lambda v: (v, [v])]
)
def test_hostile_values_never_raise(name: str, around: Any) -> None:
    """Whatever a value does when it is looked at, something is recorded, bounded and readable."""
    value = HOSTILE[name]()
    for limits in (NO_LIMITS, Limits(), Limits(value_bytes=50, depth=2)):
        for encoded in (encode_text(around(value), limits), encode_string(value, limits)):
            parsed_tag = carried(encoded.tag)
            encoded.text.encode()
            decode_text(encoded.text, parsed_tag)
            "".join(encoded.cuts).encode()


@pytest.mark.parametrize(
    "nest", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: Opaque("c", v), lambda v: Point(v)]
)
def test_deep_values_never_raise(nest: Any) -> None:
    """Nesting beyond all bounds is cut."""
    value: Any = 1
    for _ in range(5000):
        value = nest(value)
    for limits in (Limits(), NO_LIMITS):
        encoded = encode_text(value, limits)
        assert encoded.cuts
        decode_text(encoded.text, carried(encoded.tag))


def test_generators_are_not_consumed() -> None:
    """A generator as a value still has all its items afterwards."""
    items = (number for number in range(3))
    stream = iter([1, 2, 3])
    encode_text({"items": items, "stream": stream, "zipped": [zip("ab", "cd", strict=True)]})
    assert (list(items), list(stream)) == ([0, 1, 2], [1, 2, 3])


def test_unregistered_classes_are_opaque() -> None:
    """A class that nobody registered comes back as its name and its data."""
    encoded = encode(Unregistered((1,)))
    assert_alike(restore(encoded.data, encoded.tag), Opaque(f"{Unregistered.__module__}.Unregistered", {"left": (1,)}))
    encoded = encode(collections.OrderedDict(a=1))
    assert_alike(restore(encoded.data, encoded.tag), Opaque("collections.OrderedDict", {"a": 1}))


def test_data_that_a_class_refuses_is_opaque() -> None:
    """A registered class that does not take its data leaves the data."""
    assert restore("1", {"t": "class", "x": "celsius"}) == Opaque("celsius", "1") or isinstance(
        restore("1", {"t": "class", "x": "celsius"}), Celsius
    )
    assert restore([1, 2, 3], {"t": "class", "x": "celsius"}) == Opaque("celsius", [1, 2, 3])


# ── equality ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (-0.0, 0.0),
        ((1,), [1]),
        ([1], [1.0]),
        ({1}, frozenset({1})),
        ({1}, {True}),
        ({1: "a"}, {True: "a"}),
        ({"a": 1}, {"a": 1.0}),
        (b"a", bytearray(b"a")),
        (complex(0.0, -0.0), complex(0.0, 0.0)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (math.nan, 1.0),
        (Point(1), Point(True)),
        (Pair(1), Pair(True)),
        (Pair(0.0), Pair(-0.0)),
        (Tag("a", 0.0), Tag("a", -0.0)),
        (
            datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc),
            datetime.datetime(2026, 1, 1, 13, tzinfo=_BERLIN),
        ),
        (datetime.datetime(2026, 1, 1, fold=0), datetime.datetime(2026, 1, 1, fold=1)),
        (datetime.time(1, fold=0), datetime.time(1, fold=1)),
        (range(0), range(1, 1)),
        (Truncated([1], 2, "bytes"), Truncated([True], 2, "bytes")),
        (Opaque("a", 1), Opaque("a", 1.0)),
        ([1, 2], [1]),
        ({"a": 1}, {"b": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_different_values_are_not_the_same(one: Any, other: Any) -> None:
    """Python's equality is not ours: type and sign count."""
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("nan"),
        lambda: [float("nan")],
        lambda: {float("nan"): float("nan")},
        lambda: {float("nan"), 1},
        lambda: complex(float("nan"), 1),
        lambda: decimal.Decimal("NaN"),
        lambda: decimal.Decimal("sNaN"),
        lambda: Point(float("nan")),
        lambda: Pair(float("nan")),
        lambda: Tag("a", float("nan")),
        lambda: collections.deque([float("nan")]),
        lambda: Truncated(float("nan"), None, "bytes"),
    ],
)
def test_nan_is_the_same_as_nan(make: Any) -> None:
    """NaN equals NaN, wherever it stands."""
    assert same(make(), make())


@given(values(6), values(6))
def test_same_agrees_with_an_independent_comparison(one: Any, other: Any) -> None:
    """`same` says what a comparison that was written apart from it says."""
    assert same(one, one)
    assert same(one, other) == (difference(one, other) is None)
