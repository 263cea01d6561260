"""Path of a phrase: python -m magenta_midi.cli.phrases [NAME]."""

import sys

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.cli.terminal.output import print_line, remark
from magenta_midi.cli.terminal.streams import plain_streams

with plain_streams():
  try:
    print_line(phrase_path(*sys.argv[1:2]))
  except ValueError as error:
    remark(error)
    sys.exit(2)
