"""Models of pydantic come back as they were, without a validator, a serializer or any other code of theirs."""

from __future__ import annotations

import functools
import json
import sys
import types
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, runs_from_spans
from otel_agent_trace.runs import run_to_spans
from otel_agent_trace.values import Limits, Opaque, Truncated, decode_text, encode_text, register_type, same
from otel_agent_trace.values.rebuilding import rebuilt
from tests.support.strategies import texts, values

T = TypeVar("T")
RAN: list[str] = []
"""Code of the models that ran while one was recorded or read."""


class Base(pydantic.BaseModel):
    item: Any = None


class Derived(Base):
    more: Any = 0


class Watched(pydantic.BaseModel):
    """Notes all code of its own that runs."""

    item: Any
    again: str = "a!"
    base: Base | None = None
    hidden: Any = pydantic.Field("default", exclude=True)
    aliased: Any = pydantic.Field(None, alias="theAlias")
    listed: list[Any] = pydantic.Field(default_factory=list)
    _private: Any = pydantic.PrivateAttr("default")
    _never_set: int = pydantic.PrivateAttr()
    _made: Any = pydantic.PrivateAttr(default_factory=lambda: RAN.append("factory"))

    @pydantic.field_validator("again")
    @classmethod
    def validated(cls, text: str) -> str:
        RAN.append("validator")
        return text + "!"

    @pydantic.field_serializer("item")
    def serialized(self, item: Any) -> str:
        RAN.append("serializer")
        return "serialized"

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def price(self) -> int:
        RAN.append("computed field")
        return 5

    @functools.cached_property
    def cached(self) -> int:
        return 7

    def model_post_init(self, context: Any) -> None:
        RAN.append("model_post_init")

    def __setattr__(self, name: str, item: Any) -> None:
        RAN.append("__setattr__")
        super().__setattr__(name, item)


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str = pydantic.Field("default", alias="theName")
    _private: int = 1


class Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    item: Any


class Listing(pydantic.RootModel[Any]):
    pass


class PrivateListing(pydantic.RootModel[Any]):
    _private: Any = 1


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    first: T


@pydantic.dataclasses.dataclass(frozen=True)
class Pair:
    left: int
    right: Any = None

    @pydantic.field_validator("left")
    @classmethod
    def validated(cls, number: int) -> int:
        return number + 1


@pydantic.dataclasses.dataclass(config={"extra": "allow"})
class OpenPair:
    left: Any


class Empty(pydantic.BaseModel):
    pass


KNOWN = (
    Base,
    Derived,
    Watched,
    Open,
    Closed,
    Listing,
    PrivateListing,
    Page,
    Page[Base],
    Page[int],
    Pair,
    OpenPair,
    Empty,
)
NAMES = {f"{__name__}.{cls.__qualname__}": cls for cls in KNOWN}


@pytest.fixture
def memory() -> InMemoryBackend:
    return InMemoryBackend()


@pytest.fixture(autouse=True)
def registered_again() -> Any:
    """What a test registers is unknown to the others."""
    from otel_agent_trace.values import classes

    before = dict(classes.BY_CLASS), dict(classes.BY_NAME)
    yield
    for kept, table in zip(before, (classes.BY_CLASS, classes.BY_NAME), strict=True):
        table.clear()
        table.update(kept)


def watched(item: Any, private: Any, hidden: Any, base: Base | None) -> Watched:
    made = Watched.model_validate({"item": item, "hidden": hidden, "base": base, "again": "a"})
    made._private = private
    return made


def open_with(extra: dict[str, Any], *, is_named: bool) -> Open:
    try:
        return Open.model_validate({**extra, **({"theName": "x"} if is_named else {})})
    except pydantic.ValidationError:  # pydantic reads no lone surrogates, but takes them
        return Open.model_construct(**{key: item for key, item in extra.items() if key not in ("self", "_fields_set")})


