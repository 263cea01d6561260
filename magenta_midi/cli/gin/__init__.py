"""Gin files and bindings as settings; the only room with gin."""
