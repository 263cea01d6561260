"""Path of a phrase: python -m magenta_midi.cli.phrases [NAME]."""

import sys

from magenta_midi.cli.phrases import phrase_path

try:
  print(phrase_path(*sys.argv[1:2]))
except ValueError as error:
  print(error, file=sys.stderr)
  sys.exit(2)
