"""Check keywords of calls: an unknown one is a `TypeError` that suggests the closest known one.

Messages about a bad value show it by `shown`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
Call = TypeVar("Call")
F = TypeVar("F", bound=Callable[..., Any])


def shown(value: object) -> str:
    """Return the `repr` of an argument for a message, its type where it has no `repr`.

    Python refuses that of an integer with more than 4300 digits, and a class of the caller may raise anything.
    """
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - see above
        return f"a value of type {type(value).__name__}"


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise for keywords that a function does not take.

    Args:
        function: the name of the function, for the message.
        given: the keywords of the call.
        known: the keywords that the function takes.

    Raises:
        TypeError: some are unknown; the message names each of them, with the closest known one.
    """
    names = list(known)
    wrong = [name for name in given if name not in names]
    if wrong:
        problem = "an unexpected keyword argument" if len(wrong) == 1 else "unexpected keyword arguments"
        raise TypeError(f"{function}() got {problem} {', '.join(_with_suggestion(name, names) for name in wrong)}")


def _with_suggestion(name: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415 - only a wrong call needs it

    closest = difflib.get_close_matches(name, known, 1)
    return f"{name!r} (did you mean {closest[0]!r}?)" if closest else repr(name)


def suggests_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function with explicit keywords: an unknown one raises a `TypeError` that suggests the closest."""
    known = _keywords_of(function)

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> T:
        check_keywords(function.__name__, keywords, known)
        return function(*args, **keywords)

    return checked


def lists_keywords(init: F) -> F:
    """Decorate an ``__init__``: an unknown keyword raises a `TypeError` that lists the known ones.

    It is for classes to which a configuration file passes its keys, so that the message shows how to mend the file.
    """
    known = [name for name in _keywords_of(init) if name != "self"]
    name = init.__qualname__.rpartition(".")[0]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **keywords: Any) -> None:
        try:
            check_keywords(name, keywords, known)
        except TypeError as error:
            raise TypeError(f"{error}; known: {', '.join(known)}") from None
        init(self, *args, **keywords)

    return cast("F", checked)


def takes_fields(fields: type) -> Callable[[F], F]:
    """Decorate a method with ``**given: Unpack[fields]``: an unknown keyword raises a `TypeError` with a suggestion.

    The keys of `fields`, a `TypedDict`, are keyword-only parameters of the resulting signature, for `help` and editors;
    type checkers get them from `Unpack`.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in inspect.get_annotations(fields).items()
        ]
        known = frozenset(item.name for item in (*own, *keywords) if item.kind is not item.POSITIONAL_ONLY)

        @functools.wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            if not known.issuperset(given):
                check_keywords(function.__name__, given, sorted(known))
            return function(*args, **given)

        vars(checked)["__signature__"] = signature.replace(parameters=[*own, *keywords])
        return cast("F", checked)

    return decorate


def fields_among(given: Mapping[str, Any], fields: type) -> dict[str, Any]:
    """Return those of some keywords that are keys of `fields`, a `TypedDict`."""
    return {name: given[name] for name in inspect.get_annotations(fields) if name in given}


def called_with(call: Callable[P, Call]) -> Callable[[Callable[[Call], T]], Callable[P, T]]:
    """Decorate a function of one object so that it takes the parameters of `call`, which makes that object.

    Functions with the same keywords need not list them again, and type checkers, `help` and editors see them.
    """

    def decorate(function: Callable[[Call], T]) -> Callable[P, T]:
        @functools.wraps(function)
        def called(*args: P.args, **keywords: P.kwargs) -> T:
            try:
                made = call(*args, **keywords)
            except TypeError as error:
                check_keywords(function.__name__, keywords, _keywords_of(call))
                raise TypeError(f"{function.__name__}(): {error}") from None
            return function(made)

        called.__wrapped__ = call  # type: ignore[assignment]  # where `inspect` finds the signature
        return called

    return decorate


def _keywords_of(call: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in inspect.signature(call).parameters.items() if parameter.kind in kinds]
