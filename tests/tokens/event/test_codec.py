"""The `event` codec against a simple version of its rules, and round trips."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from magenta_midi.tokens.event.codec import EventCodec, EventCodecConfig
from magenta_midi.tokens.frames import Frames

CODEC = EventCodec()
CONFIG = CODEC.config
LONGEST = 1000  # longest duration in a context, in steps

nows = st.one_of(
  st.integers(0, 1500).map(lambda step: step / 100),
  st.integers(0, 15000).map(lambda ms: ms / 1000),
  st.floats(0, 15),
)


def steps_of(times_s):
  return CONFIG.time_to_step(np.asarray(times_s, float)).tolist()


def notes_on_grid(score, now_s=0.0, longest_s=np.inf):
  """{(part, key): [(on, off, velocity bin)]}: merged, trimmed, in order."""
  found = {}
  for note in score.notes:
    duration_s = min(note["duration_s"], longest_s)
    on_s = note["onset_s"] - now_s
    on, off = steps_of([on_s, on_s + duration_s])
    voice = found.setdefault((int(note["part"]), int(note["key"])), {})
    row = (duration_s, int(note["velocity"]), max(off, on + 1))
    if on not in voice or row[:2] > voice[on][:2]:
      voice[on] = row
  trimmed = {}
  for voice, rows in found.items():
    ons = sorted(rows)
    trimmed[voice] = [
      (on, min(rows[on][2], after), rows[on][1] // 4)
      for on, after in zip(ons, [*ons[1:], 2**31], strict=True)
    ]
  return trimmed


def pedals_on_grid(score, now_s=0.0):
  """{part: [(step, down)]} in order."""
  found = {}
  for pedal in score.pedals:
    step = steps_of([pedal["time_s"] - now_s])[0]
    found.setdefault(int(pedal["part"]), []).append((step, bool(pedal["down"])))
  return found


def acts_of(notes, pedals, part):
  """One part's (step, rank, number, code, velocity bin) in canonical order."""
  acts = []
  for (owner, key), rows in notes.items():
    if owner != part:
      continue
    for on, off, velocity in rows:
      acts.append((on, 2, key, CONFIG.note_on + key, velocity))
      acts.append((off, 0, key, CONFIG.note_off + key, None))
  for number, (step, down) in enumerate(pedals.get(part, [])):
    code = CONFIG.pedal_down if down else CONFIG.pedal_up
    acts.append((step, 1, number, code, None))
  return sorted(acts, key=lambda act: act[:3])


def tokens_of(acts, origin):
  """(step, code) with time shifts and velocities; acts from `origin` on."""
  tokens, at, running = [], origin, None
  for step, _, _, code, velocity in acts:
    while at < step:
      shift = min(200, step - at)
      at += shift
      tokens.append((at, shift - 1))
    if velocity is not None and velocity != running:
      tokens.append((step, CONFIG.velocity + velocity))
      running = velocity
    tokens.append((step, code))
  return tokens


