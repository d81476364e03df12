"""Write what was received into a local store, after the policies: several requests in one write, in one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otel_agent_trace.backends.file import FileBackend, FileOptions
from otel_agent_trace.guard import Diagnostics, shielded
from otel_agent_trace.keywords import fields_among, takes_fields
from otel_agent_trace.pipeline import (
    DROPPED_BY_A_POLICY,
    DataOptions,
    Gate,
    PipelineSpan,
    Policies,
    Policy,
    data_policies,
    policies_without_gate,
)
from otel_agent_trace.receiver.deliveries import Content, Delivery, content_of
from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.unpacking import Limits
from otel_agent_trace.store.settings import StoreOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

_WRITE_BYTES = 4 << 20
"""Size of the lines from which on no further request is added to a write."""
_RETRY_S = 5
_TOO_LONG = "too long for a line of the store, or cannot be written"


class Receipt(NamedTuple):
    """Hold how many spans or log records of a request were rejected, and why; the others are in the store."""

    rejected: int = 0
    message: str = ""


class Sink(Protocol):
    """Take requests, from any thread."""

    @property
    def limits(self) -> Limits:
        """Return what is taken."""

    def submit(self, delivery: Delivery) -> Future[Receipt]:
        """Return the receipt, which is there once the request was written, or the `RefusedError` for it."""


_Waiting = tuple[Delivery, "Future[Receipt]"]


class _Taken(NamedTuple):
    """Hold the receipt of a request, its lines after the policies, and how many spans and log records are in them."""

    receipt: Receipt
    lines: bytes
    spans: int
    logs: int


class StoreSink:
    """Write requests into a local store, which is the file of a `FileBackend` with these options.

    A request is decoded, passes the policies, and is written in a thread of the sink, together with others that wait. Its
    receipt is there after the write: then a kill of the process loses nothing of it. If the disk is full, the request is
    refused in a way that lets clients send it again.

    Args:
        path: the file; by default as for `FileBackend`.
        policies: further policies, as for `configure`, but no `Gate`.
        limits: what is taken.
        options: `user_ids`, `content`, `mask` and `redact`, and the settings of the store, as for `FileBackend`.

    Raises:
        ConfigurationError: the path cannot be such a file, or another argument is not valid.
    """

    @takes_fields(FileOptions)
    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        *,
        policies: Iterable[Policy] = (),
        limits: Limits | None = None,
        **options: Unpack[FileOptions],
    ) -> None:
        self.limits = limits or Limits()
        self._diagnostics = Diagnostics()
        in_order = data_policies(**fields_among(options, DataOptions)).in_order(policies_without_gate(policies))
        self._policies = Policies((policy for policy in in_order if not isinstance(policy, Gate)), self._diagnostics)
        self._backend = FileBackend(path, **fields_among(options, StoreOptions))
        self._waiting: deque[_Waiting] = deque()
        self._news = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="otlp-receiver", daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """Return the path of the file."""
        return self._backend.path

    def submit(self, delivery: Delivery) -> Future[Receipt]:
        """Return the receipt of a request, which is there once it was written, or the `RefusedError` for it."""
        receipt: Future[Receipt] = Future()
        with self._news:
            if not self._is_closed:
                self._waiting.append((delivery, receipt))
                self._news.notify()
                return receipt
        receipt.set_exception(RefusedError(Reason.UNAVAILABLE, "the receiver is ending", retry_after_s=_RETRY_S))
        return receipt

    def stats(self) -> dict[str, int]:
        """Return the number of requests, spans and log records that were received, rejected, dropped and lost, by reason."""
        return {**self._backend.stats(), **self._diagnostics.counts()}

    def close(self) -> None:
        """Write what waits, and close the file; further requests are refused."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        self._thread.join()
        self._backend.close()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while (group := self._next_group()) is not None:
            while group:
                self._write(group)

    def _next_group(self) -> deque[_Waiting] | None:
        """Return the requests that wait; None once the sink is closed."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._is_closed)
            group, self._waiting = self._waiting, deque()
        return group or None

    def _write(self, group: deque[_Waiting]) -> None:
        """Write the first requests of a group, and remove them from it."""
        taken: list[tuple[Future[Receipt], _Taken]] = []
        size = 0
        while group and size < _WRITE_BYTES:
            delivery, receipt = group.popleft()
            if not receipt.set_running_or_notify_cancel():  # the client is gone
                continue
            found = shielded(self._diagnostics, "request", self._taken, delivery)
            if isinstance(found, _Taken):
                taken.append((receipt, found))
                size += len(found.lines)
            else:
                receipt.set_exception(found or RefusedError(Reason.FAILED, "the request could not be processed"))
        self._append(taken)

    def _taken(self, delivery: Delivery) -> _Taken | RefusedError:
        """Return what is to be written of a request, or the error with which it is refused."""
        self._diagnostics.count(f"requests: {delivery.signal}")
        try:
            return self._encoded(content_of(delivery, self.limits))
        except RefusedError as error:
            self._diagnostics.count(f"refused: {error.reason.name.lower().replace('_', ' ')}")
            return error

    def _encoded(self, content: Content) -> _Taken:
        admit, policies = self._policies.of_record, self._policies
        records = [record for span in content.spans if (record := admit(span)) is not None]
        logs = [log for given in content.logs if (log := admit(given)) is not None]
        spans = [PipelineSpan(policies, None, None, record) for record in records]
        lines, kept_spans, kept_logs = self._backend.encode(spans, logs)
        content.rejected.extend([_TOO_LONG] * (len(spans) - kept_spans + len(logs) - kept_logs))
        self._count(DROPPED_BY_A_POLICY, len(content.spans) + len(content.logs) - len(spans) - len(logs))
        self._count("rejected", len(content.rejected))
        return _Taken(Receipt(len(content.rejected), content.message), lines, kept_spans, kept_logs)

    def _count(self, reason: str, number: int) -> None:
        if number:
            self._diagnostics.count(reason, number)

    def _append(self, taken: list[tuple[Future[Receipt], _Taken]]) -> None:
        """Append the lines of requests in one write, and pass on their receipts, or the error of that."""
        lines = b"".join(each.lines for _, each in taken)
        try:
            if lines:
                self._backend.append(lines, sum(each.spans for _, each in taken), sum(each.logs for _, each in taken))
        except OSError as error:
            self._fail([receipt for receipt, _ in taken], error)
        else:
            for receipt, each in taken:
                receipt.set_result(each.receipt)

    def _fail(self, receipts: list[Future[Receipt]], error: OSError) -> None:
        reason = error.strerror or str(error)
        self._diagnostics.count(f"not written: {reason}", len(receipts))
        self._diagnostics.warn_once(reason, "could not write to %s: %s; clients may send again", self.path, reason)
        for receipt in receipts:
            receipt.set_exception(RefusedError(Reason.UNAVAILABLE, f"{self.path}: {reason}", retry_after_s=_RETRY_S))
