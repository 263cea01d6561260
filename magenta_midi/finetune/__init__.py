"""Adapters: from a player's recordings to low-rank weights."""