def expected_file(score):
  """(step, part, code) of a whole file with its BOS and EOS, by chunk."""
  notes, pedals = notes_on_grid(score), pedals_on_grid(score)
  acts = [acts_of(notes, pedals, part) for part in range(score.parts)]
  last = max([steps_of([score.end_s])[0] - 1] + [a[-1][0] for a in acts if a])
  chunks = []
  for chunk in range(last // 200 + 1):
    start = 200 * chunk
    rows = []
    for part, part_acts in enumerate(acts):
      inside = [act for act in part_acts if start <= act[0] < start + 200]
      rows += [(step, part, code) for step, code in tokens_of(inside, start)]
    rows.sort(key=lambda row: row[:2])
    chunks.append([*rows, (start + 199, 0, CONFIG.end)])
  if chunks:
    chunks[0].insert(0, (0, 0, CONFIG.begin))
  return chunks


def rows_of(frames):
  return [
    (int(step), int(part), int(codes[0]))
    for codes, step, part in zip(*frames, strict=True)
  ]


@given(st.data())
def test_a_file_follows_the_rules(draw_score, data):
  score = draw_score(data)
  encoded = CODEC.encode(score)
  expected = expected_file(score)
  found = [rows_of(encoded.chunk(i)) for i in range(encoded.chunks)]
  assert found == expected
  kept = sum(len(rows) for rows in notes_on_grid(score).values())
  assert encoded.merged == len(score) - kept
  assert encoded.saturated == 0


def in_place(score):
  notes = score.notes
  step = steps_of(np.ascontiguousarray(notes["onset_s"]))
  return notes[np.lexsort((step, notes["key"], notes["part"]))]


@given(st.data())
def test_the_round_trip_is_exact_to_the_step(draw_score, data):
  score = draw_score(data)
  encoded = CODEC.encode(score)
  back = CODEC.decode(encoded)
  assert back.part_names == score.part_names
  assert notes_on_grid(back) == notes_on_grid(score)
  assert pedals_on_grid(back) == pedals_on_grid(score)
  if not encoded.merged:
    for was, now in zip(in_place(score), in_place(back), strict=True):
      assert abs(int(was["velocity"]) - int(now["velocity"])) <= 2
  # Rounded music does not change again.
  again = CODEC.encode(back)
  for a, b in zip(again.frames, encoded.frames, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(again.chunk_offsets, encoded.chunk_offsets)


@pytest.mark.parametrize("density", [10, 100, 1000, 10_000])
def test_round_trip_at_any_density(density):
  rng = np.random.default_rng(density)
  score = Score.from_arrays(
    onset_s=rng.uniform(0, 4, density),
    duration_s=rng.exponential(0.5, density) + 0.001,
    key=rng.integers(0, 128, density),
    velocity=rng.integers(1, 128, density),
    part=rng.integers(0, 2, density),
  )
  back = CODEC.decode(CODEC.encode(score))
  assert notes_on_grid(back) == notes_on_grid(score)


def one_part(*rows, pedal=None):
  """Rows of onset_s, duration_s, key, velocity."""
  onset_s, duration_s, key, velocity = zip(*rows, strict=True)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=duration_s,
    key=key,
    velocity=velocity,
    pedal=pedal,
  )


def words(frames):
  """Readable tokens: W time shift, + note-on, - note-off, V velocity."""
  readable = []
  for code in frames.codes[:, 0].tolist():
    for letter, first in (
      ("EOS", CONFIG.end),
      ("BOS", CONFIG.begin),
      ("up", CONFIG.pedal_up),
      ("down", CONFIG.pedal_down),
      ("V", CONFIG.velocity),
      ("-", CONFIG.note_off),
      ("+", CONFIG.note_on),
      ("W", -1),
    ):
      if code >= first:
        number = code - first
        readable.append(letter if letter.isalpha() and len(letter) > 1 else
                    f"{letter}{number}")  # fmt: skip
        break
  return " ".join(readable)


def test_all_tokens_of_a_phrase():
  score = one_part(
    (0.0, 0.5, 60, 64), (0.0, 0.5, 64, 64),
    (0.5, 2.0, 60, 66), (0.9, 30, 48, 9),
    pedal=[(0.5, True), (2.1, False)],
  )  # fmt: skip
  encoded = CODEC.encode(score)
  assert encoded.chunks == 16
  assert [words(encoded.chunk(i)) for i in (0, 1, 2, 14, 15)] == [
    "BOS V16 +60 +64 W50 -60 -64 down +60 W40 V2 +48 EOS",
    "W10 up W40 -60 EOS",
    "EOS",
    "EOS",
    "W90 -48 EOS",
  ]
  # An equal velocity bin has no token; a repeated key has a note-off first.
  again = one_part((0.0, 0.3, 60, 64), (0.3, 0.2, 60, 67))
  assert words(CODEC.encode(again).frames) == (
    "BOS V16 +60 W30 -60 +60 W20 -60 EOS"
  )


def test_the_vocabulary():
  assert CODEC.levels == CODEC.vocabulary.levels == 1
  assert CONFIG.size == CODEC.vocabulary.level_sizes[0] == 492
  assert CODEC.vocabulary.size == 500
  assert CODEC.end_frame().tolist() == [CONFIG.end] == [491]
  assert (CONFIG.note_on, CONFIG.note_off, CONFIG.velocity) == (200, 328, 456)
  assert (CONFIG.pedal_down, CONFIG.pedal_up, CONFIG.begin) == (488, 489, 490)


def test_a_long_note_keeps_its_duration():
  score = one_part((0.25, 300.0, 60, 64))
  back = CODEC.decode(CODEC.encode(score))
  assert back.notes["duration_s"].tolist() == [300.0]


def test_empty_score():
  encoded = CODEC.encode(Score.empty())
  assert encoded.chunks == 0 and len(encoded.frames.step) == 0
  assert len(CODEC.decode(encoded)) == 0


def test_codes_are_enough_to_decode():
  encoded = CODEC.encode(one_part((0.5, 1, 60, 60), (2.5, 1, 62, 60)))
  blind = encoded.frames._replace(step=np.zeros_like(encoded.frames.step))
  again = CODEC.decode(dataclasses.replace(encoded, frames=blind))
  assert again.notes["onset_s"].tolist() == [0.5, 2.5]
  assert again.notes["duration_s"].tolist() == [1.0, 1.0]


def frames_of(codes, step):
  step = np.array(step, np.int32)
  codes = np.array(codes, np.int32)[:, None]
  return Frames(codes, step, np.zeros_like(step))


def test_decoding_a_stream_without_its_start():
  on, off = CONFIG.note_on, CONFIG.note_off
  frames = frames_of(
    [off + 50, CONFIG.pedal_up, on + 60, 9, on + 60, 4, on + 61],
    [0, 5, 10, 20, 20, 25, 25],
  )
  score = CODEC.decode_frames(
    frames, origin_s=3.0, pedal_down=True, until_step=200
  )
  np.testing.assert_allclose(score.notes["onset_s"], [3.1, 3.2, 3.25])
  # Played again, then held to the end; no velocity tokens.
  np.testing.assert_allclose(score.notes["duration_s"], [0.1, 1.8, 1.75])
  assert set(score.notes["velocity"].tolist()) == {66}
  assert score.pedals["down"].tolist() == [True, False]
  open_end = CODEC.decode_frames(frames)
  np.testing.assert_allclose(open_end.notes["duration_s"], [0.1, 0.05, 0.01])


@pytest.mark.parametrize(
  ("code", "step", "message"),
  [
    (-1, 0, "frames must use their level"),
    (492, 0, r"'event' must be in -1\.\.491, got 492"),
    (CONFIG.note_on, -7, "0 s or later, got step -7"),
  ],
)
def test_impossible_frames_are_refused(code, step, message):
  with pytest.raises(ValueError, match=message):
    CODEC.decode_frames(frames_of([code], [step]))


def test_impossible_settings_are_refused():
  with pytest.raises(ValueError, match="longest_shift_s must be a whole"):
    EventCodecConfig(longest_shift_s=0.015)
  with pytest.raises(ValueError, match="velocity_bins must divide 128"):
    EventCodecConfig(velocity_bins=3)


# Contexts and targets.


def expected_sides(score, now_s, window, model_part):
  """(step, role, code) of the context and of the targets up to 400."""
  roles = [[], []]
  notes = notes_on_grid(score, now_s, longest_s=10.0)
  pedals = pedals_on_grid(score, now_s)
  sides = []
  for part in range(score.parts):
    roles[int(part != model_part)].append(part)
  context = []
  for role, parts in enumerate(roles):
    for part in parts:
      acts = acts_of(notes, pedals, part)
      state = []
      before = [down for step, down in pedals.get(part, []) if step < window]
      if before and before[-1]:
        state.append((window, -2, 0, CONFIG.pedal_down, None))
      inside = [
        act
        for act in acts
        if window <= act[0] < 0
        and not (act[1] == 0 and not _known(notes, part, act, window))
      ]
      for (owner, key), rows in notes.items():
        for on, off, velocity in rows:
          if owner == part and on < window < off:
            state.append((window, -1, key, CONFIG.note_on + key, velocity))
      together = sorted(state + inside, key=lambda act: act[:3])
      context += [
        (step, role, code) for step, code in tokens_of(together, window)
      ]
  sides.append(sorted(context, key=lambda row: row[:2]))
  model_acts = [
    act for act in acts_of(notes, pedals, model_part) if 0 <= act[0] < 400
  ]
  sides.append([(step, 0, code) for step, code in tokens_of(model_acts, 0)])
  return sides


def _known(notes, part, off_act, window):
  """Whether the context has the note-on of a note-off."""
  step, _, key, _, _ = off_act
  on = next(on for on, off, _ in notes[part, key] if off == step)
  return on >= window or step > window


@given(st.data(), nows, st.sampled_from([0.0, 0.5, 2.0, 10.0]))
def test_contexts_and_targets_follow_the_rules(
  draw_score, data, now_s, context_s
):
  score = draw_score(data, max_parts=2)
  part = data.draw(st.integers(0, score.parts - 1))
  context, targets = expected_sides(score, now_s, -round(context_s * 100), part)
  found = CODEC.encode_context(
    score, now_s, context_s=context_s, max_frames=10_000, model_part=part
  )
  assert rows_of(found) == context
  cut = CODEC.encode_context(
    score, now_s, context_s=context_s, max_frames=7, model_part=part
  )
  assert rows_of(cut) == context[-7:]
  model_frames = CODEC.encode_targets(
    score, now_s, seconds=4.0, model_part=part
  )
  assert rows_of(model_frames) == targets


@given(st.data(), nows)
def test_context_is_causal(draw_score, data, now_s):
  score = draw_score(data, max_parts=1)
  past = np.array(steps_of(score.notes["onset_s"] - now_s)) < 0
  pedal_past = np.array(steps_of(score.pedals["time_s"] - now_s)) < 0
  notes = score.notes[past].copy()
  end = np.array(steps_of(notes["onset_s"] + notes["duration_s"] - now_s))
  # A note that sounds at now may have any duration.
  notes["duration_s"][end >= 0] += 1.0
  future = draw_score(data, max_parts=1).shifted(now_s + 1.0)
  other = Score.from_arrays(
    **{
      name: np.concatenate([notes[name], future.notes[name]])
      for name in ("onset_s", "duration_s", "key", "velocity")
    },
    pedal=np.concatenate([score.pedals[pedal_past], future.pedals]),
  )
  one = CODEC.encode_context(score, now_s, max_frames=10_000)
  two = CODEC.encode_context(other, now_s, max_frames=10_000)
  assert rows_of(one) == rows_of(two)


def test_rules_at_now_have_pedal_and_keys():
  score = one_part(
    (0.0, 1.0, 60, 64), (0.5, 0.49, 62, 64), (0.2, 60.0, 64, 64),
    pedal=[(0.3, True), (1.0, False)],
  )  # fmt: skip

  def keys(now_s):
    return np.flatnonzero(CODEC.rules_at(score, now_s).sounding).tolist()

  # A note that ends at now still needs its note-off.
  assert keys(1.0) == [60, 64] and keys(1.01) == [64]
  assert keys(10.2) == [64] and keys(10.21) == []
  assert keys(0.2) == [60]
  assert bool(CODEC.rules_at(score, 1.0).pedal_down)
  assert not bool(CODEC.rules_at(score, 1.01).pedal_down)


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


# Chunks of generated music.


def test_a_history_grows_by_its_chunks():
  on, off = CONFIG.note_on, CONFIG.note_off
  history = one_part((0.0, 2.0, 60, 64), (1.0, 5.0, 64, 64), (0.5, 0.5, 67, 64))
  frames = frames_of(
    [off + 60, 49, CONFIG.velocity + 16, on + 60, on + 72, 9, off + 60],
    [0, 50, 50, 50, 50, 60, 60],
  )
  after = CODEC.append(history, frames, 2.0, end_step=200)
  rows = {
    (int(n["key"]), round(float(n["onset_s"]), 6)): float(n["duration_s"])
    for n in after.notes
  }
  assert rows == pytest.approx(
    {
      (60, 0.0): 2.0,
      (64, 1.0): 3.0,  # no note-off: it lasts to the chunk's end
      (67, 0.5): 0.5,
      (60, 2.5): 0.1,
      (72, 2.5): 1.5,
    }
  )
  assert np.flatnonzero(CODEC.rules_at(after, 4.0).sounding).tolist() == [
    64,
    72,
  ]


def test_long_notes_get_a_note_off():
  history = one_part((0.0, 9.5, 60, 64), (3.0, 6.5, 64, 64))
  nothing = frames_of([], [])
  ended = CODEC.complete(history, nothing, 9.5, 200)
  assert words(ended) == "W199 -60" and ended.step.tolist() == [199, 199]
  after = CODEC.append(history, ended, 9.5, end_step=200)
  assert np.flatnonzero(CODEC.rules_at(after, 11.5).sounding).tolist() == [64]
  # Notes that the chunk ends or starts do not change.
  ended = frames_of([CONFIG.note_off + 60, 9], [0, 10])
  assert CODEC.complete(history, ended, 9.5, 200) is ended


@given(
  shift_steps=st.integers(1, 250),
  last=st.one_of(st.none(), st.integers(0, 199)),
)
def test_silence_before_an_end_passes_in_legal_shifts(shift_steps, last):
  config = EventCodecConfig(longest_shift_s=shift_steps / 100)
  codec = EventCodec(config=config)
  history = one_part((0.0, 9.5, 60, 64))
  nothing = frames_of([], [])
  if last is not None:
    # A note at `last`, with the time shifts of the encoder.
    note = one_part((last / 100, 30.0, 72, 64))
    nothing = codec.encode_targets(note, 0.0, seconds=2.0)
  rules = codec.rules_at(history, 9.5)
  for code, step in zip(
    *codec.complete(history, nothing, 9.5, 200)[:2], strict=True
  ):
    assert codec.legal(0, code, rules, end_step=200)[code[0]]
    rules = codec.advance(rules, code)
    assert rules.step == step
  assert rules.step == 199
  assert np.flatnonzero(rules.sounding).tolist() == (
    [] if last is None else [72]
  )
