"""MIDI ports, sound, OSC, keys and controllers."""
