"""A player's style vector: the mean of their recordings, or a better one."""

import dataclasses

import numpy as np
import pytest

from magenta_midi.cli.phrases import PHRASES, phrase_path
from magenta_midi.data.pieces import join_pieces, pack_piece
from magenta_midi.data.recordings import recordings_of_scores, split_recordings
from magenta_midi.finetune import player_style
from magenta_midi.finetune.player_style import (
  StyleSource,
  learn_player_style,
  window_embeddings,
)
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.adapter_file import PlayerStyle
from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.style.slots import StyleSlots
from magenta_midi.testing import STYLE_ENTRY, tiny_styled_generator


@pytest.fixture(scope="module")
def source():
  generator = tiny_styled_generator()
  config = {"model": {"style_slots": generator.config.style_slots}}
  slots = StyleSlots(config | {"style": STYLE_ENTRY})
  return StyleSource(
    generator.model, generator.codec, slots.style_model(), slots
  )


@pytest.fixture(scope="module")
def split():
  named = [(name, Score.from_file(phrase_path(name))) for name in PHRASES]
  recordings, _ = recordings_of_scores(named)
  return split_recordings(recordings)


@pytest.fixture(scope="module", autouse=True)
def few():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(player_style, "_WINDOWS", 6)
    patch.setattr(player_style, "_HELD_OUT_WINDOWS", 4)
    patch.setattr(player_style, "_MIXES", 20)
    yield


@pytest.fixture(scope="module")
def learned(few, source, split):
  told = []
  found = learn_player_style(source, split, on_fraction=told.append)
  assert told == sorted(told) and 0 < told[0] < told[-1] < 1
  return found


def test_all_windows_are_heard_whole(split):
  """The embedding of 10 s is that of the same 10 s cut from the score."""
  model = DescriptorStyle()
  score = Score.from_file(phrase_path("elise"))
  recordings = join_pieces([("elise", pack_piece(score))])
  found = window_embeddings(model, recordings)
  assert len(found) == -(-recordings.lengths_ms[0] // 10_000)
  first = model.embed(score.merged().crop(0.0, 10.0))
  # Times are on the codec's grid.
  assert found[0] @ first > 0.99
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_it_moves_to_where_the_takes_are_expected_better(source, split):
  own = window_embeddings(source.style_model, split.train)
  mean = (own.mean(axis=0) / np.linalg.norm(own.mean(axis=0))).astype(
    np.float32
  )
  nats = player_style._Nats(source, split.train, player_style._WINDOWS)
  found, moved = player_style._improved(nats, mean, own, True)
  assert moved > 0
  assert nats(found) < nats(mean)
  # Of these recordings alone it is; of others it may be the mean.
  same = dataclasses.replace(split, held_out=split.train)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(player_style, "_HELD_OUT_WINDOWS", player_style._WINDOWS)
    kept = learn_player_style(source, same)
  np.testing.assert_array_equal(kept.vector, found)
  assert kept.figures["moved"] == moved
  assert kept.figures["nats_per_note"] == pytest.approx(nats(found))


def test_it_is_never_worse_than_the_mean_on_what_is_held_out(
  source, split, learned
):
  mean = window_embeddings(source.style_model, split.train).mean(axis=0)
  mean = (mean / np.linalg.norm(mean)).astype(np.float32)
  nats = player_style._Nats(
    source, split.held_out, player_style._HELD_OUT_WINDOWS
  )
  assert learned.figures["nats_per_note"] <= nats(mean) + 1e-6
  assert learned.figures["nats_per_note"] == pytest.approx(nats(learned.vector))
  assert learned.figures["nats_per_note_without"] == pytest.approx(nats(None))
  moved = learned.figures["moved"] > 0
  assert moved == (not np.allclose(learned.vector, mean, atol=1e-6))
  assert learned.figures["cosine_to_mean"] == pytest.approx(
    float(learned.vector @ mean), abs=1e-5
  )
  assert np.linalg.norm(learned.vector) == pytest.approx(1.0, abs=1e-5)
  assert (learned.model, learned.digest) == ("descriptors", "")


def test_the_slope_foretells_small_changes(source, split):
  """At rows that hardly differ, the linear change is the true one."""
  nats = player_style._Nats(source, split.train, 4)
  vector = source.style_model.embed("slow")
  own = source.rows(vector)
  other = own.copy()
  other[0] = other[0] + 1
  table = np.array(nats._table)
  table[other[0]] = table[own[0]] + 1e-2 * table[other[0]]
  nats._table = player_style.jnp.asarray(table)
  (foretold,) = nats.expected_changes(vector, other[None])
  notes = sum(
    float(nats._nats(nats._table, nats._params, own, batch)[1])
    for batch in nats._batches
  )

  def total(rows):
    return sum(
      float(nats._nats(nats._table, nats._params, rows, batch)[0])
      for batch in nats._batches
    )

  assert notes > 0 and foretold != 0
  assert total(other) - total(own) == pytest.approx(foretold, rel=0.2)


def test_what_was_known_counts_as_much_as_it_heard(source, split, monkeypatch):
  monkeypatch.setattr(player_style, "_ROUNDS", 0)
  plain = learn_player_style(source, split)
  count = plain.figures["windows"]
  axis = np.eye(768, dtype=np.float32)[700]
  known = PlayerStyle(axis, "descriptors", "", {"windows": count})
  found = learn_player_style(source, split, known)
  assert found.figures["windows"] == 2 * count
  total = window_embeddings(source.style_model, split.train).sum(axis=0)
  expected = total + count * axis
  expected /= np.linalg.norm(expected)
  np.testing.assert_allclose(found.vector, expected, atol=1e-5)


def test_the_same_takes_give_the_same_vector(source, split, learned):
  again = learn_player_style(source, split)
  np.testing.assert_array_equal(again.vector, learned.vector)
  assert again.figures == learned.figures


def test_takes_without_a_style_leave_what_was_known(source, split):
  sparse = Score.from_arrays(
    onset_s=np.arange(0.0, 60.0, 2.5),
    duration_s=np.full(24, 0.3),
    key=np.full(24, 60),
    velocity=np.full(24, 60),
  )
  recordings = join_pieces([("sparse", pack_piece(sparse))])
  poor = dataclasses.replace(split, train=recordings)
  known = PlayerStyle(np.ones(768, np.float32), "descriptors", "", {})
  for before in (None, known):
    lines = []
    found = learn_player_style(source, poor, before, on_remark=lines.append)
    assert found is before
    assert lines == [
      "no style vector was learned: no 10 s of the recordings have 6 notes"
    ]
