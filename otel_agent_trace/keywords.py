"""Keywords of functions: one that is misspelt is an error that names the closest one there is."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def names_keywords(fields: type | None = None) -> Callable[[F], F]:
    """Make unknown keywords of a function a TypeError that names each of them with the closest that there is.

    Python's own error names one keyword, and a similar one only from Python 3.13 on.

    Args:
        fields: the `TypedDict` that the function takes as ``**fields: Unpack[...]``; its keys become keyword-only
            parameters of the signature. Type checkers see them by themselves.
    """

    def decorate(function: F) -> F:
        signature = _signature(function, fields)
        known = frozenset(signature.parameters)

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not known.issuperset(kwargs):
                raise TypeError(unknown_keywords_text(function.__qualname__, kwargs.keys() - known, known - {"self"}))
            return function(*args, **kwargs)

        vars(checked)["__signature__"] = signature
        return cast("F", checked)

    return decorate


def _signature(function: Callable[..., Any], fields: type | None) -> inspect.Signature:
    """Return the signature of a function, with the keys of a `TypedDict` in place of its ``**`` parameter."""
    signature = inspect.signature(function)
    if fields is None:
        return signature
    own = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in inspect.get_annotations(fields).items()
    ]
    return signature.replace(parameters=[*own, *keywords])


def unknown_keywords_text(function: str, unknown: Iterable[str], known: Collection[str]) -> str:
    """Return the message for keywords that a function does not take."""
    return f"{function}() takes no keyword {' and no '.join(_hint(name, known) for name in sorted(unknown))}"


def _hint(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name)
