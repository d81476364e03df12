"""The stand-in for Jaeger."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "reading"))

from jaeger_stand_in import StandIn
from told import Problems


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
