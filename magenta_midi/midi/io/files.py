"""MIDI files as notes, pedals, parts and tempo."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from magenta_midi.midi.io.assembly import FileMusic, parse_music
from magenta_midi.midi.io.smf import BadMidiError

__all__ = ["MAX_BYTES", "SUFFIXES", "MidiFileError", "read_music"]

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")

# Far more than music needs: the largest file of the corpora has 0.5 MB.
MAX_BYTES = 16 * 2**20


class MidiFileError(ValueError):
  """A file was not read; the message names it and the reason, in one line."""


def read_music(path: str | PathLike[str]) -> FileMusic:
  """Reads a MIDI file of any kind.

  Raises:
    MidiFileError: The file is not there, is no MIDI file, or is damaged
      beyond what can be read sensibly.
  """
  path = Path(path)
  try:
    size = path.stat().st_size
    if size > MAX_BYTES:
      raise BadMidiError(
        f"has {size / 2**20:.0f} MiB, at most {MAX_BYTES // 2**20} are read"
      )
    return parse_music(path.read_bytes())
  except OSError as error:
    reason = (error.strerror or str(error)).lower()
    raise MidiFileError(f"{path}: {reason}") from error
  except BadMidiError as error:
    raise MidiFileError(f"{path}: {error}") from error
