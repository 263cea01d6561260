"""MidiCoCa's training, on music whose style is two things: loud and fast."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.data.corpus import Corpus, pack_scores
from magenta_midi.data.examples.examples import NO_AUGMENTATION
from magenta_midi.midi.score import Score
from magenta_midi.style.midi_coca import MidiCoCa, MidiCoCaConfig
from magenta_midi.style.text.facts import PieceFacts, piece_facts
from magenta_midi.style.text.words import Words
from magenta_midi.style.towers import TowerConfig
from magenta_midi.tokens.codec import get_codec
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.run_store import RunStore, restore_state
from magenta_midi.train.style.data import CocaSizes, CocaStream, draw_windows
from magenta_midi.train.style.losses import match
from magenta_midi.train.style.recall import embed_windows
from magenta_midi.train.style.train_coca import (
  CocaConfig,
  CocaTrainer,
  train_coca,
)

SMALL = TowerConfig(width=32, heads=2, head_dim=16, mlp_dim=48, layers=1)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
  """Slow soft low pieces and fast loud high ones."""
  rng = np.random.default_rng(0)
  scores = []
  for index in range(12):
    high = index % 2
    count = 300 if high else 60
    onset_s = np.cumsum(rng.uniform(0.8, 1.2, count)) * (0.12 if high else 0.6)
    scores.append(
      (
        f"{index}.mid",
        Score.from_arrays(
          onset_s=onset_s,
          duration_s=np.full(count, 0.1),
          key=(80 if high else 40) + rng.integers(-6, 6, count),
          velocity=(100 if high else 35) + rng.integers(-5, 5, count),
        ),
      )
    )
  return pack_scores(scores)


@pytest.fixture(scope="module")
def stream(corpus) -> CocaStream:
  names = "slow soft low fast loud high piano music quiet quick deep"
  words = names.split(" ")
  rng = np.random.default_rng(1)
  vectors = rng.integers(-127, 127, (len(words), 16)).astype(np.int8)
  return make_stream(corpus, Words(words, vectors))


def make_stream(corpus: Corpus, words: Words) -> CocaStream:
  return CocaStream(
    get_codec("note"),
    [corpus],
    [1.0],
    [[PieceFacts("", "", (), "", "")] * len(corpus)],
    words,
    NO_AUGMENTATION,
    CocaSizes(
      groups=((64, 6), (128, 6)),
      captions=2,
      nonsense=4,
      first=32,
      bank=700,
      texts=24,
    ),
  )


def config(steps: int, text_steps: int = 1) -> CocaConfig:
  ids = RESERVED + int(sum(get_codec("note").vocabulary.level_sizes))
  shapes = MidiCoCaConfig(
    midi=SMALL, text=SMALL, vocab_size=ids, vector_width=16
  )
  return CocaConfig(steps=(steps, text_steps), warmup_steps=5, shapes=shapes)


def test_a_short_run_tells_two_kinds_of_music_by_words(stream, tmp_path):
  facts = [stream.facts[0]]
  rng = np.random.default_rng(5)
  windows = draw_windows(rng, stream.codec, stream.corpora, [1.0], facts, 40)
  told = []
  model = train_coca(
    config(60, 60), stream, windows, tmp_path, on_progress=told.append
  )
  assert model is not None
  music = embed_windows(model, windows)
  fast = np.array([w.description.analysis.notes_per_s > 4 for w in windows])
  assert 0 < fast.sum() < len(windows)
  for low, high in (("slow", "fast"), ("soft", "loud"), ("low", "high")):
    texts = model.embed_texts([low, high])
    right = (music @ texts[1] > music @ texts[0]) == fast
    assert right.mean() > 0.9, (low, high)
  again = MidiCoCa.load(tmp_path / "midicoca")
  assert again.levels == 6 and again.facts["steps"] == model.facts["steps"]
  log = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
  losses = [line["levels"] for line in log if "levels" in line]
  assert losses[-1][0] < losses[0][0]
  assert any("text_step" in facts for facts in told)


def test_a_stopped_run_goes_on(stream, tmp_path):
  asked = iter([False, True])
  stopped = train_coca(
    config(50), stream, [], tmp_path, should_stop=lambda: next(asked)
  )
  assert stopped is None
  trainer = CocaTrainer(config(50), stream, None)
  before = trainer.style_model().embed_texts(["slow"])
  with RunStore(tmp_path / "state") as store:
    restore_state(store, trainer)
  assert trainer.step == 1
  assert not np.allclose(trainer.style_model().embed_texts(["slow"]), before)


def test_a_state_of_an_earlier_version_is_refused(stream, tmp_path):
  (tmp_path / "state.safetensors").write_bytes(b"x")
  with pytest.raises(ValueError, match=r"earlier version.*new folder"):
    train_coca(config(50), stream, [], tmp_path)


def test_a_seed_gives_the_same_batches(corpus, stream):
  first, again = (make_stream(corpus, stream.words).next() for _ in range(2))
  np.testing.assert_array_equal(first.groups[0].ids, again.groups[0].ids)
  np.testing.assert_array_equal(first.vectors, again.vectors)
  assert [g.ids.shape[:2] for g in first.groups] == [(6, 64), (6, 128)]
  assert len(first.vectors) == 2 * 12 + 4 + 2 * 12
  assert np.isfinite(first.measured[:, 0]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 2**31))
def test_a_perfect_match_is_the_least_loss(count, captions, seed):
  rng = np.random.default_rng(seed)
  m = np.linalg.qr(rng.normal(size=(32, 32)))[0][:count].astype(np.float32)
  said = np.repeat(m, captions, axis=0)
  middle = m.mean(axis=0) / np.linalg.norm(m.mean(axis=0))

  opposed = rng.uniform(size=count) < 0.5

  def matched(said: np.ndarray, true: float) -> tuple:
    # Each window's own direction beside its opposite, or the other way round.
    sides = np.stack([true * m, -true * m], axis=1).reshape(2 * count, -1)
    texts = jnp.asarray(np.concatenate([said, middle[None], sides]))
    return match(jnp.asarray(m), texts, jnp.asarray(opposed), jnp.float32(-2.5))

  loss, neutral, opposite, hits = matched(said, 1.0)
  worse, _, wrong, missed = matched(np.roll(said, captions, axis=0), -1.0)
  assert loss < worse and hits == 1 and missed == 0
  assert abs(neutral) < 1e-5
  if opposed.any():
    assert opposite < 1e-6 and wrong > 1
  else:
    assert opposite == wrong == 0


def test_facts_of_a_name():
  assert "waltz" in piece_facts("Grande valse brillante", "", "").forms


def test_a_text_tower_goes_on_alone(stream, tmp_path):
  rng = np.random.default_rng(2)
  windows = draw_windows(
    rng, stream.codec, stream.corpora, [1.0], [stream.facts[0]], 8
  )
  first = train_coca(config(3, 1), stream, windows, tmp_path / "first")
  earlier = tmp_path / "first" / "midicoca"
  again = train_coca(
    config(0, 30), stream, windows, tmp_path / "second", earlier=earlier
  )
  assert first is not None and again is not None
  # Music and tokens stay as they were; texts move.
  music, same = embed_windows(first, windows), embed_windows(again, windows)
  np.testing.assert_allclose(music, same, atol=2e-2)
  stored = MidiCoCa.load(earlier)
  np.testing.assert_array_equal(stored.quantizer.codes, again.quantizer.codes)
  texts = [model.embed_texts(["slow"]) for model in (first, again)]
  assert np.abs(texts[0] - texts[1]).max() > 1e-3
