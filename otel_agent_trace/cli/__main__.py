"""Run the command as ``python -m otel_agent_trace.cli``."""

import sys

from otel_agent_trace.cli import main

sys.exit(main())
