"""Send several requests at once, while the next ones are prepared."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 4


class Pipeline(Generic[Item, Result]):
    """Send items in threads of its own, and pass the results back in the thread that puts the items.

    The threads are daemons, so that an interrupted program does not wait for them.

    Args:
        send: sends one item and returns the result; called in the threads.
        on_result: called with each item and its result, within `put` and `finish`, in the order of the results.
    """

    def __init__(self, send: Callable[[Item], Result], on_result: Callable[[Item, Result], None]) -> None:
        self._send, self._on_result = send, on_result
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Item, Result | BaseException]] = queue.SimpleQueue()
        self._in_flight = 0
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"otlp-{number}", daemon=True).start()

    def put(self, item: Item) -> None:
        """Send an item, after waiting while every thread is busy.

        Raises what `send` raised for an item before it.
        """
        while self._in_flight >= THREADS or not self._results.empty():
            self._receive()
        self._in_flight += 1
        self._items.put(item)

    def finish(self) -> None:
        """Wait for all results.

        Raises what `send` raised for any of the items.
        """
        while self._in_flight:
            self._receive()

    def close(self) -> None:
        """Let each thread end after the item that it is sending."""
        for _ in range(THREADS):
            self._items.put(None)

    def _receive(self) -> None:
        """Wait for one result and pass it on, or raise the error of its item."""
        item, result = self._results.get()
        self._in_flight -= 1
        if isinstance(result, BaseException):
            raise result
        self._on_result(item, result)

    def _work(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                result: Result | BaseException = self._send(item)
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread that puts the items
                result = error
            self._results.put((item, result))
