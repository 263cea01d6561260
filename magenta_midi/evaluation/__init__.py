"""Losses, and nats a note on held-out music."""
