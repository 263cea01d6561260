"""Generation of music in chunks."""
