"""Waveforms: a small piano, FluidSynth, WAV files.

Import from the modules: `render` is both a module and its function.
"""
