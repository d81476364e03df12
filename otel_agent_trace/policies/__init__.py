"""Policies over what is recorded, pure: each a callable from a record to a record, or None."""
