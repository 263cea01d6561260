"""Moved: python -m magenta_midi.cli.finetune."""

from magenta_midi.app import refuse

if __name__ == "__main__":
  refuse("finetune", "finetune")
