"""Mask secrets and personal data in JSON values; nothing here knows of spans."""
