"""Runs from anywhere, as asked for."""
