"""Some requests on their way at once, while the next are made."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Load = TypeVar("Load")
Result = TypeVar("Result")

THREADS = 4


class Pipeline(Generic[Load, Result]):
    """Sends loads in threads of its own; what became of each is told in the thread that gave them.

    The threads are daemons: whoever is interrupted does not wait for them.

    Args:
        send: sends one load and gives what became of it; called in the threads.
        take: is given each load and what became of it, within `put` and `finish`, in the order of the answers.
    """

    def __init__(self, send: Callable[[Load], Result], take: Callable[[Load, Result], None]) -> None:
        self._send, self._take = send, take
        self._tasks: queue.SimpleQueue[Load | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Load, Result | BaseException]] = queue.SimpleQueue()
        self._on_their_way = 0
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"otlp-{number}", daemon=True).start()

    def put(self, load: Load) -> None:
        """Send it as soon as may be; waits while as many as there are threads are on their way.

        Raises what `send` raised for it, or for one before it.
        """
        while self._on_their_way >= THREADS or not self._answers.empty():
            self._take_one()
        self._on_their_way += 1
        self._tasks.put(load)

    def finish(self) -> None:
        """Wait for all answers. Raises what `send` raised."""
        while self._on_their_way:
            self._take_one()

    def close(self) -> None:
        """Let the threads end, after what they are doing."""
        for _ in range(THREADS):
            self._tasks.put(None)

    def _take_one(self) -> None:
        load, result = self._answers.get()
        self._on_their_way -= 1
        if isinstance(result, BaseException):
            raise result
        self._take(load, result)

    def _work(self) -> None:
        while (load := self._tasks.get()) is not None:
            try:
                result: Result | BaseException = self._send(load)
            except BaseException as error:  # noqa: BLE001 - it is raised in the other thread
                result = error
            self._answers.put((load, result))
