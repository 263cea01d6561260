"""Compiled functions and their caches on disk."""
