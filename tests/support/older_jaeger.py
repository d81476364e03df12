"""A Jaeger that is read as if it were an older one."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace.sources.http import HttpReader
from otel_agent_trace.sources.jaeger import JaegerSource


class OlderJaeger(JaegerSource):
    """As if there were no API v3."""

    def traces(self, on_problem: Any) -> Any:
        usual = HttpReader.get
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                HttpReader,
                "get",
                lambda reader, path, *rest: usual(reader, path.replace("/api/v3/", "/api/v2/"), *rest),
            )
            yield from super().traces(on_problem)
