"""The tests, a package so that all of them import their helpers as `tests.support`.

The environment is prepared here, before the library is imported, which reads some of it then;
``OTEL_AGENT_TRACE_TEST_WITHOUT=fcntl,fork`` takes away what Windows lacks.
"""

from __future__ import annotations

import os

from tests.support.windows import take_away

for _name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE"):  # the trace of whoever runs the tests
    os.environ.pop(_name, None)
take_away(os.environ.get("OTEL_AGENT_TRACE_TEST_WITHOUT", ""))
