"""Recordings of sound to MIDI.

Import from the modules: `transcribe` is both a module and its function.
"""
