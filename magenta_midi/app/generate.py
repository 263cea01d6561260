"""Moved: python -m magenta_midi.cli.generate."""

from magenta_midi.app import refuse

if __name__ == "__main__":
  refuse("generate", "generate")