def models() -> st.SearchStrategy[Any]:
    """Instances of all kinds of models, inside each other and beside other values."""
    extras = st.dictionaries(
        st.one_of(texts(), st.sampled_from(["name", "_private", "__pydantic_private__"])), values(3)
    )
    return st.recursive(
        st.one_of(values(4), st.just(Empty()), st.builds(open_with, extras, is_named=st.booleans())),
        lambda inner: st.one_of(
            st.builds(Base, item=inner),
            st.builds(lambda item: Watched.model_construct(item=item, _fields_set=set()), inner),
            st.builds(lambda item, more: Derived.model_construct(item=item, more=more), inner, inner),
            st.builds(watched, inner, inner, inner, st.builds(Derived, item=inner, more=inner)),
            st.builds(lambda item: Closed(item=item), inner),
            st.builds(lambda item: Listing(root=item), inner),
            st.builds(lambda item: PrivateListing(root=item), inner),
            st.builds(lambda item: Page(items=[item, item], first=item), inner),
            st.builds(lambda base: Page[Base](items=[base], first=base), st.builds(Derived, item=inner)),
            st.builds(Pair, st.integers(0, 9), inner),
            st.builds(lambda item, more: OpenPair(item, **{"more": more}), inner, inner),
            st.lists(inner, max_size=3),
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        max_leaves=6,
    )


def parts(value: Any) -> Any:
    """All that an instance holds, as values that the library compares without knowing of pydantic."""
    if isinstance(value, pydantic.BaseModel):
        slots = ("__dict__", "__pydantic_extra__", "__pydantic_private__", "__pydantic_fields_set__")
        return [type(value).__qualname__, *(parts(object.__getattribute__(value, name)) for name in slots)]
    if isinstance(value, Pair | OpenPair):
        return [type(value).__qualname__, parts(vars(value))]
    if type(value) is dict:
        return {key: parts(item) for key, item in value.items()}
    return [parts(item) for item in value] if type(value) is list else value


def carried(value: Any) -> Any:
    """The value as it comes out of a trace."""
    encoded = encode_text(value)
    encoded.text.encode()
    assert encoded.cuts == ()
    return decode_text(encoded.text, json.loads(msgspec.json.encode(encoded.tag)))


@given(models())
def test_registered_models_come_back(value: Any) -> None:
    for cls in KNOWN:
        register_type(cls)
    before = parts(value)
    RAN.clear()
    back = carried(value)
    assert RAN == []
    assert same(parts(back), before)
    assert same(back, value)


@given(models())
def test_models_are_rebuilt_without_having_been_registered(value: Any) -> None:
    read = carried(value)
    RAN.clear()
    back = rebuilt(read, NAMES)
    assert RAN == []
    assert same(parts(back), parts(value))
    assert same(carried(read), read)


@given(models())
def test_registered_models_are_copied(value: Any) -> None:
    for cls in KNOWN:
        register_type(cls)
    read = carried(value)
    copy = rebuilt(read, {})
    assert same(parts(copy), parts(read))
    for one in changeables(copy):
        assert all(one is not other for other in changeables(read))


def changeables(value: Any) -> list[Any]:
    """The lists, dictionaries and models in a value."""
    inner = list(vars(value).values()) if isinstance(value, pydantic.BaseModel) else []
    inner += value if type(value) is list else value.values() if type(value) is dict else ()
    own = [value] if isinstance(value, pydantic.BaseModel | list | dict) else []
    return own + [one for item in inner for one in changeables(item)]


@given(models(), st.builds(Limits, value_bytes=st.integers(0, 300), depth=st.integers(0, 4)))
def test_truncated_models_never_raise(value: Any, limits: Limits) -> None:
    for cls in KNOWN:
        register_type(cls)
    encoded = encode_text(value, limits)
    tag = msgspec.json.encode(encoded.tag)
    assert len(encoded.text) + len(tag) <= 64 * (limits.value_bytes + 64)
    decode_text(encoded.text, json.loads(tag))


# ── what others read ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Base(item=Derived(more=2)), {"item": {"item": None, "more": 2}}),
        (Listing([1, 2]), [1, 2]),
        (Page[int](items=[1], first=1), {"items": [1], "first": 1}),
        (Open.model_validate({"theName": "x", "vendor": 5}), {"name": "x", "vendor": 5, "_private": 1}),
        (Pair(1, "x"), {"left": 2, "right": "x"}),
    ],
)
def test_the_json_has_the_fields(value: Any, data: Any) -> None:
    assert json.loads(encode_text(value).text) == data


def test_names_that_are_there_twice_are_kept_apart() -> None:
    value = Open.model_validate({"theName": "x", "name": "y", "_private": 2})
    assert value.__pydantic_extra__ == {"name": "y", "_private": 2}
    assert parts(rebuilt(carried(value), NAMES)) == parts(value)


