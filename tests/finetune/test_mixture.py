"""What a fine-tuning run crops from: ratings weigh, rehearsal has its share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import NO_AUGMENTATION, draw_examples
from magenta_midi.data.pieces import EVENT_DTYPE, join_pieces
from magenta_midi.data.recordings import Split
from magenta_midi.finetune.mixture import mix


def corpus(*seconds: float) -> Corpus:
  """Pieces of two notes, the second at the time given, s."""
  pieces = []
  for index, length in enumerate(seconds):
    events = np.zeros(2, EVENT_DTYPE)
    events["time_ms"][1] = round(1000 * length)
    events["duration_ms"], events["velocity"], events["key"] = 100, 64, 60
    pieces.append((f"piece {index}", events))
  return join_pieces(pieces)


def split(seconds, weights=()) -> Split:
  return Split(
    corpus(*seconds), corpus(10.0), ("a",), ("b",), False, tuple(weights)
  )


def drawn(mixture, count=20_000):
  """How often each piece of each corpus is drawn."""
  examples = draw_examples(
    np.random.default_rng(0), *mixture, count, NO_AUGMENTATION, 1000
  )
  return examples["corpus"], examples["piece"]


def test_without_ratings_or_rehearsal_every_tempo_is_as_likely():
  found = mix(split([10.0, 30.0]), (0.9, 1.0, 1.1))
  assert found.shares == [1.0, 1.0, 1.0]
  assert found.corpora[1].names == ("piece 0", "piece 1")
  assert mix(split([10.0]), (1.0,), corpus(), 0.3).shares == [1.0]


@given(
  share=st.floats(0.01, 0.99),
  weights=st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0]), min_size=2),
  tempos=st.lists(st.floats(0.5, 2), min_size=1, max_size=3),
  data=st.data(),
)
def test_shares(share, weights, tempos, data):
  """Time by its weight; tempos alike; rehearsal as much as was asked."""
  length = st.floats(10, 200)
  seconds = [data.draw(length) for _ in weights]
  recordings = split(seconds, weights)
  found = mix(recordings, tempos, corpus(10.0), share)
  total = sum(found.shares)
  assert found.shares[-1] / total == pytest.approx(share)
  time = recordings.train.lengths_ms + 1
  expected = {
    weight: sum(
      t * w for t, w in zip(time.tolist(), weights, strict=True) if w == weight
    )
    for weight in set(weights)
  }
  for place, weight in enumerate(sorted(expected)):
    own = found.shares[place * len(tempos) : (place + 1) * len(tempos)]
    assert own == [own[0]] * len(tempos)
    assert sum(own) / total == pytest.approx(
      (1 - share) * expected[weight] / sum(expected.values())
    )


def test_a_take_of_twice_the_weight_is_drawn_twice_as_often():
  which, piece = drawn(mix(split([40.0, 20.0, 40.0], [2.0, 1.0, 1.0]), (1.0,)))
  # The first in a corpus of its own, after those of weight 1.
  heavy = np.mean(which == 1)
  assert heavy == pytest.approx(80 / 140, abs=0.02)
  assert np.mean((which == 0) & (piece == 0)) == pytest.approx(
    20 / 140, abs=0.02
  )


def test_rehearsal_is_drawn_as_often_as_was_asked():
  which, _ = drawn(mix(split([40.0, 20.0]), (0.9, 1.1), corpus(999.0), 0.3))
  assert np.mean(which == 2) == pytest.approx(0.3, abs=0.015)
