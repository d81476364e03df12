"""Serve a page of a source on this machine: the server of ``otel-agent-trace view``, and the files of its page."""
