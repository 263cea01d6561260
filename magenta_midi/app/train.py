"""Moved: python -m magenta_midi.cli.train."""

from magenta_midi.app import refuse

if __name__ == "__main__":
  refuse("train", "train")
