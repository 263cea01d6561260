"""The engine: what the model plays next, and when."""
