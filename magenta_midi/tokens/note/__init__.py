"""The note codec: one note a frame."""
