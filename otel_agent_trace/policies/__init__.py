"""Policies over what is recorded, pure: user ids."""
