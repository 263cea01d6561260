"""Output: what may sound, and note-offs for all that did."""
