"""Notes and pedal, files, tempo, plots. NumPy and symusic only."""

from magenta_midi.midi.io.files import MidiFileError
from magenta_midi.midi.notes import NOTE_DTYPE
from magenta_midi.midi.pedal import PEDAL_DTYPE
from magenta_midi.midi.repairs import Repairs
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_folder, read_score, write_score
from magenta_midi.midi.tempo import TempoMap

__all__ = [
  "Score",
  "read_score",
  "read_folder",
  "write_score",
  "MidiFileError",
  "Repairs",
  "TempoMap",
  "NOTE_DTYPE",
  "PEDAL_DTYPE",
]
