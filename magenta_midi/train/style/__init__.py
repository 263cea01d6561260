"""Training of MidiCoCa."""
