"""Provide policies: callables that return a span or log record unchanged, changed, or None to drop it."""
