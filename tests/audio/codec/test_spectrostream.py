"""SpectroStream: beside its package, with random weights; what is missing."""

import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from magenta_midi.audio.codec import spectrostream
from magenta_midi.audio.codec.spectrostream import load_spectrostream
from magenta_midi.model.weights_file import CheckpointError
from tests.support.codecs import check_codec, sound


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
  for name in ("magenta_rt", "magenta_rt.paths", "magenta_rt.jax"):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(
    ValueError, match="needs the package magenta-rt"
  ) as caught:
    load_spectrostream()
  message = str(caught.value)
  assert "pip install 'magenta-midi[magenta]'" in message
  assert "mrt models init" in message
  assert "\n" not in message


@pytest.mark.parametrize("levels", [0, 65])
def test_levels_are_checked_first(levels):
  with pytest.raises(ValueError, match=r"1\.\.64 levels"):
    load_spectrostream(levels=levels)


SHAPES = {
  "encoder/a/kernel": (2, 3),
  "decoder/a/kernel": (3, 2),
  "quantizer/embedding": (2, 2, 3),
}


def write_parts(folder, shapes, prefix=""):
  arrays = spectrostream._random(shapes)
  for part in spectrostream.PARTS:
    part_arrays = {
      f"{prefix}{name}": array
      for name, array in arrays.items()
      if name.startswith(part)
    }
    save_file(part_arrays, folder / f"{part}.safetensors")
  return arrays


def test_missing_and_damaged_files_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"encoder\.safetensors is missing.*mrt"):
    spectrostream._read(SHAPES, tmp_path)
  for prefix in ("", "params/", "params/soundstream/"):
    expected = write_parts(tmp_path, SHAPES, prefix)
    found = spectrostream._read(SHAPES, tmp_path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(found[name], array)
  for other, words in (
    ({"decoder/a/kernel": (4, 2)}, r"must be \[4, 2\], got \[3, 2\]"),
    ({"encoder/b/kernel": (4, 2)}, r"must be \[4, 2\], got none"),
  ):
    with pytest.raises(CheckpointError, match=words):
      spectrostream._read(SHAPES | other, tmp_path)
  (tmp_path / "quantizer.safetensors").write_bytes(b"\xff" * 100)
  with pytest.raises(CheckpointError, match=r"quantizer\.safetensors"):
    spectrostream._read(SHAPES, tmp_path)
  bad = np.full((2, 2, 3), np.nan, np.float32)
  save_file({"quantizer/embedding": bad}, tmp_path / "quantizer.safetensors")
  with pytest.raises(CheckpointError, match="not finite"):
    spectrostream._read(SHAPES, tmp_path)


@pytest.fixture(scope="module")
def codec():
  pytest.importorskip("magenta_rt", reason="magenta-rt is not installed")
  return load_spectrostream(random_weights=True, levels=4)


@pytest.mark.slow
def test_it_keeps_what_codecs_promise(codec):
  assert codec.facts.frame_rate == 25
  assert codec.real_time_factor > 0
  check_codec(codec, frames=3.3, examples=1)


@pytest.mark.slow
def test_it_is_what_the_package_makes(codec):
  import jax.numpy as jnp
  import sequence_layers.jax as sl
  from flax import traverse_util

  model, _ = spectrostream._published()
  arrays = spectrostream._random(spectrostream._shapes(model))
  arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
  params = {"params": traverse_util.unflatten_dict(arrays, sep="/")}
  samples = sound(codec.facts, 8)
  whole = sl.Sequence.from_values(jnp.asarray(samples)[None])
  coded = model.apply(
    params, whole, training=False, method=model.waveform_to_codes
  )
  expected = np.asarray(coded.values)[0, :, :4]
  codes = codec.encode(samples)
  assert codes.shape == expected.shape == (8, 4)
  np.testing.assert_array_equal(codes, expected)
  first = sl.Sequence.from_values(jnp.asarray(codes)[None])
  heard = model.apply(
    params, first, training=False, method=model.codes_to_waveform
  )
  heard = np.asarray(heard.values)[0]
  # The package leaves the last frame out.
  assert heard.shape == (7 * codec.facts.hop, 2)
  found = codec.decode(codes)[: len(heard)]
  scale = np.abs(heard).max()
  assert np.abs(found - heard).max() < 1e-4 * scale


@pytest.mark.slow
def test_weights_come_from_the_folder(codec, tmp_path):
  model, _ = spectrostream._published()
  write_parts(tmp_path, spectrostream._shapes(model), "params/")
  loaded = load_spectrostream(tmp_path, levels=4)
  samples = sound(codec.facts, 2)
  np.testing.assert_array_equal(loaded.encode(samples), codec.encode(samples))
