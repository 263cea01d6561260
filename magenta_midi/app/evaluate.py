"""Moved: python -m magenta_midi.cli.evaluate."""

from magenta_midi.app import refuse

if __name__ == "__main__":
  refuse("evaluate", "evaluate")
