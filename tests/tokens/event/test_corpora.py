"""Round trip of the `event` codec over real files, if present."""

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.tokens.event.codec import EventCodec

CODEC = EventCodec()


def steps(time_s):
  return CODEC.config.time_to_step(np.ascontiguousarray(time_s))


def on_grid(score):
  """Part, key, first and last step of each note: merged and trimmed."""
  notes = score.notes
  on = steps(notes["onset_s"])
  off = np.maximum(steps(notes["onset_s"] + notes["duration_s"]), on + 1)
  order = np.lexsort((-notes["duration_s"], on, notes["key"], notes["part"]))
  rows = np.stack([notes["part"], notes["key"], on, off], axis=1)[order]
  fresh = np.append(True, (rows[1:, :3] != rows[:-1, :3]).any(axis=1))
  rows = rows[fresh]
  again = np.flatnonzero((rows[1:, :2] == rows[:-1, :2]).all(axis=1))
  rows[again, 3] = np.minimum(rows[again, 3], rows[again + 1, 2])
  return rows


def pedals_on_grid(score):
  pedals = score.pedals[np.argsort(score.pedals["part"], kind="stable")]
  return np.stack([pedals["part"], steps(pedals["time_s"]), pedals["down"]])


@pytest.mark.corpus
@pytest.mark.parametrize(
  "corpus",
  ["piano_rolls", "pop909", "giantmidi", "jazz_players_nc"],
  indirect=True,
)
def test_every_event_of_real_files_survives_to_the_step(corpus):
  notes = tokens = chunks = 0
  for path in corpus:
    score = Score.from_file(path)
    encoded = CODEC.encode(score)
    back = CODEC.decode(encoded)
    np.testing.assert_array_equal(on_grid(back), on_grid(score))
    np.testing.assert_array_equal(pedals_on_grid(back), pedals_on_grid(score))
    assert len(back) == len(score) - encoded.merged
    notes += len(score)
    tokens += len(encoded.frames.step)
    chunks += encoded.chunks
  assert notes > 1000
  # About 100 tokens each 2 s of piano.
  assert 40 < tokens / chunks < 140
