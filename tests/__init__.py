"""The tests, a package so that all of them import their helpers as `tests.support`.

``OTEL_AGENT_TRACE_TEST_WITHOUT=fcntl,fork`` takes away what Windows lacks, here, before the library is imported.
"""

from __future__ import annotations

import os

from tests.support.windows import take_away

take_away(os.environ.get("OTEL_AGENT_TRACE_TEST_WITHOUT", ""))
