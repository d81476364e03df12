"""The stand-in for Jaeger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_jaeger import FakeJaeger


@pytest.fixture(scope="session")
def shared_fake_jaeger() -> Iterator[FakeJaeger]:
    with FakeJaeger() as server:
        yield server


@pytest.fixture
def jaeger(shared_fake_jaeger: FakeJaeger) -> FakeJaeger:
    """An empty one."""
    shared_fake_jaeger.fresh()
    return shared_fake_jaeger
