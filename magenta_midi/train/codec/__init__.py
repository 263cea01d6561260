"""Training of the piano codec."""
