"""Training of the piano codec with tiny sizes: it learns, stops, continues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.audio.codec.piano.network import PianoCodecConfig
from magenta_midi.audio.codec.piano.piano_codec import PianoCodec
from magenta_midi.audio.codec.piano.quantizer import Quantized
from magenta_midi.model.checkpoint import CheckpointError
from magenta_midi.train.codec import clips as piano_clips
from magenta_midi.train.codec.clips import Clips, corpus_files, make_clips
from magenta_midi.train.codec.losses import reconstruction, rfft
from magenta_midi.train.codec.trainer import (
  Averages,
  CodecTrainConfig,
  CodecTrainer,
  Codes,
  moved_codes,
  train_codec,
)

SIZES = PianoCodecConfig(
  codes=16,
  code_width=4,
  latent_width=8,
  width=16,
  mlp_width=24,
  encoder_blocks=1,
  decoder_blocks=1,
  tone_bins=32,
  bands=16,
  levels=2,
)


@pytest.fixture
def clips(tmp_path):
  folder = tmp_path / "clips"
  folder.mkdir()
  at = np.arange(48_000)
  tones = [
    np.sin(2 * np.pi * hz * at / 48_000) * np.exp(-at / 20_000)
    for hz in (110, 220, 440)
  ]
  sound = np.rint(20_000 * np.stack(tones)).astype(np.int16)
  np.save(folder / "clips-000.npy", sound)
  return Clips(folder)


def settings(**changes):
  values = dict(steps=4, shapes=SIZES, batch=2, frames=6, warmup_steps=1)
  return CodecTrainConfig(**{**values, **changes})


def test_a_run_that_was_stopped_gives_the_same_as_one_that_was_not(
  clips, tmp_path
):
  held_out = clips.crops(2, 6 * SIZES.hop, np.random.default_rng(0))
  lines = []
  assert train_codec(
    settings(), clips, held_out, tmp_path / "whole", on_progress=lines.append
  )
  assert any("held_out" in line for line in lines)
  stops = iter([False, False, True])
  assert not train_codec(
    settings(),
    clips,
    held_out,
    tmp_path / "parts",
    should_stop=lambda: next(stops),
  )
  assert train_codec(settings(), clips, held_out, tmp_path / "parts")
  sound = clips.crops(1, 6 * SIZES.hop, np.random.default_rng(1)).T
  one, other = (
    PianoCodec.load(tmp_path / name / "codec") for name in ("whole", "parts")
  )
  assert one.training["steps"] == other.training["steps"] == 4
  np.testing.assert_array_equal(one.encode(sound), other.encode(sound))
  np.testing.assert_array_equal(
    one.decode(one.encode(sound)), other.decode(other.encode(sound))
  )


def test_a_run_starts_from_an_ended_one(clips, tmp_path):
  nothing = np.zeros((0, 1), np.float32)
  assert train_codec(settings(), clips, nothing, tmp_path / "one")
  longer = settings(steps=6)
  start = tmp_path / "one"
  assert train_codec(longer, clips, nothing, tmp_path / "two", start=start)
  found = PianoCodec.load(tmp_path / "two" / "codec")
  assert found.training["steps"] == 6
  with pytest.raises(ValueError, match="holds no state"):
    train_codec(
      longer, clips, nothing, tmp_path / "three", start=tmp_path / "none"
    )


def test_the_loss_falls(clips):
  trainer = CodecTrainer(settings(learning_rate=0.01), clips)
  sound = clips.crops(4, 6 * SIZES.hop, np.random.default_rng(0))
  before = trainer.losses(sound)
  for _ in range(30):
    trainer.train_step(0.0)
  assert trainer.losses(sound)[0] < 0.8 * before[0]


def test_a_state_of_another_network_is_refused(clips):
  state = CodecTrainer(settings(), clips).state()
  wider = PianoCodecConfig(**{**vars(SIZES), "width": 24})
  with pytest.raises(CheckpointError, match="of this shape"):
    CodecTrainer(settings(shapes=wider), clips).load(state)


def test_the_rate_rises_stays_and_falls(clips):
  trainer = CodecTrainer(settings(warmup_steps=2, hold=0.5), clips)
  assert trainer.rate(0.0) == pytest.approx(0.5e-3)
  trainer.step = 10
  assert trainer.rate(0.4) == pytest.approx(1e-3)
  assert trainer.rate(0.75) == pytest.approx(0.5e-3)
  assert trainer.rate(2.0) == pytest.approx(1e-5)


def test_codes_move_to_what_chose_them_and_dead_ones_begin_anew():
  codes = Codes(jnp.eye(3)[None], jnp.zeros((1, 3)), jnp.ones((1, 3)))
  averages = Averages(jnp.ones((1, 3)), jnp.eye(3)[None])
  points = jnp.asarray([[[0.0, 0.6, 0.8]] * 3])
  found = Quantized(
    latents=points,
    commitment=jnp.zeros(()),
    codes=jnp.ones((1, 3, 1), jnp.int32),
    points=points,
    projected=2 * points + jnp.asarray([-1.0, 0.0, 1.0])[None, :, None],
  )
  key = jax.random.key(0)
  for _ in range(200):
    codes, averages = moved_codes(codes, averages, found, key, decay=0.9)
  np.testing.assert_allclose(codes.books[0, 1], [0, 0.6, 0.8], atol=1e-3)
  # The others were chosen by nothing, so they are drawn from the batch.
  np.testing.assert_allclose(codes.books[0, 0], [0, 0.6, 0.8], atol=1e-3)
  np.testing.assert_allclose(codes.centers[0], [0, 1.2, 1.6], atol=1e-3)
  np.testing.assert_allclose(codes.spreads[0], (2 / 3) ** 0.5, atol=1e-3)


def test_the_gradient_of_the_spectrum_is_that_of_jax():
  x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 64)), "float32")
  weights = jnp.arange(33.0)[None] * (1 + 2j)

  def total(transform):
    return lambda x: jnp.sum(jnp.real(transform(x) * weights))

  np.testing.assert_allclose(
    jax.grad(total(rfft))(x), jax.grad(total(jnp.fft.rfft))(x), rtol=1e-4
  )


def test_the_same_sound_has_no_distance():
  x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4096)) * 0.1)
  same = reconstruction(x, x, 48_000)
  other = reconstruction(x, 0.5 * x, 48_000)
  assert float(same[0]) == float(same[1]) == 0
  assert float(other[0]) == pytest.approx(np.log(2), abs=0.01)
  assert float(other[2]) > float(same[2])


def test_crops_are_clips_at_several_levels(clips):
  crops = clips.crops(64, 1000, np.random.default_rng(0))
  assert crops.dtype == np.float32
  peaks = np.abs(crops).max(axis=1)
  assert peaks.max() <= 1
  assert peaks[peaks > 0].min() < 0.1 * peaks.max()


def test_a_folder_without_clips_is_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no clips"):
    Clips(tmp_path)


def test_only_one_split_is_read(tmp_path):
  (tmp_path / "a.csv").write_text("path,split\none.mid,train\ntwo.mid,test\n")
  corpus = tmp_path / "a"
  assert corpus_files(corpus, "train") == [corpus / "one.mid"]
  with pytest.raises(ValueError, match="no files of the split 'valid'"):
    corpus_files(corpus, "valid")


def test_clips_are_rendered_once(tmp_path, monkeypatch):
  """Without FluidSynth: all is played by the package's piano."""
  monkeypatch.setattr(piano_clips, "SHARD", 2)
  monkeypatch.setattr(piano_clips, "_NOTES_SHARE", 1.0)
  monkeypatch.setattr(piano_clips, "_OWN_PIANO_SHARE", 1.0)
  monkeypatch.setattr(piano_clips, "CLIP_S", 1.0)
  (tmp_path / "a.csv").write_text("path,split\none.mid,train\n")
  folder, done = tmp_path / "clips", []
  for count in (2, 4):
    make_clips(
      folder,
      [(tmp_path / "a", 1.0)],
      tmp_path / "no.sf2",
      clips=count,
      on_shard=done.append,
    )
  assert done == [2, 2, 4]
  first, second = (np.load(folder / f"clips-00{n}.npy") for n in (0, 1))
  assert first.shape == (2, 48_000)
  assert first.dtype == np.int16
  assert 0.3 < np.abs(first).max() / 32768 < 0.95
  assert not np.array_equal(first, second)
