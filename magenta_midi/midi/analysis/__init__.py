"""Measures of a score: key, chords, rhythm, texture."""
