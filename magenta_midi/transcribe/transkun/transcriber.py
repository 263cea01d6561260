"""Transkun as a transcriber: overlapping segments to one score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from magenta_midi.midi.score import Score
from magenta_midi.transcribe.installed_file import installed_file
from magenta_midi.transcribe.transkun.config import TranskunConfig
from magenta_midi.transcribe.transkun.events import (
  EventJoiner,
  SegmentEvent,
  score_of_events,
  segment_events,
)
from magenta_midi.transcribe.transkun.front_end import FrontEnd, log_mels
from magenta_midi.transcribe.transkun.network import Transkun
from magenta_midi.transcribe.transkun.semi_crf import best_intervals, next_ends
from magenta_midi.transcribe.transkun.weights import load_transkun
from magenta_midi.transcribe.windows import overlapping_windows

__all__ = ["TranskunTranscriber"]

PACKAGE = "transkun==2.0.1"
_FILE = "transkun/pretrained/2.0.pt"
# Intervals whose attributes are found in one call: of few sizes, so that few
# are compiled.
_BATCH = 256


class TranskunTranscriber:
  """Transcribes with Transkun, which its package carries.

  Attributes:
    name: For reports and caches.
    rate_hz: Rate of the audio it takes.

  Raises:
    MissingModelError: The package is not installed.
    TorchFileError: Its weights are not those of version 2.0.
  """

  name = "transkun-2.0.1"

  def __init__(
    self,
    path: str | PathLike[str] | None = None,
    config: TranskunConfig | None = None,
  ):
    """Loads the weights.

    Args:
      path: A checkpoint of the original; by default that of the package.
      config: Its sizes.
    """
    self._config = config or TranskunConfig()
    self.rate_hz = self._config.rate_hz
    if path is None:
      path = installed_file(PACKAGE, _FILE, "transcription")
    network, self._front_end = load_transkun(path, self._config)
    self._graph, self._state = nnx.split(network)

  def transcribe(
    self,
    blocks: Iterable[np.ndarray],
    on_seconds: Callable[[float], None] = lambda seconds: None,
  ) -> Score:
    """Transcribes audio of any length.

    Args:
      blocks: float32 [n, c] each, c = 1 or 2, full scale 1, at `rate_hz`.
      on_seconds: Receives how much is done, in seconds of the audio.

    Returns:
      The notes and the pedal; a note that the pedal holds ends with it.
    """
    config = self._config
    lead = round((config.segment_s - config.step_s) * config.rate_hz)
    # The silence before the audio is not read.
    start = np.full(len(config.targets), lead // config.hop)
    joiner = EventJoiner()
    segments = overlapping_windows(
      blocks,
      length=config.segment,
      hop=config.step_frames * config.hop,
      lead=lead,
      trail=lead,
    )
    for first, samples in segments:
      events, start = self._segment(samples, first / config.rate_hz, start)
      joiner.add(events)
      on_seconds(max(0.0, (first + config.segment - lead) / config.rate_hz))
    return score_of_events(joiner.finish())

  def _segment(
    self, samples: np.ndarray, start_s: float, start: np.ndarray
  ) -> tuple[list[SegmentEvent], np.ndarray]:
    """Transcribes one segment.

    Args:
      samples: [n, c] of a whole segment.
      start_s: Where it begins, s.
      start: For each target the frame from which it is not yet known.

    Returns:
      Its events, and `start` for the next segment.
    """
    config = self._config
    heard = _hear(
      self._graph, config, self._state, self._front_end, jnp.asarray(samples)
    )
    intervals = best_intervals(
      np.asarray(heard.ends), np.asarray(heard.is_single), start
    )
    last_frame = round(config.segment / config.hop)
    rows = np.array(
      [(t, *ends) for t, own in enumerate(intervals) for ends in own], int
    ).reshape(-1, 3)
    velocities, times = self._attributes(heard.vectors, rows)
    events = segment_events(
      intervals,
      config.targets,
      velocities,
      times,
      frame_s=config.hop / config.rate_hz,
      start_s=start_s,
      last_frame=last_frame,
    )
    ended = np.zeros(len(config.targets), int)
    for (target, _, end), event in zip(rows, events, strict=True):
      if event.has_offset:
        ended[target] = end
    return events, np.maximum(ended - config.step_frames, 0)

  def _attributes(
    self, vectors: Array, rows: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Velocities [n] and logits of times [n, 4] of target, begin and end."""
    velocities, times = [], []
    for first in range(0, len(rows), _BATCH):
      part = rows[first : first + _BATCH]
      padded = np.zeros((_BATCH, 3), int)
      padded[: len(part)] = part
      velocity, time = _describe(self._graph, self._state, vectors, padded)
      velocities.append(np.asarray(velocity)[: len(part)])
      times.append(np.asarray(time)[: len(part)])
    if not len(rows):
      return np.zeros(0, int), np.zeros((0, 4))
    return np.concatenate(velocities), np.concatenate(times)


class _Heard(NamedTuple):
  """What is found in a segment.

  Attributes:
    vectors: [p, t, d] of each target and frame.
    ends: [t - 1, p] of `next_ends`.
    is_single: [p, t] whether an interval of one frame lies there.
  """

  vectors: Array
  ends: Array
  is_single: Array


@partial(jax.jit, static_argnums=(0, 1))
def _hear(
  graph: nnx.GraphDef[Transkun],
  config: TranskunConfig,
  state: nnx.State,
  front_end: FrontEnd,
  samples: Array,
) -> _Heard:
  network = nnx.merge(graph, state)
  vectors = network(log_mels(samples, front_end, config))
  scores, single = network.interval_scores(vectors)
  return _Heard(vectors, next_ends(scores, single), single > 0)


@partial(jax.jit, static_argnums=0)
def _describe(
  graph: nnx.GraphDef[Transkun], state: nnx.State, vectors: Array, rows: Array
) -> tuple[Array, Array]:
  begin = vectors[rows[:, 0], rows[:, 1]]
  end = vectors[rows[:, 0], rows[:, 2]]
  velocity, times = nnx.merge(graph, state).attributes(begin, end)
  return velocity.argmax(axis=1), times
