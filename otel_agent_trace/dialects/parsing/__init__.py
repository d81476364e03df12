"""Provide the parsers that dialects share: attributes, messages of any shape, envelopes around values."""
