"""Moved: python -m magenta_midi.cli.main."""

from magenta_midi.app import refuse

if __name__ == "__main__":
  refuse("cli", "main")
