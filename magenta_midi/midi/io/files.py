"""MIDI files as notes, pedals, parts and tempo."""

from __future__ import annotations

from os import PathLike

from magenta_midi.bounded_files import MIDI_BYTES, read_bytes
from magenta_midi.midi.io.assembly import FileMusic, parse_music
from magenta_midi.midi.io.chunks import BadMidiError

__all__ = ["SUFFIXES", "MidiFileError", "read_music"]

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")


class MidiFileError(ValueError):
  """A file was not read; the message names it and the reason, in one line."""


def read_music(path: str | PathLike[str]) -> FileMusic:
  """Reads a MIDI file of any kind.

  Raises:
    MidiFileError: The file is not there, is a pipe or a device, is larger
      than `MIDI_BYTES`, is no MIDI file, or is damaged beyond what can be
      read sensibly.
  """
  try:
    return parse_music(read_bytes(path, MIDI_BYTES))
  except OSError as error:
    reason = error.strerror or str(error)
    reason = reason[:1].lower() + reason[1:]
    raise MidiFileError(f"{path}: {reason}") from error
  except BadMidiError as error:
    raise MidiFileError(f"{path}: {error}") from error
