"""Small things to test with: also for users of the library."""

from magenta_midi.testing.models import (
  STYLE_ENTRY,
  tiny_generator,
  tiny_styled_generator,
)

__all__ = ["STYLE_ENTRY", "tiny_generator", "tiny_styled_generator"]
