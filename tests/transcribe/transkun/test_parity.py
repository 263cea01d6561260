"""Ours against the original, which needs PyTorch: `make test-transkun`."""

import importlib.metadata
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.audio.piano import SAMPLE_RATE, synthesize
from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi.score import Score
from magenta_midi.transcribe.transkun.config import TranskunConfig
from magenta_midi.transcribe.transkun.front_end import log_mels
from magenta_midi.transcribe.transkun.transcriber import TranskunTranscriber
from magenta_midi.transcribe.transkun.weights import load_transkun

torch = pytest.importorskip("torch")

# PyTorch's, about how the original calls it.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

TINY = TranskunConfig(
  mels=24,
  segment_s=2,
  step_s=1,
  base=8,
  heads=2,
  layers=2,
  hidden=16,
)


@pytest.fixture(scope="module")
def original():
  """The module of the original, with stand-ins for what it uses not."""
  try:
    importlib.metadata.distribution("transkun")
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("transkun is not installed")
  # The filters come from the checkpoint; torchaudio only draws them anew.
  audio = types.ModuleType("torchaudio")
  audio.functional = types.SimpleNamespace(
    melscale_fbanks=lambda n_freqs, n_mels, **_: torch.rand(n_freqs, n_mels)
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "torchaudio", audio)
    module = pytest.importorskip("transkun.ModelTransformer")
    torch.set_grad_enabled(False)
    yield module
    torch.set_grad_enabled(True)


@pytest.fixture(scope="module")
def tiny(original, tmp_path_factory):
  """The original with drawn weights, and ours with the same ones."""
  torch.manual_seed(0)
  settings = original.Config()
  settings.__dict__.update(
    n_mels=TINY.mels,
    segmentSizeInSecond=TINY.segment_s,
    segmentHopSizeInSecond=TINY.step_s,
    baseSize=TINY.base,
    nHead=TINY.heads,
    nLayers=TINY.layers,
    velocityPredictorHiddenSize=TINY.hidden,
    refinedOFPredictorHiddenSize=TINY.hidden,
  )
  theirs = original.TransKun(settings).eval()
  for name, parameter in theirs.named_parameters():
    # As they begin, the blocks would be nearly the identity.
    if name.endswith(".scale"):
      parameter.copy_(torch.rand_like(parameter))
    elif "winGen" not in name:
      parameter.add_(0.1 * torch.randn_like(parameter))
  path = tmp_path_factory.mktemp("tiny") / "tiny.pt"
  torch.save({"state_dict": theirs.state_dict()}, path)
  return theirs, path


def music(seconds):
  score = Score.from_file(phrase_path()).crop(0, seconds)
  return synthesize(score)[: seconds * SAMPLE_RATE]


def test_spectra_vectors_and_scores_are_the_same(original, tiny):
  theirs, path = tiny
  network, front_end = load_transkun(path, TINY)
  samples = music(4)[TINY.rate_hz :][: TINY.segment]
  frames = original.makeFrame(
    torch.from_numpy(samples.T.copy()), TINY.hop, TINY.window
  )[None]
  normal = (frames - frames.mean()) / (frames.std() + 1e-8)
  mels = log_mels(jnp.asarray(samples), front_end, TINY)
  np.testing.assert_allclose(
    mels, theirs.framewiseFeatureExtractor(normal)[0, 0], atol=1e-4
  )
  crf, vectors = theirs.processFramesBatch(frames)
  ours = network(mels)
  scale = float(vectors.abs().max())
  np.testing.assert_allclose(ours, vectors[0], atol=1e-4 * scale)
  scores, single = network.interval_scores(ours)
  wanted = crf.score.numpy().transpose(1, 2, 0)
  later = np.arange(TINY.frames)[:, None] < np.arange(TINY.frames)
  np.testing.assert_allclose(
    np.asarray(scores).transpose(1, 0, 2)[:, later],
    wanted.transpose(1, 0, 2)[:, later],
    atol=1e-4 * np.abs(wanted).max(),
  )
  np.testing.assert_allclose(
    single,
    np.einsum("ipi->pi", wanted),
    atol=1e-4 * np.abs(wanted).max(),
  )


def assert_same_music(score, events, share=1.0):
  """That share of the notes of both is the same, and all pedals."""
  notes = [event for event in events if event.pitch > 0]
  same = 0
  for note in notes:
    ours = score.notes[score.notes["key"] == note.pitch]
    ends_s = ours["onset_s"] + ours["duration_s"]
    same += bool(
      (
        (np.abs(ours["onset_s"] - note.start) < 1e-3)
        & (np.abs(ends_s - note.end) < 0.011)
        & (ours["velocity"] == max(1, note.velocity))
      ).any()
    )
  assert same >= share * max(len(notes), len(score)) > 5
  pedals = sorted(event.start for event in events if event.pitch == -64)
  ours_s = score.pedals["time_s"][score.pedals["down"]]
  if share == 1.0:
    np.testing.assert_allclose(ours_s, pedals, atol=1e-3)


def test_a_small_network_makes_the_same_events(tiny):
  theirs, path = tiny
  samples = music(4)
  ours = TranskunTranscriber(path, TINY).transcribe([samples])
  events = theirs.transcribe(torch.from_numpy(samples))
  # With drawn weights, some sets of intervals are worth the same but for
  # rounding.
  assert_same_music(ours, events, share=0.99)


@pytest.mark.slow
def test_the_published_network_makes_the_same_notes(original):
  import json

  distribution = importlib.metadata.distribution("transkun")
  folder = distribution.locate_file("transkun/pretrained")
  settings = original.Config()
  config = json.loads((folder / "2.0.conf").read_text("utf-8"))
  settings.__dict__.update(config["Model"]["config"])
  theirs = original.TransKun(settings).eval()
  loaded = torch.load(folder / "2.0.pt", weights_only=True)
  theirs.load_state_dict(loaded["state_dict"], strict=False)
  samples = music(6)
  ours = TranskunTranscriber().transcribe([samples])
  assert_same_music(ours, theirs.transcribe(torch.from_numpy(samples)))
