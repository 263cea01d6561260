"""The engine with a network for its codec: mono, lossy, other sizes."""

import numpy as np

from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.weights import random_encodec
from magenta_midi.audio.injection.engine import InjectionEngine, inject_sound
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)
from magenta_midi.testing.audio import EchoGenerator


def test_the_context_holds_the_codes_of_the_mix():
  codec = random_encodec(
    EncodecConfig(
      ratios=(4, 3, 2), filters=4, width=8, levels=4, codebook_size=32
    )
  )
  hop, chunk = codec.facts.hop, 20 * codec.facts.hop
  generator = EchoGenerator(20, silence=0)
  engine = InjectionEngine(
    codec,
    generator,
    InjectionSettings(
      intro_loops=0,
      after_intro={},
      chunk_frames=20,
      context_frames=40,
      prefix_frames=10,
      edge_frames=6,
      levels=3,
    ),
    # Quiet enough for the limiter: the network is random.
    InjectionControls(model_volume=0.1, input_volume=0.0),
  )
  played = np.random.default_rng(0).normal(0, 0.2, (4 * chunk, 1))
  played = played.astype(np.float32)
  heard = inject_sound(engine, played)
  end = 3 * chunk + hop
  codes = codec.encode(played[end - 30 * hop : end])[6:, :3]
  np.testing.assert_array_equal(generator.contexts[-1][-24:], codes)
  assert len(np.unique(codes)) > 5
  # The echo of it, decoded, after the crossfade.
  own = generator.negatives[-1][-1:]
  wave = codec.decode(np.concatenate([own, codes[-20:]]))
  np.testing.assert_allclose(
    heard[3 * chunk + hop :], 0.1 * wave[hop:-hop], atol=1e-5
  )
  assert np.abs(heard[chunk:]).max() > 0.01
