"""Event codec: one token in each frame."""
