"""Write what was received into a local store, after the policies: several requests in one write, in one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otel_agent_trace.backends.file import FileOptions
from otel_agent_trace.guard import Diagnostics, shielded
from otel_agent_trace.keywords import fields_among, takes_fields
from otel_agent_trace.pipeline import DataOptions, Gate, Policy, ReceivedPipeline, data_policies
from otel_agent_trace.pipeline.sampling import Sampling, with_sampling
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.receiver.deliveries import Content, Delivery, content_of
from otel_agent_trace.receiver.received_file import ReceivedFile
from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.unpacking import Limits
from otel_agent_trace.store.settings import StoreOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

_WRITE_BYTES = 4 << 20
"""Size of requests from which on no further one is added to a write."""
_LOOK_S = 1.0
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


class StoreSink:
    """Write requests into a local store, which is the file of a `FileBackend` with these options.

    A request is decoded, passes the policies, and is written in a thread of the sink, together with others that wait.
    Its receipt is there after the write: then a kill of the process loses nothing of it that the policies keep. What a
    gate or sampling has not decided is written into the journal. If the disk is full, the request is refused in a way
    that lets clients send it again.

    Args:
        path: the file; by default as for `FileBackend`.
        policies: further policies, as for `configure`, of which the last may be a `Gate`.
        sampling: policy by which traces are sampled; by default that of ``OTEL_AGENT_TRACE_SAMPLING``, False for none.
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
        policies: Iterable[Policy | Gate] = (),
        sampling: Sampling = None,
        limits: Limits | None = None,
        **options: Unpack[FileOptions],
    ) -> None:
        self.limits = limits or Limits()
        self._diagnostics = Diagnostics()
        in_order = data_policies(**fields_among(options, DataOptions)).in_order(with_sampling(policies, sampling))
        self._file = ReceivedFile(path, **fields_among(options, StoreOptions))
        self.sampling = next((policy for policy in in_order if isinstance(policy, TailSampling)), None)
        """Policy by which traces are sampled; None for none."""
        self._pipeline = ReceivedPipeline(in_order, (self._file,), self._diagnostics)
        if self._pipeline.holds:
            self._file.begin(self._pipeline.begin)
        self._waiting: deque[_Waiting] = deque()
        self._news = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="otlp-receiver", daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        """Return the path of the file."""
        return self._file.path

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
        """Return the number of requests, spans and logs that were received, rejected, dropped and lost, by reason."""
        return {**self._file.stats(), **self._diagnostics.counts()}

    def close(self) -> None:
        """Write what waits, and close the file; further requests are refused.

        Traces that sampling has not decided stay in the journal; a `Gate` is asked about its own a last time.
        """
        with self._news:
            self._is_closed = True
            self._news.notify()
        self._thread.join()
        self._pipeline.close()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while (group := self._next_group()) is not None:
            self._write(group)
            while group:
                self._write(group)

    def _next_group(self) -> deque[_Waiting] | None:
        """Return the requests that wait, perhaps none when it is time to look at held traces; None once closed."""
        with self._news:
            look_s = _LOOK_S if self._pipeline.holds else None
            self._news.wait_for(lambda: self._waiting or self._is_closed, look_s)
            group, self._waiting = self._waiting, deque()
            return None if self._is_closed and not group else group

    def _write(self, group: deque[_Waiting]) -> None:
        """Write the first requests of a group, and remove them from it."""
        taken: list[tuple[Future[Receipt], Content]] = []
        size = 0
        while group and size < _WRITE_BYTES:
            delivery, receipt = group.popleft()
            if not receipt.set_running_or_notify_cancel():  # the client is gone
                continue
            found = shielded(self._diagnostics, "request", self._content_of, delivery)
            if isinstance(found, Content):
                taken.append((receipt, found))
                size += found.size_bytes
            else:
                receipt.set_exception(found or RefusedError(Reason.FAILED, "the request could not be processed"))
        shielded(self._diagnostics, "write", self._pass_and_write, taken, group)
        for receipt, _ in taken:
            if not receipt.done():
                receipt.set_exception(RefusedError(Reason.FAILED, "the request could not be written"))

    def _content_of(self, delivery: Delivery) -> Content | RefusedError:
        """Return what a request has, or the error with which it is refused."""
        self._diagnostics.count(f"requests: {delivery.signal}")
        try:
            return content_of(delivery, self.limits)
        except RefusedError as error:
            self._diagnostics.count(f"refused: {error.reason.name.lower().replace('_', ' ')}")
            return error

    def _pass(self, contents: Sequence[Content]) -> None:
        """Pass spans and logs to the file: root spans after the others, as they decide their traces, then logs."""
        for is_root in (False, True):
            for content in contents:
                self._file.reject = partial(content.rejected.append, _TOO_LONG)
                for span in content.spans:
                    if (span.parent_span_id is None) is is_root:
                        self._pipeline.on_record(span)
        for content in contents:
            self._file.reject = partial(content.rejected.append, _TOO_LONG)
            for log in content.logs:
                self._pipeline.on_log(log)

    def _pass_and_write(self, taken: list[tuple[Future[Receipt], Content]], rest: deque[_Waiting]) -> None:
        """Write what the pipeline passes on of requests, and pass on their receipts, or the error of that.

        Args:
            taken: the receipts, and what the requests have.
            rest: further requests, which may have root spans of traces that wait, so that these are not looked at yet.
        """
        self._pass([content for _, content in taken])
        if not rest:
            self._pipeline.look()
        try:
            self._file.write()
        except OSError as error:
            self._fail([receipt for receipt, _ in taken], error)
            return
        for receipt, content in taken:
            if content.rejected:
                self._diagnostics.count("rejected", len(content.rejected))
            receipt.set_result(Receipt(len(content.rejected), content.message))

    def _fail(self, receipts: list[Future[Receipt]], error: OSError) -> None:
        message = "could not write to %s: %s; clients may send again"
        reason = self._diagnostics.count_error("not written", error, message, self.path, len(receipts))
        for receipt in receipts:
            receipt.set_exception(RefusedError(Reason.UNAVAILABLE, f"{self.path}: {reason}", retry_after_s=_RETRY_S))
