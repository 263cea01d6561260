"""The piano codec."""
