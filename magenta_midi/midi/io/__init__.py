"""MIDI files and messages."""
