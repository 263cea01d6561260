"""The notes of a MIDI file as other programs read them."""

import io
import warnings
from collections import defaultdict, deque

import mido
import symusic

try:
  import pretty_midi
except ImportError:
  pretty_midi = None

# Onset in seconds, key, velocity.
Notes = list[tuple[float, int, int]]


def _mido(data: bytes) -> Notes:
  file = mido.MidiFile(file=io.BytesIO(data), clip=True)
  now_s, held, notes = 0.0, defaultdict(deque), []
  for message in file:
    now_s += message.time
    if message.type not in ("note_on", "note_off") or message.channel == 9:
      continue
    voice = held[message.channel, message.note]
    if message.type == "note_on" and message.velocity:
      voice.append((now_s, message.note, message.velocity))
    elif voice:  # notes that are never released are left out
      notes.append(voice.popleft())
  return notes


def _symusic(data: bytes) -> Notes:
  music = symusic.Score.from_midi(data).to("second")
  return [
    (note.time, note.pitch, note.velocity)
    for track in music.tracks
    if not track.is_drum
    for note in track.notes
  ]


def _pretty_midi(data: bytes) -> Notes:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    music = pretty_midi.PrettyMIDI(io.BytesIO(data))
  return [
    (note.start, note.pitch, note.velocity)
    for track in music.instruments
    if not track.is_drum
    for note in track.notes
  ]


_READERS = {"mido": _mido, "symusic": _symusic}
if pretty_midi is not None:
  _READERS["pretty_midi"] = _pretty_midi


def notes_of_others(data: bytes) -> dict[str, Notes | None]:
  """By each program that is installed, sorted; None: it refuses the bytes."""
  found = {}
  for name, read in _READERS.items():
    try:
      found[name] = sorted(read(data))
    except Exception:  # of any class: that is what is compared
      found[name] = None
  return found
