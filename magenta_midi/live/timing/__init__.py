"""Bars, MIDI clock, trading of bars."""
