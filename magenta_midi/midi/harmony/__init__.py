"""Chords and charts: what a tune's harmony is, and when."""
