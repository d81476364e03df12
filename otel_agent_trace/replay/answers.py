"""Give the recorded outcome of a call: as a value, a coroutine, a generator or an async generator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from otel_agent_trace.replay.forms import Work, made
from otel_agent_trace.replay.turns import running_loop
from otel_agent_trace.tracing.iterations import is_cancelled


class Guide(Protocol):
    """Describe what answers need of the replay."""

    def diverge(self, reason: str) -> NoReturn:
        """Note that the program asked for more than was recorded, and raise it."""

    async def turn(self, ended_at_ns: int) -> None:
        """Wait until the calls have ended that did so before in the recording."""

    async def cancellation(self) -> None:
        """Wait to be cancelled."""


class Outcome:
    """Hold the outcome of a recorded call, and answer with it.

    Args:
        result: the result; of a stream, what its generator returned.
        error: what it raised, None for nothing.
        chunks: the items of a stream, None if they were not recorded.
        is_abandoned: whether the consumer left the stream, so that it may have had more items.
        is_cancelled: whether the call was cancelled.
        ended_at_ns: when it ended, in Unix nanoseconds.
        forms: the forms of the work that the function returned, outermost first, for each of which `can_be_made` holds.
        changes: arguments that the call changed in place, each with what it held afterwards.
        guide: the replay.
    """

    __slots__ = (
        *("changes", "chunks", "ended_at_ns", "error", "forms", "guide", "is_abandoned", "is_cancelled", "result"),
    )

    def __init__(
        self,
        guide: Guide,
        result: Any = None,
        *,
        error: BaseException | None = None,
        chunks: list[Any] | None = None,
        is_abandoned: bool = False,
        is_cancelled: bool = False,
        ended_at_ns: int = 0,
        forms: tuple[str, ...] = (),
        changes: Sequence[tuple[Any, Any]] = (),
    ) -> None:
        self.guide = guide
        self.result = result
        self.error = error
        self.chunks = chunks
        self.is_abandoned = is_abandoned
        self.is_cancelled = is_cancelled
        self.ended_at_ns = ended_at_ns
        self.forms = forms
        self.changes = changes

    def value(self) -> Any:
        """Return the result of a plain function, or raise its exception."""
        return self._formed(self.forms)

    def _formed(self, forms: tuple[str, ...]) -> Any:
        """Return the result, or work that has it, in the forms in which the function returned it."""
        if not forms:
            return self._given()
        return made(forms[0], Work(partial(self._awaited, forms[1:]), self.items, self.async_items))

    def _given(self) -> Any:
        for argument, content in self.changes:
            _refill(argument, content)
        error = self.error
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error  # otherwise frame and exception refer to each other, and stay until garbage collection

    async def awaited(self) -> Any:
        """Return the result of a coroutine function, or raise its exception, when it is its turn."""
        return await self._awaited(self.forms)

    async def _awaited(self, forms: tuple[str, ...]) -> Any:
        if running_loop() is not None:
            await (self.guide.cancellation() if self.is_cancelled else self.guide.turn(self.ended_at_ns))
        return self._formed(forms)

    def items(self) -> Generator[Any, Any, Any]:
        """Yield the items of a generator, and return or raise what it did."""
        for item in self._recorded():
            self._check_sent((yield from _yielded(item, self)))
        return self._end()

    async def async_items(self) -> AsyncGenerator[Any, Any]:
        """Yield the items of an async generator, and raise what it did."""
        is_in_loop = running_loop() is not None
        for item in self._recorded():
            if is_in_loop:
                await self.guide.turn(self.ended_at_ns)
            try:
                sent = yield item
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the consumer throws
                _check_thrown(error, self)
            self._check_sent(sent)
        if is_in_loop:
            await (self.guide.cancellation() if self.is_cancelled else self.guide.turn(self.ended_at_ns))
        self._end()

    def _recorded(self) -> list[Any]:
        if self.chunks is None:
            if self.error is None:
                self.guide.diverge("its items were not recorded")
            return []
        return self.chunks

    def _end(self) -> Any:
        if self.is_abandoned:
            self.guide.diverge("its consumer left it after the last recorded item, and now asks for more")
        return self._given()

    def _check_sent(self, sent: object) -> None:
        if sent is not None:
            self.guide.diverge("what is sent into a generator is not recorded, so that it cannot be answered")


def _refill(argument: Any, content: Any) -> None:
    """Let a mutable argument hold what it held after the recorded call."""
    argument.clear()
    fill = argument.update if isinstance(argument, dict | set) else argument.extend
    fill(content)


def _yielded(item: Any, outcome: Outcome) -> Generator[Any, Any, Any]:
    try:
        return (yield item)
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the consumer throws
        _check_thrown(error, outcome)


def _check_thrown(error: BaseException, outcome: Outcome) -> NoReturn:
    """Raise a cancellation as it is; refuse anything else that a consumer throws into a generator."""
    if is_cancelled(error) or isinstance(error, KeyboardInterrupt):
        raise error
    outcome.guide.diverge(f"{type(error).__name__} is thrown into a generator, which cannot be answered")
