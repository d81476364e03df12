"""Record any program of Python, unchanged, by the instrumentations that are installed, for ``otel-agent-trace run``."""
