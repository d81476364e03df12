"""Serve the runs of a source to coding agents by the Model Context Protocol. It needs the extra ``mcp``."""
