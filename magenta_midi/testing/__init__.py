"""Small things to test with: also for users of the library."""

from magenta_midi.testing.models import tiny_generator

__all__ = ["tiny_generator"]
