"""encode_context and encode_targets against a simple version of their rules."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import PEDAL_DOWN, PEDAL_UP, NoteCodec

CODEC = NoteCodec()
CONFIG = CODEC.config

nows = st.one_of(
  st.integers(0, 1500).map(lambda step: step / 100),
  st.integers(0, 15000).map(lambda ms: ms / 1000),
  st.floats(0, 15),
)
windows = st.sampled_from([0.0, 0.5, 2.0, 10.0])


def steps_from(now_s, times_s):
  return CONFIG.time_to_step(np.asarray(times_s, float) - now_s).tolist()


def event_rows(score, now_s, model_part=0):
  """(step, key, role, codes, duration, end) of each event; key -1 is pedal."""
  rows = []
  pedals = score.pedals
  for pedal, step in zip(
    pedals, steps_from(now_s, pedals["time_s"]), strict=True
  ):
    role = int(pedal["part"] != model_part)
    key = PEDAL_DOWN if pedal["down"] else PEDAL_UP
    rows.append((step, -1, role, (key, -1, -1), 0.0, 0.0))
  notes = score.notes
  for note, step in zip(
    notes, steps_from(now_s, notes["onset_s"]), strict=True
  ):
    role = int(note["part"] != model_part)
    codes = (
      int(note["key"]),
      int(CONFIG.velocity_to_code(note["velocity"][None])[0]),
      int(CONFIG.duration_to_code(note["duration_s"][None])[0]),
    )
    end_s = note["onset_s"] - now_s + min(note["duration_s"], 10.0)
    rows.append(
      (step, int(note["key"]), role, codes, note["duration_s"], end_s)
    )
  return rows


def in_stream_order(rows):
  """Sorted; of duplicates the longest, of equally long ones the loudest."""
  best = {}
  for index, row in enumerate(rows):
    step, key, role, codes, duration_s, _ = row
    place = (step, key, role) if key >= 0 else (step, -1, index)
    if place not in best or (duration_s, codes[1]) > (
      best[place][4],
      best[place][3][1],
    ):
      best[place] = row
  pedals = sorted((r for r in rows if r[1] < 0), key=lambda r: r[0])
  notes = sorted((r for p, r in best.items() if p[1] >= 0), key=lambda r: r[:3])
  return sorted(pedals + notes, key=lambda r: (r[0], r[1] >= 0))


def expected_context(score, now_s, context_s, model_part):
  window = -round(context_s * 100)
  rows = event_rows(score, now_s, model_part)
  expected = []
  last_pedal = {}
  for pedal, step in zip(
    score.pedals, steps_from(now_s, score.pedals["time_s"]), strict=True
  ):
    if step < window:
      last_pedal[int(pedal["part"])] = bool(pedal["down"])
  for role in (0, 1):
    if any(d for p, d in last_pedal.items() if int(p != model_part) == role):
      expected.append((window, role, (PEDAL_DOWN, -1, -1)))
  sounding = []
  for step, key, role, codes, _, end_s in rows:
    end = steps_from(0.0, [end_s])[0]
    if key >= 0 and step < window < end:
      left_s = np.array([end_s - window / 100])
      left = int(CONFIG.duration_to_code(left_s)[0])
      sounding.append((window, key, role, (key, codes[1], left)))
  for step, _, role, codes in sorted(sounding, key=lambda r: r[:3]):
    expected.append((step, role, codes))
  inside = [row for row in rows if window <= row[0] < 0]
  for step, _, role, codes, *_ in in_stream_order(inside):
    expected.append((step, role, codes))
  return expected, window


def check_frames(frames, expected, start):
  """Frames are the expected (step, role, codes), onsets as documented."""
  assert frames.codes.dtype == frames.step.dtype == np.int32
  found = [
    (int(s), int(p), tuple(c[1:].tolist()))
    for c, s, p in zip(*frames, strict=True)
  ]
  # State notes of parts with the same role may have equal places.
  assert sorted(found) == sorted(expected)
  assert [f[:2] for f in found] == [e[:2] for e in expected]
  previous = {}
  for codes, step, part in zip(*frames, strict=True):
    assert codes[0] == min(step - previous.get(part, start), 399)
    previous[part] = step


@given(st.data(), nows, windows)
def test_context_follows_the_rules(draw_score, data, now_s, context_s):
  score = draw_score(data, max_parts=2)
  model_part = data.draw(st.integers(0, score.parts - 1))
  frames = CODEC.encode_context(
    score, now_s, context_s=context_s, model_part=model_part
  )
  expected, start = expected_context(score, now_s, context_s, model_part)
  check_frames(frames, expected, start)
  CODEC.vocabulary.to_ids(frames.codes)


@given(st.data(), nows, st.integers(0, 400))
def test_targets_follow_the_rules(draw_score, data, now_s, length):
  score = draw_score(data, max_parts=2)
  frames = CODEC.encode_targets(score, now_s, seconds=length / 100)
  rows = [
    row for row in event_rows(score, now_s) if row[2] == 0 <= row[0] < length
  ]
  expected = [(row[0], row[2], row[3]) for row in in_stream_order(rows)]
  check_frames(frames, expected, 0)


@given(st.data(), nows)
def test_no_event_is_in_context_and_targets(draw_score, data, now_s):
  score = draw_score(data, max_parts=1)
  context = CODEC.encode_context(score, now_s, context_s=2.0)
  targets = CODEC.encode_targets(score, now_s, seconds=2.0)
  assert np.all(context.step < 0) and np.all(targets.step >= 0)
  # Together they have all events (none is lost at now).
  both = CODEC.encode_targets(score, now_s - 2.0, seconds=4.0)
  state = len(context.step) + len(targets.step) - len(both.step)
  assert state >= 0
  seam = np.concatenate([context.codes[state:, 1:], targets.codes[:, 1:]])
  np.testing.assert_array_equal(both.codes[:, 1:], seam)


@given(st.data(), nows, windows)
def test_context_is_causal(draw_score, data, now_s, context_s):
  score = draw_score(data, max_parts=2)
  past_notes = np.array(steps_from(now_s, score.notes["onset_s"])) < 0
  past_pedals = np.array(steps_from(now_s, score.pedals["time_s"])) < 0
  future = draw_score(data, max_parts=2).shifted(now_s + 0.0051)
  notes = score.notes[past_notes]
  # Another future: other notes and pedal changes of both parts.
  notes = np.concatenate([notes, future.notes])
  pedals = np.concatenate([score.pedals[past_pedals], future.pedals])
  other = Score(notes=notes, pedals=pedals, part_names=("a", "b"))
  one = CODEC.encode_context(score, now_s, context_s=context_s)
  two = CODEC.encode_context(other, now_s, context_s=context_s)
  for a, b in zip(one, two, strict=True):
    np.testing.assert_array_equal(a, b)
  assert CODEC.pedal_down_at(score, now_s) == CODEC.pedal_down_at(other, now_s)


@given(st.data(), nows, st.integers(0, 12))
def test_the_newest_frames_are_kept(draw_score, data, now_s, most):
  score = draw_score(data, max_parts=1)
  whole = CODEC.encode_context(score, now_s, max_frames=10_000)
  cut = CODEC.encode_context(score, now_s, max_frames=most)
  kept = min(most, len(whole.step))
  assert len(cut.step) == kept
  for a, b in zip(cut, whole, strict=True):
    np.testing.assert_array_equal(a, b[len(b) - kept :])


def piece(minutes, rate=15.0):
  rng = np.random.default_rng(0)
  count = int(60 * minutes * rate)
  pedal_s = np.sort(rng.uniform(0, 60 * minutes, 50 * minutes))
  return Score.from_arrays(
    onset_s=rng.uniform(0, 60 * minutes, count),
    duration_s=rng.exponential(0.4, count) + 0.01,
    key=rng.integers(21, 109, count),
    velocity=rng.integers(1, 128, count),
    pedal=[(time, i % 2 == 0) for i, time in enumerate(pedal_s)],
  )


def test_all_codes_of_state_frames():
  score = Score.from_arrays(
    onset_s=[0.0, 1.0, 9.0, 11.5],
    duration_s=[4.0, 0.5, 5.0, 1.0],
    key=[60, 40, 30, 64],
    velocity=[60, 60, 80, 64],
    pedal=[(0.5, True), (2.5, False), (3.0, True)],
  )
  frames = CODEC.encode_context(score, 12.0)  # a window from 2 s
  np.testing.assert_array_equal(
    frames.codes,
    [
      [0, PEDAL_DOWN, -1, -1],
      [0, 60, 15, 43],  # 2 s of 4 s remain
      [50, PEDAL_UP, -1, -1],
      [50, PEDAL_DOWN, -1, -1],
      [399, 30, 20, 54],  # 6 s later, more than the horizon
      [250, 64, 16, 35],
    ],
  )
  assert frames.step.tolist() == [-1000, -1000, -950, -900, -300, -50]
  assert not frames.part.any()
  assert CODEC.pedal_down_at(score, 2.5) and CODEC.pedal_down_at(score, 12.0)
  assert not CODEC.pedal_down_at(score, 2.6)


def test_now_before_and_after_all_music():
  score = piece(1)
  assert len(CODEC.encode_context(score, 0.0).step) == 0
  assert len(CODEC.encode_targets(score, 300.0, seconds=2.0).step) == 0
  assert len(CODEC.encode_context(Score.empty(), 5.0).step) == 0


def test_context_is_cheap():
  score = piece(10)
  seconds = []
  for now_s in np.linspace(1, 599, 60):
    start = time.perf_counter()
    CODEC.encode_context(score, float(now_s))
    seconds.append(time.perf_counter() - start)
  # Takes 0.2 ms; shape checks in tests and a busy machine add time.
  assert np.median(seconds) < 0.02


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (dict(now_s=float("nan")), "now_s must be a time in seconds, got nan"),
    (dict(now_s=0.0, context_s=-1.0), "context_s must be 0 s or more"),
    (dict(now_s=0.0, max_frames=-1), "max_frames must be 0 or more, got -1"),
  ],
)
def test_impossible_contexts_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    CODEC.encode_context(Score.empty(), **call)


def test_targets_beyond_the_horizon_are_refused():
  with pytest.raises(ValueError, match=r"horizon of 4\.0 s, got 4\.5"):
    CODEC.encode_targets(Score.empty(), 0.0, seconds=4.5)
