"""Live play: ports, engine, performer, recordings."""
