"""A piece of music: notes, pedal, parts and tempo, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike

import numpy as np

from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.bar_map import BarMap
from magenta_midi.midi.io.assembly import parse_music
from magenta_midi.midi.io.encoding import encode_music
from magenta_midi.midi.io.files import read_music
from magenta_midi.midi.notes import NOTE_DTYPE, tidy_notes
from magenta_midi.midi.pedal import (
  PEDAL_DTYPE,
  tidy_pedals,
  union_of_pedals,
)
from magenta_midi.midi.repairs import Repairs
from magenta_midi.midi.tempo import TempoMap


@dataclass(frozen=True, eq=False, kw_only=True)
class Score:
  """Notes and sustain pedal of one or more parts; never changed in place.

  Build one with `from_file` or `from_arrays`, which put things in order;
  the constructor only checks.
  """

  # `NOTE_DTYPE`, sorted by onset, key, part; times are seconds from 0. In a
  # part, the notes of one key neither overlap nor begin together.
  notes: np.ndarray
  # `PEDAL_DTYPE`, sorted by time; alternating per part, first down.
  pedals: np.ndarray = field(default_factory=lambda: np.empty(0, PEDAL_DTYPE))
  part_names: tuple[str, ...] = ("",)  # one per part
  tempo: TempoMap = field(default_factory=TempoMap.constant)
  repairs: Repairs = field(default_factory=Repairs)

  def __post_init__(self) -> None:
    for name, dtype in (("notes", NOTE_DTYPE), ("pedals", PEDAL_DTYPE)):
      array = getattr(self, name)
      if array.dtype != dtype or array.ndim != 1:
        raise ValueError(
          f"{name} must be a one-dimensional array of {dtype}, got "
          f"{array.dtype} of shape {array.shape}. Use Score.from_arrays."
        )
      view = array.view()
      view.setflags(write=False)
      object.__setattr__(self, name, view)
    notes, pedals = self.notes, self.pedals
    _check_notes(notes)
    _check_times(pedals["time_s"], "pedal time")
    for part in (notes["part"], pedals["part"]):
      if len(part) and not 0 <= part.min() <= part.max() < self.parts:
        raise ValueError(
          f"parts must be in 0..{self.parts - 1} (there are {self.parts} "
          f"part names), got {part.min()} to {part.max()}."
        )
    if (np.diff(notes["onset_s"]) < 0).any():
      raise ValueError("notes must be sorted. Use Score.from_arrays.")
    if (np.diff(pedals["time_s"]) < 0).any():
      raise ValueError("pedals must be sorted. Use Score.from_arrays.")

  @classmethod
  def from_file(cls, path: str | PathLike[str]) -> Score:
    """Reads a MIDI file of any kind.

    Repairs are counted in the score's `repairs`. A file without notes is a
    score without notes.

    Raises:
      MidiFileError: The file is not there, is no MIDI file, or is damaged
        beyond what can be read sensibly.
    """
    return cls(**read_music(path)._asdict())

  @classmethod
  def from_bytes(cls, data: bytes) -> Score:
    """Reads the bytes of a MIDI file; otherwise as `from_file`.

    Raises:
      BadMidiError: With the reason, one line, without a file's name.
    """
    return cls(**parse_music(data)._asdict())

  @classmethod
  def empty(cls, part_names: Sequence[str] = ("",)) -> Score:
    """A score without notes."""
    return cls(notes=np.empty(0, NOTE_DTYPE), part_names=tuple(part_names))

  @classmethod
  def from_arrays(
    cls,
    *,
    onset_s: np.ndarray | Sequence,
    duration_s: np.ndarray | Sequence,
    key: np.ndarray | Sequence,
    velocity: np.ndarray | Sequence,
    part: np.ndarray | Sequence | int = 0,
    pedal: np.ndarray | Sequence | None = None,
    part_names: Sequence[str] | None = None,
    tempo: TempoMap | None = None,
  ) -> Score:
    """Builds a score from notes in any order.

    Args:
      onset_s: Seconds, 0 or later.
      duration_s: Seconds; not positive is made 10 ms, and counted.
      key: 0..127, middle C is 60.
      velocity: 1..127.
      part: 0 and up; one for all or one per note.
      pedal: An array of `PEDAL_DTYPE`, or rows of (seconds, down) or
        (seconds, down, part).
      part_names: One per part; by default empty names.
      tempo: By default 120 bpm.

    Raises:
      ValueError: Lengths differ or a value is out of range.
    """
    columns = (onset_s, duration_s, key, velocity)
    shapes = [np.shape(column) for column in columns]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
      raise ValueError(
        "onset_s, duration_s, key and velocity must be one-dimensional and "
        f"equally long, got shapes {shapes}."
      )
    for name, column in (("key", key), ("velocity", velocity), ("part", part)):
      _check_whole(np.asarray(column), name)
    notes = np.empty(len(onset_s), NOTE_DTYPE)
    names = NOTE_DTYPE.names or ()
    for name, column in zip(names, (*columns, part), strict=True):
      notes[name] = column
    return cls.from_rows(notes, pedal=pedal, part_names=part_names, tempo=tempo)

  @classmethod
  def from_rows(
    cls,
    notes: np.ndarray,
    *,
    pedal: np.ndarray | Sequence | None = None,
    part_names: Sequence[str] | None = None,
    tempo: TempoMap | None = None,
  ) -> Score:
    """Builds a score from rows of `NOTE_DTYPE` in any order.

    Args:
      notes: As `from_arrays` takes their columns.
      pedal: See `from_arrays`, as the others.
      part_names: One per part.
      tempo: By default 120 bpm.

    Raises:
      ValueError: A value is out of range.
    """
    _check_notes(notes, lasting=False)
    notes, repairs = tidy_notes(notes)
    pedals = _pedal_rows(pedal)
    if part_names is None:
      used = (notes["part"].max(initial=0), pedals["part"].max(initial=0))
      part_names = ("",) * (int(max(used)) + 1)
    return cls(
      notes=notes,
      pedals=tidy_pedals(pedals),
      part_names=tuple(part_names),
      tempo=tempo or TempoMap.constant(),
      repairs=repairs,
    )

  def to_file(
    self, path: str | PathLike[str], *, bars: BarMap | None = None
  ) -> None:
    """Writes a type-1 MIDI file, whole or not at all.

    A track per part, with its name; the pedal as controller 64, 127 or 0;
    the tempo, at a resolution that keeps onsets within 0.1 ms in 15 minutes
    of music at a steady tempo, and within half a millisecond in a day.
    Parts from the sixteenth on share channels with others.

    Args:
      path: Of the file.
      bars: Of the music, to be written too; their tempo counts in place of
        the score's.

    Raises:
      OSError: The file cannot be written there.
      ValueError: The score is longer than 24 hours.
    """
    write_atomically(path, self.to_bytes(bars=bars))

  def to_bytes(self, *, bars: BarMap | None = None) -> bytes:
    """The bytes that `to_file` writes.

    Raises:
      ValueError: The score is longer than 24 hours.
    """
    return encode_music(
      self.notes,
      self.pedals,
      self.part_names,
      self.tempo,
      end_s=self.end_s,
      bars=bars,
    )

  def __len__(self) -> int:
    """The number of notes."""
    return len(self.notes)

  def __bool__(self) -> bool:
    """A score is there even if it has no notes."""
    return True

  def __repr__(self) -> str:
    return (
      f"Score({len(self)} notes, {len(self.pedals)} pedal changes, "
      f"{self.parts} parts, {self.end_s:.2f} s)"
    )

  @property
  def parts(self) -> int:
    """The number of parts, with or without notes."""
    return len(self.part_names)

  @property
  def end_s(self) -> float:
    """When the last note ends or the pedal last changes; 0 if neither."""
    notes, pedals = self.notes, self.pedals
    ends = notes["onset_s"] + notes["duration_s"]
    return float(max(ends.max(initial=0), pedals["time_s"].max(initial=0)))

  def equals(self, other: Score, *, tolerance_s: float | int = 0.0) -> bool:
    """Same notes, pedal and part names; times at most `tolerance_s` apart.

    Tempo and repairs do not count. Notes are compared in their order, which
    times that are not quite equal may change: sort keys apart if that
    matters.
    """
    if (
      len(self) != len(other)
      or len(self.pedals) != len(other.pedals)
      or self.part_names != other.part_names
    ):
      return False
    pairs = ((self.notes, other.notes), (self.pedals, other.pedals))
    return all(
      bool((np.abs(a[name] - b[name]) <= tolerance_s).all())
      if a[name].dtype.kind == "f"
      else bool((a[name] == b[name]).all())
      for a, b in pairs
      for name in a.dtype.names or ()
    )

  def with_repairs(self, more: Repairs) -> Score:
    """The same score with `more` added to its repairs."""
    return replace(self, repairs=self.repairs + more)

  def merged(self) -> Score:
    """All parts as one, as if on one piano.

    Notes of one key that overlap or coincide are put right and counted; the
    pedal is down while that of any part is.
    """
    if self.parts == 1:
      return self
    notes = self.notes.copy()
    notes["part"] = 0
    notes, repairs = tidy_notes(notes)
    return replace(
      self,
      notes=notes,
      pedals=union_of_pedals(self.pedals),
      part_names=(" + ".join(name for name in self.part_names if name),),
      repairs=self.repairs + repairs,
    )

  def select(self, parts: Sequence[int] | int) -> Score:
    """Only these parts, renumbered in the order given."""
    wanted = [parts] if isinstance(parts, int) else list(parts)
    if len(set(wanted)) < len(wanted) or not all(
      0 <= part < self.parts for part in wanted
    ):
      raise ValueError(
        f"parts must be different and in 0..{self.parts - 1}, got {wanted}."
      )
    number = np.full(self.parts, -1, np.int16)
    number[wanted] = np.arange(len(wanted))
    kept = []
    for array in (self.notes, self.pedals):
      array = array[np.isin(array["part"], wanted)]
      array["part"] = number[array["part"]]
      kept.append(array)
    return replace(
      self,
      notes=_sorted_notes(kept[0]),
      pedals=kept[1],
      part_names=tuple(self.part_names[part] for part in wanted),
    )

  def crop(self, start_s: float | int, end_s: float | int = math.inf) -> Score:
    """Notes that begin in [start_s, end_s), with `start_s` as the new zero.

    Notes keep their whole duration. A pedal that is down at the start goes
    down at 0.
    """
    if not 0 <= start_s <= end_s:
      raise ValueError(
        f"crop needs 0 <= start_s <= end_s, got {start_s} and {end_s}."
      )
    onset_s, time_s = self.notes["onset_s"], self.pedals["time_s"]
    first, last = np.searchsorted(onset_s, (start_s, end_s))
    notes = self.notes[first:last].copy()
    notes["onset_s"] -= start_s
    first, last = np.searchsorted(time_s, (start_s, end_s))
    before = self.pedals[:first]
    sums = np.bincount(
      before["part"],
      np.where(before["down"], 1, -1),
      minlength=self.parts,
    )
    held = np.flatnonzero(sums > 0)
    restated = np.zeros(len(held), PEDAL_DTYPE)
    restated["down"], restated["part"] = True, held
    pedals = self.pedals[first:last].copy()
    pedals["time_s"] -= start_s
    if len(held):
      pedals = tidy_pedals(np.concatenate([restated, pedals]))
    return replace(
      self, notes=notes, pedals=pedals, tempo=self.tempo.crop(start_s)
    )

  def shifted(self, seconds: float | int) -> Score:
    """The same music later; earlier only as far as there is room."""
    notes, pedals = self.notes.copy(), self.pedals.copy()
    notes["onset_s"] += seconds
    pedals["time_s"] += seconds
    return replace(
      self, notes=notes, pedals=pedals, tempo=self.tempo.shifted(seconds)
    )

  def joined(self, other: Score) -> Score:
    """Both at once: the parts of `other` follow ours; our tempo holds."""
    notes, pedals = other.notes.copy(), other.pedals.copy()
    notes["part"] += self.parts
    pedals["part"] += self.parts
    pedals = np.concatenate([self.pedals, pedals])
    return replace(
      self,
      notes=_sorted_notes(np.concatenate([self.notes, notes])),
      pedals=pedals[np.lexsort((pedals["part"], pedals["time_s"]))],
      part_names=self.part_names + other.part_names,
      repairs=self.repairs + other.repairs,
    )


def _sorted_notes(notes: np.ndarray) -> np.ndarray:
  return notes[np.lexsort((notes["part"], notes["key"], notes["onset_s"]))]


def _check_times(time_s: np.ndarray, name: str) -> None:
  wrong = np.flatnonzero(~(np.isfinite(time_s) & (time_s >= 0)))
  if len(wrong):
    raise ValueError(
      f"{name} must be finite and at least 0, got {time_s[wrong[0]]} "
      f"(number {wrong[0]}). Shift or crop the music."
    )


def _check_whole(values: np.ndarray, name: str) -> None:
  # Casting to int16 would wrap or cut what is not a whole number in range.
  wrong = ~((values == np.floor(values)) & (np.abs(values) < 2**15))
  if np.any(wrong):
    raise ValueError(
      f"{name} must be whole numbers, got {np.ravel(values)[wrong.argmax()]}."
    )


def _check_notes(notes: np.ndarray, *, lasting: bool = True) -> None:
  _check_times(notes["onset_s"], "onset")
  duration_s = notes["duration_s"]
  fine = np.isfinite(duration_s) & ((duration_s > 0) | (not lasting))
  if not fine.all():
    i = int(np.argmin(fine))
    raise ValueError(
      f"duration must be finite{' and positive' * lasting}, got "
      f"{duration_s[i]} (note {i})."
    )
  for name, low in (("key", 0), ("velocity", 1), ("part", 0)):
    values = notes[name]
    high = 127 if name != "part" else 2**15 - 1
    wrong = np.flatnonzero((values < low) | (values > high))
    if len(wrong):
      raise ValueError(
        f"{name} must be in {low}..{high}, got {values[wrong[0]]} "
        f"(note {wrong[0]})."
      )


def _pedal_rows(pedal: np.ndarray | Sequence | None) -> np.ndarray:
  if pedal is None:
    return np.empty(0, PEDAL_DTYPE)
  rows = np.asarray(pedal)
  if rows.dtype == PEDAL_DTYPE and rows.ndim == 1:
    _check_times(rows["time_s"], "pedal time")
    return rows
  if not rows.size:
    return np.empty(0, PEDAL_DTYPE)
  if rows.dtype.names or rows.ndim != 2 or rows.shape[1] not in (2, 3):
    raise ValueError(
      "pedal must be an array of PEDAL_DTYPE or rows of (seconds, down) or "
      f"(seconds, down, part), got {rows.dtype} of shape {rows.shape}."
    )
  pedals = np.zeros(len(rows), PEDAL_DTYPE)
  pedals["time_s"], pedals["down"] = rows[:, 0], rows[:, 1] > 0
  if rows.shape[1] == 3:
    pedals["part"] = rows[:, 2]
  _check_times(pedals["time_s"], "pedal time")
  return pedals
