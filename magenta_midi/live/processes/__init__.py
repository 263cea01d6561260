"""The processes of a session, and their rings."""
