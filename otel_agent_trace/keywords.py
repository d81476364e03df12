"""Keywords of calls: one that there is not is a `TypeError` which names the one that was meant, for each of a call."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
Call = TypeVar("Call")
F = TypeVar("F", bound=Callable[..., Any])


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse keywords that a function does not take.

    Raises:
        TypeError: there are some; it names each of them, with the closest one that there is.
    """
    names = list(known)
    wrong = [name for name in given if name not in names]
    if wrong:
        what = "an unexpected keyword argument" if len(wrong) == 1 else "unexpected keyword arguments"
        raise TypeError(f"{function}() got {what} {', '.join(_suggested(name, names) for name in wrong)}")


def _suggested(name: str, known: list[str]) -> str:
    closest = difflib.get_close_matches(name, known, 1)
    return f"{name!r} (did you mean {closest[0]!r}?)" if closest else repr(name)


def suggests_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function with explicit keywords name the closest one where it is called with one that it does not have."""
    known = _keywords_of(function)

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> T:
        check_keywords(function.__name__, keywords, known)
        return function(*args, **keywords)

    return checked


def takes_fields(fields: type) -> Callable[[F], F]:
    """Let a method that takes ``**given: Unpack[fields]``, a `TypedDict`, name the closest keyword for one that it does
    not have.

    The keys of the dictionary become keyword-only parameters of the signature, for `help` and editors; type checkers
    see them by themselves.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in inspect.get_annotations(fields).items()
        ]
        known = frozenset(item.name for item in (*own, *keywords) if item.kind is item.KEYWORD_ONLY)

        @functools.wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            if not known.issuperset(given):
                check_keywords(function.__name__, given, sorted(known))
            return function(*args, **given)

        vars(checked)["__signature__"] = signature.replace(parameters=[*own, *keywords])
        return cast("F", checked)

    return decorate


def called_with(call: Callable[P, Call]) -> Callable[[Callable[[Call], T]], Callable[P, T]]:
    """Give a function the parameters of a class: what it is called with makes an object, which it is given.

    So functions that take the same keywords need not list them again, and type checkers, `help` and editors see them.
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
