"""Provide regular expressions that are compiled when they are first used: most programs never need most of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any


class _LazyPattern:
    """Hold a regular expression, whose methods are those of the compiled one from the first use on."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._source = pattern, flags

    def __getattr__(self, name: str) -> Any:
        method = getattr(re.compile(*self._source), name)
        setattr(self, name, method)
        return method


if TYPE_CHECKING:

    def lazy_pattern(pattern: str, flags: int = 0) -> re.Pattern[str]:
        """Return a pattern that is compiled when it is first used."""

else:

    def lazy_pattern(pattern, flags=0):
        """Return a pattern that is compiled when it is first used."""
        return _LazyPattern(pattern, int(flags))
