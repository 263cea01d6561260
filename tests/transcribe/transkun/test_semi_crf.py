"""Intervals against all sets of intervals of few frames."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.transcribe.transkun.semi_crf import best_intervals, next_ends


def best_by_trying(scores, single):
  """The best set from every frame, one target: value and intervals."""
  last = len(single) - 1

  @functools.cache
  def from_frame(frame):
    own = ((frame, frame),) if single[frame] > 0 else ()
    value = max(single[frame], 0.0)
    if frame == last:
      return value, own
    options = [from_frame(frame + 1)]
    for end in range(frame + 1, last + 1):
      rest, intervals = from_frame(end)
      options.append((rest + scores[frame, end], ((frame, end), *intervals)))
    best, intervals = max(options, key=lambda option: option[0])
    return value + best, own + intervals

  return from_frame


@pytest.mark.parametrize("seed", range(6))
def test_the_set_is_the_best_of_all(seed):
  random = np.random.default_rng(seed)
  frames, targets = 9, 4
  scores = random.normal(-0.5, 1, (frames, targets, frames))
  single = random.normal(-0.3, 1, (targets, frames))
  ends = np.asarray(next_ends(jnp.asarray(scores), jnp.asarray(single)))
  for start in (0, 3, frames - 1):
    found = best_intervals(ends, single > 0, np.full(targets, start))
    for target in range(targets):
      best = best_by_trying(scores[:, target], single[target])(start)[1]
      assert tuple(found[target]) == best


def test_nothing_is_found_where_nothing_is_worth_it():
  scores, single = -jnp.ones((5, 2, 5)), -jnp.ones((2, 5))
  ends = np.asarray(next_ends(scores, single))
  none = np.asarray(single) > 0
  assert best_intervals(ends, none, np.zeros(2, int)) == [[], []]


def test_scores_of_intervals_that_end_before_they_begin_are_not_read():
  random = np.random.default_rng(1)
  scores = random.normal(0, 1, (6, 2, 6)).astype(np.float32)
  single = random.normal(0, 1, (2, 6)).astype(np.float32)
  ends = next_ends(jnp.asarray(scores), jnp.asarray(single))
  frames = np.arange(6)
  scores[np.broadcast_to((frames[:, None] >= frames)[:, None], (6, 2, 6))] = 99
  again = next_ends(jnp.asarray(scores), jnp.asarray(single))
  np.testing.assert_array_equal(ends, again)
