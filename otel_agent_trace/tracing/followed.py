"""Make a call last as long as the work that it returned: a coroutine, a task, a generator, a client's stream."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Coroutine
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from otel_agent_trace.guard import guarded
from otel_agent_trace.tracing.contexts import attach, current_context, detach
from otel_agent_trace.tracing.iterations import Iteration, stepped, stepped_async
from otel_agent_trace.tracing.traced_calls import TracedCall
from otel_agent_trace.values.classes import type_name


def follow(result: Any, invocation: TracedCall) -> Any:
    """Make a call last until the work that it returned is done, and return what the program receives in its place.

    That is the result itself wherever possible: a task, the stream of a client, and the manager of one. A coroutine or
    generator that nobody has started yet is wrapped by one of the same kind. None is returned for any other result.
    """
    work = _followed(result, invocation)
    if work is not None:
        invocation.followed_as(_KINDS.get(id(type(result))) or type_name(type(result)))
    return work


_KINDS = {id(CoroutineType): "coroutine", id(GeneratorType): "generator", id(AsyncGeneratorType): "async_generator"}


def _followed(result: Any, invocation: TracedCall) -> Any:
    kind = type(result)
    if kind is CoroutineType or (hasattr(kind, "cr_await") and hasattr(kind, "send")):  # the latter are those of Cython
        return _awaited(result, invocation)
    if kind is GeneratorType or kind is AsyncGeneratorType:
        return _iterated(result, invocation)
    if hasattr(kind, "_asyncio_future_blocking"):  # by which asyncio recognises tasks and futures, its own and others'
        return _until_done(result, invocation)
    if kind.__name__.endswith("StreamManager"):  # of the clients of OpenAI and Anthropic
        return _requested(result, invocation)
    name = _name_of_pieces(kind)
    pieces = None if name is None else getattr(result, name, None)  # of Anthropic's client made on first use
    if type(pieces) not in (GeneratorType, AsyncGeneratorType) or (followed := _iterated(pieces, invocation)) is None:
        return None
    vars(result)[name] = followed
    return result


# ── generators ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _name_of_pieces(kind: type) -> str | None:
    """Return the name under which objects of a class hold the generator that they read from; None for other classes.

    Such are the stream objects of OpenAI's client, and of other clients of the same code generator, and what the functions
    of `contextlib.contextmanager` return. The program receives the same object as without tracing.
    """
    return "_iterator" if hasattr(kind, "__stream__") else "gen" if _is_context_manager(kind) else None


def _is_context_manager(kind: type) -> bool:
    return kind.__module__ == "contextlib" and hasattr(kind, "_recreate_cm")


def _iterated(pieces: Any, invocation: TracedCall) -> Any:
    """Return a generator that makes the call last as long as it; None if the given one has begun, or is awaited."""
    if type(pieces) is GeneratorType:
        is_new = inspect.getgeneratorstate(pieces) == inspect.GEN_CREATED
        wrap = stepped
        if pieces.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
            return None
    else:
        is_new, wrap = pieces.ag_frame is not None and not pieces.ag_running, stepped_async
    if not is_new:
        return None
    iteration = Iteration(invocation, current_context())
    return wrap(pieces, lambda args, kwargs: (iteration, lambda: pieces))()


# ── coroutines, requests and tasks ───────────────────────────────────────────────────────────────────────────────────


class _Begun:
    """Hold work that has begun, and the call that it is of: a coroutine, or the request of a stream manager."""

    __slots__ = ("inside", "invocation", "work")

    def __init__(self, work: Any, invocation: TracedCall) -> None:
        self.work = work
        self.invocation = invocation
        self.inside = current_context()

    def followed(self, result: Any) -> Any:
        """Return what the program receives for a result that is work to be done; None for any other result."""
        return guarded(self.invocation.active.diagnostics, "stream", follow, result, self.invocation)


class _Pending(_Begun):
    """Hold work until it begins; of its own since Python drops an exception of another thread in ``__del__``."""

    __slots__ = ()

    def __del__(self) -> None:
        if not hasattr(self, "inside"):  # an exception of another thread came before, which ends the call
            return
        if type(self.work) is CoroutineType:  # Python warns of its wrapper that it is never awaited; once is enough
            self.work.close()
        self.invocation.never_begun()
        self.invocation.active.end()


def _awaited(coroutine: Any, invocation: TracedCall) -> Coroutine[Any, Any, Any] | None:
    """Return a coroutine that awaits another one within the call; None if that one has begun already."""
    if getattr(coroutine, "cr_frame", None) is None or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
        return None
    wrapper: Any = _await(_Pending(coroutine, invocation))
    wrapper.__name__, wrapper.__qualname__ = coroutine.__name__, coroutine.__qualname__
    return wrapper  # type: ignore[no-any-return]


async def _await(pending: _Begun) -> Any:
    pending.__class__ = _Begun
    invocation, inside = pending.invocation, pending.inside
    token, before = None, current_context()
    try:
        try:
            token = attach(inside)
            result = await pending.work
            work = pending.followed(result)
        finally:
            detach(token, inside, before)
        return invocation.finished(result) if work is None else work
    except BaseException as error:
        detach(token, inside, before)
        invocation.active.leave_with(error)
        raise


def _requested(manager: Any, invocation: TracedCall) -> Any:
    """Return a stream manager whose request, which it makes when it is entered, is part of the call; else None."""
    attributes: dict[str, Any] = getattr(manager, "__dict__", {})
    name = next(filter(_is_request, attributes), "")
    request = attributes.get(name)
    if inspect.iscoroutine(request):
        followed: Any = _awaited(request, invocation)
    else:
        followed = functools.partial(_request, _Pending(request, invocation)) if callable(request) else None
    if followed is None:
        return None
    attributes[name] = followed
    return manager


def _is_request(name: str) -> bool:
    return name.endswith("__api_request")


def _request(pending: _Begun) -> Any:
    if type(pending) is _Begun:  # the manager is entered again, which is no part of the call
        return pending.work()
    pending.__class__ = _Begun
    invocation, inside = pending.invocation, pending.inside
    token, before = None, current_context()
    try:
        try:
            token = attach(inside)
            result = pending.work()
            work = pending.followed(result)
        finally:
            detach(token, inside, before)
        return invocation.finished(result) if work is None else work
    except BaseException as error:
        detach(token, inside, before)
        invocation.active.leave_with(error)
        raise


def _until_done(future: Any, invocation: TracedCall) -> Any:
    """Return a task or future after it was asked to record its outcome in the call when it is done."""
    future.add_done_callback(functools.partial(_record_outcome, invocation))
    return future


def _record_outcome(invocation: TracedCall, future: Any) -> None:
    active = invocation.active
    guarded(active.diagnostics, "outcome of a task", _outcome, invocation, future)
    active.end()


def _outcome(invocation: TracedCall, future: Any) -> None:
    """Record the outcome of a future; its own method would mark an exception as seen, of which asyncio is to warn."""
    error = None if future.cancelled() else future._exception  # noqa: SLF001 - see above
    if error is None:
        try:
            result = future.result()
        except BaseException as cancellation:  # noqa: BLE001 - asyncio's, which emitting does not import
            error = cancellation
        else:
            invocation.returned(result)
    if error is not None:
        invocation.active.fail(error)