def test_attributes_that_are_no_fields_are_kept_and_cached_ones_computed_again() -> None:
    value = Watched.model_validate({"item": 1})
    assert value.cached == 7
    object.__setattr__(value, "_request_id", "req_1")
    back = rebuilt(carried(value), NAMES)
    assert back._request_id == "req_1"
    assert "cached" not in vars(back)
    assert back.cached == 7


def test_a_model_that_holds_itself_is_cut_there() -> None:
    value = Base()
    value.item = [value]
    register_type(Base)
    encoded = encode_text(value)
    assert encoded.cuts == (".item[0]",)
    assert decode_text(encoded.text, encoded.tag).item == [Truncated(None, None, "cycle")]


def test_a_variant_of_a_generic_model_has_the_name_of_its_module_wherever_it_was_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("elsewhere")
    vars(module)["Page"] = Page
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    exec("variant = Page[float]", vars(module))
    assert module.variant.__module__ == "elsewhere"
    assert carried(module.variant(items=[], first=1.5)).type_name == f"{__name__}.Page[float]"


# ── traces of earlier versions, classes of other versions ────────────────────────────────────────────────────────────


def test_traces_with_dumped_models_are_read() -> None:
    """Before, `model_dump` was recorded, and the class validates it."""
    register_type(Base)
    register_type(Open)
    tag = {"t": "class", "x": f"{__name__}.Open"}
    assert decode_text('{"name":"x"}', tag) == Open(theName="x")
    assert decode_text('{"name":{}}', tag) == Opaque(f"{__name__}.Open", {"name": {}})


def with_fields(**fields: Any) -> type[pydantic.BaseModel]:
    return pydantic.create_model("Base", __module__=__name__, **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"item": (int, 3), "new": (list[int], [1])}, {"item": 5, "new": [1]}),
        ({"new": (list[int], pydantic.Field(default_factory=list))}, {"item": 5, "new": []}),
        ({"item": (int, 3), "new": (int, ...)}, None),
        ({"new": (list[int], pydantic.Field(default_factory=lambda: [1]))}, None),
    ],
)
def test_a_field_that_the_class_had_not_yet_has_its_default(fields: dict[str, Any], expected: Any) -> None:
    """A field without one, or with one that code of the program makes, leaves an `Opaque`."""
    encoded = encode_text(Base(item=5))
    register_type(with_fields(**fields))
    back = decode_text(encoded.text, encoded.tag)
    assert (None if isinstance(back, Opaque) else vars(back)) == expected


def test_functions_of_ones_own_are_used_for_models() -> None:
    register_type(Base, to_data=lambda value: [value.item], from_data=lambda data: Base(item=data))
    assert encode_text(Base(item=5)).text == "[5]"
    assert carried(Base(item=5)) == Base(item=[5])


# ── in runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_are_written_again_with_their_models(memory: InMemoryBackend) -> None:
    value = watched((1,), {2}, b"3", Derived(item=4))
    AgentTracer(backend=memory).tool(lambda given: value)(value)
    (run,) = memory.runs()
    for again in (*runs_from_spans(run_to_spans(run)), AgentRun.from_dict(json.loads(json.dumps(run.to_dict())))):
        for read in (again.steps[0].output, again.steps[0].input["given"]):
            assert same(parts(rebuilt(read, NAMES)), parts(value))


class Account(pydantic.BaseModel):
    user: str
    password: str = pydantic.Field(exclude=True)
    _api_key: str = pydantic.PrivateAttr("sk1f9a27c4e55d")


def test_what_a_model_hides_is_masked_by_its_name(memory: InMemoryBackend) -> None:
    """Excluded and private fields are recorded under their names, where secrets are looked for."""
    with AgentTracer(backend=memory) as tracer:
        tracer.tool(lambda: Account(user="ann", password="tr0ub4dor&3"))()
    (step,) = memory.runs()[0].steps
    assert step.output.data["user"] == "ann"
    assert step.output.data["password"].startswith("<secret:password:")
    assert step.output.data["_api_key"].startswith("<secret:api-key:")
    assert not any("tr0ub4dor" in str(span) or "sk1f9a" in str(span) for span in memory.spans())


def test_what_a_model_hides_goes_through_functions_for_masks(memory: InMemoryBackend) -> None:
    mask: Callable[..., Any] = lambda value, *_: json.loads(json.dumps(value).replace("sk1f9a", "***"))
    with AgentTracer(backend=memory, redact=False, mask=mask) as tracer:
        tracer.tool(lambda: Account(user="ann", password="x"))()
    assert not any("sk1f9a" in str(span) for span in memory.spans())
