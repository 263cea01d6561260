"""The whole of it with a small network of drawn weights."""

import jax
import numpy as np
import pytest
from flax import nnx

from magenta_midi.model.torch_file import TorchFileError
from magenta_midi.transcribe.transkun import weights
from magenta_midi.transcribe.transkun.config import TranskunConfig
from magenta_midi.transcribe.transkun.network import Transkun
from magenta_midi.transcribe.transkun.transcriber import TranskunTranscriber
from tests.support.torch_files import write_torch_file

TINY = TranskunConfig(
  rate_hz=8000,
  hop=256,
  window=1024,
  mels=24,
  windows=3,
  segment_s=2,
  step_s=1,
  base=4,
  heads=2,
  layers=1,
  hidden=8,
  targets=(-64, -67, 60, 62, 64),
)


def drawn_arrays():
  """Arrays under the original's names, in its order of axes."""
  random = np.random.default_rng(4)
  state = nnx.state(nnx.eval_shape(lambda: Transkun(TINY, rngs=nnx.Rngs(0))))
  arrays = {}
  for path, value in jax.tree_util.tree_leaves_with_path(state):
    keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    ours = ".".join(map(str, keys))
    shape = value.shape
    if ours == "frames_out.kernel":
      shape = (shape[0], shape[1] // 8, 8)
    elif ours == "frames_out.bias":
      shape = (shape[0] // 8,)
    elif len(shape) == 4:
      shape = (shape[3], shape[2], shape[0], shape[1])
    elif not ours.endswith(("query.kernel", "key.kernel", "value.kernel")):
      shape = shape[::-1]
    array = random.normal(0, 0.3, shape)
    if "norms" in ours and ours.endswith("scale"):
      array += 1
    arrays[weights._name(ours)] = array.astype(np.float32)
  front = "framewiseFeatureExtractor"
  arrays |= {
    f"{front}.freq2mels": random.random((513, 24)).astype(np.float32),
    f"{front}.spectrogramExtractor.win": np.hanning(1024).astype(np.float32),
    f"{front}.spectrogramExtractor.winGen.center": np.zeros(2, np.float32),
    f"{front}.spectrogramExtractor.winGen.sigma": np.zeros(2, np.float32),
  }
  return arrays


@pytest.fixture(scope="module")
def arrays():
  return drawn_arrays()


@pytest.fixture(scope="module")
def transcriber(arrays, tmp_path_factory):
  path = write_torch_file(tmp_path_factory.mktemp("tiny") / "a.pt", arrays)
  return TranskunTranscriber(path, TINY)


def noise(seconds, channels=1):
  random = np.random.default_rng(2)
  samples = random.normal(0, 0.1, (int(seconds * 8000), 1))
  return np.repeat(samples, channels, axis=1).astype(np.float32)


def same(one, other):
  assert len(one) == len(other) > 5
  for name in ("onset_s", "duration_s"):
    np.testing.assert_allclose(one.notes[name], other.notes[name], atol=2e-3)
  np.testing.assert_array_equal(one.notes["key"], other.notes["key"])


def test_blocks_channels_and_loudness_have_no_effect(transcriber):
  samples = noise(6.3)
  whole = transcriber.transcribe([samples])
  same(whole, transcriber.transcribe(np.array_split(samples, 23)))
  same(whole, transcriber.transcribe([noise(6.3, channels=2)]))
  same(whole, transcriber.transcribe([0.1 * samples]))
  assert set(whole.notes["key"]) <= {60, 62, 64}


def test_nothing_and_silence_end(transcriber):
  assert not len(transcriber.transcribe([]))
  transcriber.transcribe([np.zeros((8000, 1), np.float32)])


def test_progress_comes_to_the_end(transcriber):
  seen = []
  transcriber.transcribe([noise(5)], seen.append)
  assert seen == sorted(seen)
  assert 5 <= seen[-1] < 8


def test_a_file_of_another_network_is_refused(arrays, tmp_path):
  lacking = {
    name: array for name, array in arrays.items() if "scorer" not in name
  }
  with pytest.raises(TorchFileError, match=r"lacks 'scorer\.map"):
    weights.load_transkun(write_torch_file(tmp_path / "a.pt", lacking), TINY)
  with pytest.raises(TorchFileError, match="does not fit"):
    weights.load_transkun(write_torch_file(tmp_path / "b.pt", arrays))
