"""Keep the current run and step in OpenTelemetry's context, beside the current span.

Other runtime contexts than that of contextvars may be installed (``OTEL_PYTHON_CONTEXT``), of which nothing is known but
their methods. That of ddtrace keeps the span only, returns no token, and cannot restore what was current before. What is
attached is therefore kept here as well, if the runtime context does not return it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context, create_key
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

from otel_agent_trace.forks import called_in_children
from otel_agent_trace.pipeline import runtime_context

RUN_KEY = create_key("otel_agent_trace.run")
STEP_KEY = create_key("otel_agent_trace.step")
_SESSION_KEY = create_key("otel_agent_trace.session")
_REPLAY_KEY = create_key("otel_agent_trace.replay")
INHERITED = ("session_id", "user_id")
"""Fields that a sub-agent has from the run above it."""
ELSEWHERE = object()
"""Value of `RUN_KEY` for a run of another process."""


_NOTHING_RECEIVED: dict[str, object] = {_SESSION_KEY: None, _REPLAY_KEY: None}


class Parent:
    """Provide the parent context of runs and steps below it."""

    __slots__ = ()

    def as_parent_context(self, base: Context) -> Context | None:
        """Return a context in which this is current, based on another; None if it cannot be a parent yet."""
        raise NotImplementedError


def with_span(span: Span, base: Context) -> Context:
    """Return a context with a span whose run is not known in this process."""
    return Context({**trace.set_span_in_context(span, base), RUN_KEY: None, STEP_KEY: None, **_NOTHING_RECEIVED})


def with_session(session: Mapping[str, str], base: Context) -> Context:
    """Return a context with `INHERITED` fields of a run that is not in this process."""
    return Context({**base, _SESSION_KEY: session})


def session_in(context: Context) -> Mapping[str, str]:
    """Return the `INHERITED` fields of a run that is not in this process, as far as they are known."""
    session = context.get(_SESSION_KEY)
    return session if isinstance(session, dict) else {}


def with_own(span: Span, base: Context, key: str, value: object) -> Context:
    """Return a context with a span, and with its run or step under a key."""
    context = trace.set_span_in_context(span, base)
    dict.__setitem__(context, key, value)  # a second copy would double the cost; nothing else refers to it yet
    return context


def with_replay_place(place: str, base: Context) -> Context:
    """Return a context with the place in a replay that a carrier has brought."""
    return Context({**base, _REPLAY_KEY: place})


def replay_place_in(context: Context) -> str | None:
    """Return the place in a replay that a carrier has brought; None if there is none."""
    place = context.get(_REPLAY_KEY)
    return place if isinstance(place, str) else None


class _Kept(NamedTuple):
    """Hold the context that was attached last, and the span that the runtime context has returned since."""

    context: Context
    shown: int


class _Opaque(NamedTuple):
    """Hold the token of another runtime context, and what is to be restored."""

    token: Any
    shown: int
    before: Context
    kept_before: _Kept | None


Attachment = Token[Context] | _Opaque
"""Result of `attach`, to be passed to `detach`."""

_KEPT: ContextVar[_Kept | None] = ContextVar("otel_agent_trace.kept", default=None)


def current_context() -> Context:
    """Return the current context.

    If the runtime context did not keep the one that was attached, that one is returned as long as no other span is
    current; beside a span of another instrumentation, its run and step.
    """
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    if type(runtime) is ContextVarsRuntimeContext:  # the usual one, without the rest: this runs once a span
        return runtime.get_current()
    context = runtime_context.get_current()
    kept = _KEPT.get()
    if kept is None:
        return context
    return kept.context if _span_id(context) == kept.shown else Context({**kept.context, **context})


def attach(context: Context) -> Attachment:
    """Make a context current; what the runtime context raises is counted and logged once."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    if type(runtime) is ContextVarsRuntimeContext:
        return runtime.attach(context)
    before = current_context()
    token: Any = runtime_context.attach(context)
    if type(token) is Token and token.var.get() is context:
        return token
    shown = _shown()
    kept = _KEPT.get()
    _KEPT.set(_Kept(context, shown))
    return _Opaque(token, shown, before, kept)


def detach(token: Attachment | None, attached: Context | None = None, before: Context | None = None) -> None:
    """Restore the context that was current before `attached`; a second call does nothing.

    In another execution context than that of the attachment, it is restored only if the attached one is current there: in
    an async generator whose items are read by different tasks. So it is without a token, which is lost if another thread
    raises an exception just when the context has been attached; `before` is then what is restored.
    """
    if isinstance(token, _Opaque):
        _restore(token)
        return
    if token is not None:
        try:
            token.var.reset(token)
        except (ValueError, RuntimeError):  # made elsewhere, or used
            before = Context() if token.old_value is Token.MISSING else token.old_value
        else:
            return
    if attached is not None and before is not None and current_context() is attached:
        runtime_context.attach(before)


class Blocks:
    """Keep what an object has attached in ``with`` blocks, of several threads or tasks at once too."""

    def __init__(self) -> None:
        self._attached: dict[int, tuple[Attachment | None, Context, Context]] = {}

    def enter(self, context: Context, before: Context) -> None:
        """Make a context current; `before` is the current one."""
        try:
            self._attached[id(context)] = attach(context), context, before
        except BaseException:  # of another thread, perhaps when it was attached
            self._attached.pop(id(context), None)
            detach(None, context, before)
            raise

    def leave(self) -> None:
        """Restore what was current before the current context, else before the one that was attached last."""
        own = self._attached.get(id(current_context())) or list(self._attached.values())[-1]
        try:
            detach(*own)
        except BaseException:  # likewise, perhaps before that
            detach(*own)
            raise
        finally:
            self._attached.pop(id(own[1]), None)


def _restore(opaque: _Opaque) -> None:
    """Restore what was current before, also if the runtime context cannot: that of ddtrace does nothing."""
    if opaque.token is not None:
        runtime_context.detach(opaque.token)
    if _shown() == opaque.shown:
        runtime_context.attach(opaque.before)
    shown = _shown()
    is_restored = opaque.kept_before is None and shown == _span_id(opaque.before)
    _KEPT.set(None if is_restored else _Kept(opaque.before, shown))


def _shown() -> int:
    return _span_id(runtime_context.get_current())


def _span_id(context: Context) -> int:
    return trace.get_current_span(context).get_span_context().span_id


def make_span_remote() -> None:
    """Replace the current span, which is that of the parent process, by a remote one with the same ids in a forked child.

    So the child neither writes to a span that is open in its parent, nor ends it.
    """
    context = current_context()
    span = trace.get_current_span(context)
    if isinstance(span, NonRecordingSpan):
        return
    local = span.get_span_context()
    remote = SpanContext(local.trace_id, local.span_id, True, local.trace_flags, local.trace_state)
    attach(trace.set_span_in_context(NonRecordingSpan(remote), context))


called_in_children(make_span_remote)
