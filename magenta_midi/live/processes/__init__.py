"""The processes of a session, and what goes between them."""
