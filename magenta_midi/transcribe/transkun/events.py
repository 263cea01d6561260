"""Events of overlapping segments, joined to whole notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from magenta_midi.midi.score import Score

__all__ = [
  "EventJoiner",
  "SegmentEvent",
  "score_of_events",
  "segment_events",
]

_PEDAL = -64
# Shortest note, s.
_SHORTEST_S = 1e-8


@dataclass(frozen=True)
class SegmentEvent:
  """A note or a pedal as one segment shows it.

  Attributes:
    target: Key, or the negative number of a controller.
    onset_s: From the start of the audio, s.
    offset_s: Likewise.
    velocity: 0..127.
    has_onset: Whether it begins in the segment, and not before it.
    has_offset: Whether it ends in the segment.
  """

  target: int
  onset_s: float
  offset_s: float
  velocity: int
  has_onset: bool
  has_offset: bool


class EventJoiner:
  """Joins the events of one segment after the other, target by target."""

  def __init__(self) -> None:
    self._events: dict[int, list[SegmentEvent]] = {}

  def add(self, events: Iterable[SegmentEvent]) -> None:
    """Takes the events of the next segment, those of a target in order.

    An event that overlaps the last one takes its place if it has an onset, as
    the newer segment shows more of it; otherwise it is its continuation.
    """
    for event in events:
      known = self._events.setdefault(event.target, [])
      if known and event.onset_s < known[-1].offset_s:
        if event.has_onset:
          known[-1] = event
        else:
          known[-1] = replace(
            known[-1],
            offset_s=max(event.offset_s, known[-1].offset_s),
            has_offset=event.has_offset,
          )
      elif event.has_onset:
        known.append(event)

  def finish(self) -> list[SegmentEvent]:
    """All events that have ended, by target; the last ones end too.

    What lies in the silence before the audio has no length, and is left out.
    """
    found = []
    for known in self._events.values():
      known[-1:] = [replace(event, has_offset=True) for event in known[-1:]]
      found += [
        event
        for event in known
        if event.has_offset and event.onset_s < event.offset_s
      ]
    return found


def score_of_events(events: Sequence[SegmentEvent]) -> Score:
  """The score of whole events; of the controllers it takes the pedal."""
  notes = [event for event in events if event.target >= 0]
  pedal = [
    row
    for event in events
    if event.target == _PEDAL
    for row in ((event.onset_s, True), (event.offset_s, False))
  ]
  onset_s = np.array([note.onset_s for note in notes])
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.array([note.offset_s for note in notes]) - onset_s,
    key=[note.target for note in notes],
    velocity=[max(1, note.velocity) for note in notes],
    pedal=pedal,
  )


def segment_events(
  intervals: Sequence[Sequence[tuple[int, int]]],
  targets: Sequence[int],
  velocities: np.ndarray,
  times: np.ndarray,
  *,
  frame_s: float,
  start_s: float,
  last_frame: int,
) -> list[SegmentEvent]:
  """The events of one segment.

  Args:
    intervals: For each target the first and last frames of its intervals.
    targets: Keys and controllers.
    velocities: [n] of all intervals, target by target.
    times: [n, 4] logits of where in their frames onset and offset lie, and of
      whether the interval has them.
    frame_s: From frame to frame, s.
    start_s: Of the segment, s.
    last_frame: An interval that ends there or later may go on.
  """
  place = _shares(times[:, :2])
  events, number = [], 0
  for target, own in zip(targets, intervals, strict=True):
    before_s = 0.0
    for begin, end in own:
      onset_s = max((begin + place[number, 0]) * frame_s, before_s)
      offset_s = max((end + place[number, 1]) * frame_s, onset_s + _SHORTEST_S)
      before_s = offset_s
      from_start_s = max(float(onset_s + start_s), 0.0)
      events.append(
        SegmentEvent(
          target=target,
          onset_s=from_start_s,
          offset_s=max(float(offset_s + start_s), from_start_s),
          velocity=int(velocities[number]),
          has_onset=begin > 0 or bool(times[number, 2] > 0),
          has_offset=end < last_frame or bool(times[number, 3] > 0),
        )
      )
      number += 1
  return events


def _shares(logits: np.ndarray) -> np.ndarray:
  """Means of continuous Bernoulli distributions, as -0.5..0.5 of a frame."""
  logits = logits.astype(np.float64)
  near = np.abs(logits) < 1e-2
  safe = np.where(near, 1.0, logits)
  # Near 0 both terms are infinite; there the mean is nearly linear.
  mean = np.where(near, 0.5 + logits / 12, 1 / -np.expm1(-safe) - 1 / safe)
  return np.clip((mean - 0.5) / 0.99, -0.5, 0.5)
