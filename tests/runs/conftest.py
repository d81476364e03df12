"""Makes `by_hand` and `any_traces` importable, and the traces of other tests."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "dialects"), str(HERE)]
