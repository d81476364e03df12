"""Trace and span ids that do not come from `random`, whose sequence is the host's."""

from __future__ import annotations

import os
import random
import weakref

from opentelemetry.sdk.trace.id_generator import IdGenerator


class PrivateIdGenerator(IdGenerator):
    """Ids from a generator of its own, seeded by the system, anew in a forked child."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))  # noqa: S311 - ids are no secrets
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _reseed(reference()))

    def reseed(self) -> None:
        """Begin another sequence."""
        self._random.seed(os.urandom(32))

    def generate_span_id(self) -> int:
        """64 random bits, not all zero."""
        return self._random.getrandbits(64) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        """128 random bits, not all zero."""
        return self._random.getrandbits(128) or self.generate_trace_id()


def _reseed(generator: PrivateIdGenerator | None) -> None:
    if generator is not None:
        generator.reseed()
