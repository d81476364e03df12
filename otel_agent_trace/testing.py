"""Kits for those who test agents, or write backends, sources and dialects of their own."""
