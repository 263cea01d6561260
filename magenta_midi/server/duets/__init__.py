"""Sessions of clients over sockets."""
