"""How a local store lies on disk."""
