"""Takes and uploads, by id."""
