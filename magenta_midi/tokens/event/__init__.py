"""The event codec: one token a frame."""
