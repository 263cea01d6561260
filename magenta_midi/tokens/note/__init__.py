"""Note codec: one note in each frame."""
