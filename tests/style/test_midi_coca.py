import json

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from magenta_midi.model.weights_file import CheckpointError
from magenta_midi.style.midi_coca import MidiCoCa, MidiCoCaConfig, Towers
from magenta_midi.style.quantizer import Quantizer
from magenta_midi.style.text.words import Words
from magenta_midi.style.towers import TowerConfig
from magenta_midi.tokens.codec import get_codec
from magenta_midi.tokens.vocabulary import RESERVED

SMALL = TowerConfig(width=32, heads=2, head_dim=16, mlp_dim=48, layers=1)


def make(seed: int = 0) -> MidiCoCa:
  """A small MidiCoCa with random weights."""
  rng = np.random.default_rng(seed)
  ids = RESERVED + sum(get_codec("note").vocabulary.level_sizes)
  config = MidiCoCaConfig(
    midi=SMALL, text=SMALL, vocab_size=int(ids), vector_width=8
  )
  words = Words(
    ("slow", "fast", "waltz"), rng.integers(-127, 127, (3, 8)).astype(np.int8)
  )
  vectors = rng.normal(size=(500, 768)).astype(np.float32)
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  quantizer = Quantizer.fit(vectors, levels=3, size=16, dims=8, rounds=3)
  towers = Towers(config, rngs=nnx.Rngs(seed))
  return MidiCoCa(config, towers, words, quantizer, vectors[0], {"steps": 3})


@pytest.fixture(scope="module")
def model() -> MidiCoCa:
  return make()


def music(count: int, gap_s: float = 0.3, start_s: float = 0.0) -> Score:
  onset_s = start_s + gap_s * np.arange(count)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(count, 0.2),
    key=48 + np.arange(count) % 30,
    velocity=np.full(count, 70),
  )


def test_saving_and_loading_changes_nothing(model, tmp_path):
  model.save(tmp_path / "style")
  again = MidiCoCa.load(tmp_path / "style")
  for prompt in ("slow waltz", music(40)):
    assert model.embed(prompt) @ again.embed(prompt) > 0.999
  assert again.facts == model.facts
  assert again.digest == MidiCoCa.load(tmp_path / "style").digest != ""
  make(1).save(tmp_path / "other")
  assert MidiCoCa.load(tmp_path / "other").digest != again.digest
  assert again.table_rows == model.table_rows == 1 + 3 * 16
  assert sorted(p.name for p in (tmp_path / "style").iterdir()) == [
    "config.json",
    "weights.safetensors",
    "words.txt",
  ]


def test_a_damaged_folder_is_refused(model, tmp_path):
  with pytest.raises(CheckpointError, match="nowhere"):
    MidiCoCa.load(tmp_path / "nowhere")
  model.save(tmp_path)
  weights = tmp_path / "weights.safetensors"
  data = bytearray(weights.read_bytes())
  data[-5] ^= 1
  weights.write_bytes(bytes(data))
  with pytest.raises(CheckpointError, match="damaged"):
    MidiCoCa.load(tmp_path)
  model.save(tmp_path)
  stored = json.loads((tmp_path / "config.json").read_text())
  stored["shapes"]["text"]["width"] = 64
  (tmp_path / "config.json").write_text(json.dumps(stored))
  with pytest.raises(CheckpointError, match="expected"):
    MidiCoCa.load(tmp_path)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.floats(0.05, 2.0), st.floats(0.0, 50.0))
def test_music_of_any_length_is_a_unit_vector(model, count, gap_s, start_s):
  vector = model.embed(music(count, gap_s, start_s))
  assert vector.shape == (768,) and vector.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


def test_where_music_begins_makes_no_difference(model):
  # Shifts of whole 10 ms steps, because others change the rounding.
  here, later = model.embed(music(30)), model.embed(music(30, start_s=7.0))
  np.testing.assert_allclose(here, later, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=4))
def test_texts_do_not_depend_on_each_other(model, sizes):
  texts = ["slow " * (1 + size % 7) + f"w{size}" for size in sizes]
  together = model.embed_texts(texts)
  alone = np.concatenate([model.embed_texts([text]) for text in texts])
  np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_blend_lies_between(model):
  slow, fast = model.embed("slow"), model.embed("fast")
  blend = model.embed([("slow", 2.0), ("fast", 2.0)])
  mean = (slow + fast) / 2
  np.testing.assert_allclose(blend, mean / np.linalg.norm(mean), atol=1e-5)


def test_tokens_are_rows_of_their_level(model):
  rows = model.tokenize(model.embed("slow waltz"))
  assert (rows - 1 - 16 * np.arange(3) >= 0).all()
  assert (rows - 1 - 16 * np.arange(3) < 16).all()
  vector = model.reconstruct(rows)
  np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


@pytest.mark.parametrize(
  "prompt",
  [
    *("", "...", "a" * 10_000, music(1), Score.empty()),
    *([("slow", -1.0)], [("slow", 0.0)]),
  ],
)
def test_invalid_prompts_are_refused(model, prompt):
  with pytest.raises(ValueError, match=r"must|needs"):
    model.embed(prompt)


def test_invalid_embeddings_are_refused(model):
  with pytest.raises(ValueError, match="768 finite numbers"):
    model.tokenize(np.full(768, np.nan, np.float32))


def test_warm_up_leaves_nothing_to_compile():
  model = make(1)
  model.warm_up()
  compiled = []

  def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if "backend_compile" in event:
      compiled.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  model.embed([("a slow waltz", 1.0), (music(300, 0.05), 1.0)])
  assert not compiled
