"""The stand-in for Jaeger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_jaeger import StandIn
from tests.support.sample_runs import Problems


@pytest.fixture(scope="session")
def shared_stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def jaeger(shared_stand_in: StandIn) -> StandIn:
    """An empty one."""
    shared_stand_in.fresh()
    return shared_stand_in


@pytest.fixture
def problems() -> Problems:
    """Nothing reported so far."""
    return Problems()
