"""Events, commands and controls of a session."""
