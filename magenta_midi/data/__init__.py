"""Corpora: from MIDI files to packed pieces."""
