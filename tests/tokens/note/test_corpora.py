"""Round trip of the `note` codec over real files, if present."""

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import NoteCodec

CODEC = NoteCodec()


@pytest.mark.corpus
@pytest.mark.parametrize(
  "corpus",
  ["piano_rolls", "pop909", "giantmidi", "jazz_players_nc"],
  indirect=True,
)
def test_every_event_of_real_files_survives(corpus):
  notes = pedals = 0
  for path in corpus:
    score = Score.from_file(path)
    encoded = CODEC.encode(score)
    back = CODEC.decode(encoded)
    notes += len(score)
    pedals += len(score.pedals)
    assert len(back.pedals) == len(score.pedals)
    for part in range(score.parts):
      was = score.pedals[score.pedals["part"] == part]
      now = back.pedals[back.pedals["part"] == part]
      np.testing.assert_array_equal(now["down"], was["down"])
      assert np.all(np.abs(now["time_s"] - was["time_s"]) <= 0.005 + 1e-9)
    was, now = by_place(score), by_place(back)
    if encoded.merged:
      was = longest_of_each_place(was)
    assert len(now) == len(was) == len(score) - encoded.merged
    for field in ("key", "part"):
      np.testing.assert_array_equal(now[field], was[field])
    onset_error_s = np.abs(now["onset_s"] - was["onset_s"])
    assert onset_error_s.max(initial=0) <= 0.005 + 1e-9
    velocity_error = np.abs(now["velocity"] - was["velocity"])
    assert velocity_error.max(initial=0) <= 2
    true_s = np.minimum(was["duration_s"], 10.0)
    allowed_s = np.maximum(0.05 * true_s, 0.010) + 1e-9
    assert np.all(np.abs(now["duration_s"] - true_s) <= allowed_s)
  assert notes > 1000 and pedals > 100


def by_place(score):
  """Notes by part, key and step, the longest of each place first."""
  notes = score.notes
  step = CODEC.config.time_to_step(np.ascontiguousarray(notes["onset_s"]))
  return notes[
    np.lexsort((-notes["duration_s"], step, notes["key"], notes["part"]))
  ]


def longest_of_each_place(notes):
  step = CODEC.config.time_to_step(np.ascontiguousarray(notes["onset_s"]))
  place = np.stack([notes["part"], notes["key"], step])
  return notes[np.append(True, np.any(place[:, 1:] != place[:, :-1], axis=0))]
