"""Examples of two players equal a slow, obvious reading of the rules."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings

from magenta_midi.cli.main import main
from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.batches import BatchStream
from magenta_midi.data.examples.examples import (
  EXAMPLE_DTYPE,
  Augmentation,
  cut_examples,
  frame_counts,
)
from magenta_midi.data.examples.partners import (
  MAX_DELAY_MS,
  MODES,
  PARTS,
  TURN_MS,
  check_shares,
  draw_partners,
  part_ids,
  split_piece,
  turn_starts,
)
from magenta_midi.midi.score import Score
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.frames import MODEL, PLAYER
from magenta_midi.tokens.note.codec import PEDAL_DOWN, PEDAL_UP, NoteCodec

CODEC = NoteCodec()
WINDOW = 400
PLAYERS = (MODEL, PLAYER)


@st.composite
def duets(draw):
  """Arguments of a melody and the rest, on the millisecond, from 0."""
  count = draw(st.integers(1, 50))

  def ints(low, high, size=count):
    return draw(st.lists(st.integers(low, high), min_size=size, max_size=size))

  gaps = draw(
    st.lists(
      st.sampled_from([0, 0, 3, 5, 7, 10, 40, 125, 500, 1900]),
      min_size=count,
      max_size=count,
    )
  )
  times = draw(
    st.lists(st.integers(0, 20_000), max_size=12, unique=True).map(sorted)
  )
  return dict(
    onset_s=np.cumsum([0, *gaps[1:]]) / 1000,
    duration_s=np.array(ints(1, 12_000)) / 1000,
    key=np.array(ints(30, 90)),
    velocity=np.array(ints(1, 127)),
    part=np.array(ints(0, 1)),
    pedal=[(t / 1000, i % 2 == 0, 1) for i, t in enumerate(times)],
    part_names=("Melody", "piano"),
  )


def example(now_ms=0, context_steps=1000, **fields):
  rows = np.zeros(1, EXAMPLE_DTYPE)
  rows["now_ms"] = now_ms
  rows["tempo"] = rows["velocity_gain"] = 1.0
  rows["context_steps"] = context_steps
  for name, value in fields.items():
    rows[name] = value
  return rows


def played(corpus, row):
  """What each player plays, as a score of two parts (0 self)."""
  now, reach = int(row["now_ms"][0]), 10 * int(row["context_steps"][0])
  first = now - reach - 10_010
  events = corpus.piece(0)
  if MODES[row[0]["mode"]] == "turns":
    # Turns are those of the stretch that is cut.
    ends = np.searchsorted(events["time_ms"], [first, now + 10 * WINDOW])
    events = events[slice(*ends)]
  events, part, _ = split_piece(
    events, row[0], False, float(first), now - reach - 5.0
  )
  is_note = events["key"] < PEDAL_DOWN
  notes, pedals = events[is_note], events[~is_note]
  return Score.from_arrays(
    onset_s=notes["time_ms"] / 1000,
    duration_s=notes["duration_ms"] / 1000,
    key=notes["key"],
    velocity=notes["velocity"],
    part=part[is_note],
    pedal=[
      (time / 1000, key == PEDAL_DOWN, int(player))
      for time, key, player in zip(
        pedals["time_ms"], pedals["key"], part[~is_note], strict=True
      )
    ],
    part_names=("self", "partner"),
  )


def context_of(score, now_ms, context_steps):
  """The codec's context, with the partner's sounding notes HELD."""
  frames = CODEC.encode_context(
    score, now_ms / 1000, context_s=context_steps / 100, max_frames=1000
  )
  for codes, step, part in zip(*frames, strict=True):
    if part == PLAYER and codes[1] < PEDAL_DOWN:
      for note in score.notes[score.notes["part"] == PLAYER]:
        offset_ms = 1000 * note["onset_s"] - now_ms
        end_ms = offset_ms + 1000 * note["duration_s"]
        onset_step = int(np.floor(offset_ms / 10 + 0.5 + 1e-6))
        if (
          note["key"] == codes[1]
          and max(onset_step, -context_steps) == step
          and np.floor(end_ms / 10 + 0.5 + 1e-6) > 0
        ):
          codes[3] = CODEC.config.held
  return frames


def stream_of(score, now_ms, delay_ms):
  """Inputs as (ms known, player, step, codes), and the target at each."""
  frames = []
  for player in PLAYERS:
    events = CODEC.encode_targets(
      score, now_ms / 1000, seconds=WINDOW / 100, model_part=player
    )
    for codes, step in zip(events.codes, events.step, strict=True):
      if player == PLAYER and codes[1] < PEDAL_DOWN:
        codes = np.append(codes[:3], CODEC.config.held)
      known = 10 * int(step) + (delay_ms if player == PLAYER else 0)
      frames.append((known, player, int(step), codes.tolist()))
  frames.sort(key=lambda frame: frame[:2])
  targets = []
  for position in range(len(frames) + 1):
    later = [f for f in frames[position:] if f[1] == MODEL]
    targets.append(later[0][3] if later else CODEC.end_frame().tolist())
  return frames, targets


@settings(max_examples=200, deadline=None, phases=[Phase.generate])
@given(
  duets(),
  st.integers(0, 2500),
  st.sampled_from([0, 1, 130, 1000]),
  st.sampled_from(MODES[1:]),
  st.booleans(),
  st.integers(0, 2),
  st.integers(0, MAX_DELAY_MS),
  st.integers(0, 99),
)
def test_examples_equal_the_rules(
  score, now_step, context_steps, mode, swapped, pedal, delay_ms, turns
):
  score = Score.from_arrays(**score)
  corpus = pack_scores([("piece", score)])
  last_s = max(score.notes["onset_s"][-1], *score.pedals["time_s"], 0.0)
  # Packing shortens silences over 3 s: compare pieces that have none.
  assume(corpus.lengths_ms[0] == round(1000 * last_s))
  now_ms = now_step * 10
  row = example(
    now_ms,
    context_steps,
    mode=MODES.index(mode),
    swapped=swapped,
    pedal=pedal,
    delay_ms=delay_ms,
    turns=turns,
  )
  duet = played(corpus, row)
  batch, capped = cut_examples(
    CODEC,
    [corpus],
    row,
    context_frames=256,
    target_frames=256,
    target_steps=WINDOW,
  )
  assert not capped[0]
  to_codes = CODEC.vocabulary.to_codes
  partner = 1 + delay_ms // 20

  context = context_of(duet, now_ms, context_steps)
  count = len(context.step)
  codes = to_codes(batch.context_ids[0])
  np.testing.assert_array_equal(codes[:count, :3], context.codes[:, :3])
  # What remains of a note is a difference of floats: an edge may fall so or
  # so; HELD is exact.
  held = context.codes[:, 3] == CODEC.config.held
  np.testing.assert_array_equal(codes[:count, 3] == CODEC.config.held, held)
  assert (np.abs(codes[:count, 3] - context.codes[:, 3]) <= 1).all()
  np.testing.assert_array_equal(batch.context_time[0, :count], context.step)
  np.testing.assert_array_equal(
    batch.context_part[0, :count], partner * (context.part == PLAYER)
  )
  assert not batch.context_ids[0, count:].any()

  frames, targets = stream_of(duet, now_ms, delay_ms)
  codes = to_codes(batch.input_ids[0])
  assert not batch.input_ids[0, 0].any()
  assert not batch.input_ids[0, len(frames) + 1 :].any()
  for position, (_, player, step, expected) in enumerate(frames, 1):
    assert codes[position].tolist() == expected
    assert batch.input_time[0, position] == step
    assert batch.input_part[0, position] == (partner if player else 0)
  found = to_codes(batch.targets[0, : len(targets)]).tolist()
  assert found == targets
  weights = batch.weights[0]
  assert weights[: len(targets)].tolist() == (np.array(targets) >= 0).tolist()
  assert not weights[len(targets) :].any()

  counts = frame_counts(CODEC, [corpus], row, WINDOW)
  assert [int(c[0]) for c in counts] == [count, len(frames)]
  # Every event is on one side of now.
  assert (batch.context_time[0, :count] < 0).all() or context_steps == 0
  assert (batch.input_time[0] >= 0).all()


def two_voices(seconds=60.0, name="Melody"):
  """Quarters above, two close voices of eighths below, pedal every second."""
  quarters, eighths = np.arange(0, seconds, 0.5), np.arange(0, seconds, 0.25)
  low = 44 + 3 * np.sin(eighths)
  return Score.from_arrays(
    onset_s=np.concatenate([quarters, eighths, eighths]),
    duration_s=np.full(len(quarters) + 2 * len(eighths), 0.2),
    key=np.concatenate([70 + 5 * np.sin(quarters), low, low - 4]).astype(int),
    velocity=np.full(len(quarters) + 2 * len(eighths), 64),
    part=np.repeat([0, 1], [len(quarters), 2 * len(eighths)]),
    pedal=[(t / 2 + 0.1, t % 2 == 0, 1) for t in range(int(2 * seconds))],
    part_names=(name, "piano"),
  )


def stream(corpora, seed=0, **partners):
  return BatchStream(
    codec=CODEC,
    corpora=corpora,
    shares=[1.0] * len(corpora),
    augmentation=Augmentation(),
    frames_per_batch=600,
    target_steps=WINDOW,
    context_steps=1000,
    seed=seed,
    partners=partners or dict(solo=1.0),
  )


def test_modes_are_drawn_by_their_shares():
  with_melody = pack_scores([("song", two_voices())])
  without = pack_scores([("solo", two_voices(name="right"))])
  assert with_melody.has_melody.tolist() == [True]
  assert without.has_melody.tolist() == [False]
  examples = np.zeros(40_000, EXAMPLE_DTYPE)
  examples["corpus"] = np.arange(len(examples)) % 2
  shares = dict(solo=0.3, tracks=0.25, hands=0.25, turns=0.2)
  draw_partners(
    np.random.default_rng(0), [with_melody, without], examples, shares
  )
  found = [
    np.bincount(examples["mode"][corpus::2], minlength=4) / 20_000
    for corpus in range(2)
  ]
  np.testing.assert_allclose(found[0], [0.3, 0.25, 0.25, 0.2], atol=0.015)
  # A piece without a melody track is split by hand.
  np.testing.assert_allclose(found[1], [0.3, 0, 0.5, 0.2], atol=0.015)
  two = examples["mode"] > 0
  for field in ("swapped", "pedal", "delay_ms", "turns"):
    assert not examples[field][~two].any()
  assert np.unique(examples["delay_ms"][two]).tolist() == list(range(151))
  assert abs(examples["swapped"][two].mean() - 0.5) < 0.02
  ids = part_ids(np.array([0, 1, 1, 1, 1]), np.array([150, 0, 19, 20, 150]))
  assert ids.tolist() == [0, 1, 1, 2, PARTS - 1]


@pytest.mark.parametrize(
  ("shares", "message"),
  [
    (dict(solo=1.0, duo=1.0), "unknown partners duo"),
    (dict(solo=0.0), "one must be above 0"),
    (dict(solo=1.0, hands=-0.5), "must be a number from 0"),
    ({}, "one must be above 0"),
  ],
)
def test_shares_that_cannot_be_drawn(shares, message):
  with pytest.raises(ValueError, match=message):
    check_shares(shares)


def test_partners_leave_solo_examples_as_they_are():
  corpora = [pack_scores([("song", two_voices())])]
  solo, mixed = stream(corpora), stream(corpora, solo=0.5, hands=0.5)

  def contexts(batches):
    for _ in range(150):
      for row in batches.next().context_time:
        yield row[row < 0].tobytes()

  seen = set(contexts(mixed))
  found = [row in seen for row in contexts(solo)]
  # The same pieces at the same *now*; half of them whole. Batches leave the
  # stream in another order, so some are still to come.
  assert 0.25 < np.mean(found) < 0.75


def test_a_stream_with_partners_continues_exactly():
  corpora = [pack_scores([("song", two_voices())])]
  shares = dict(solo=0.3, tracks=0.25, hands=0.25, turns=0.2)
  unbroken, broken = stream(corpora, **shares), stream(corpora, **shares)
  for _ in range(3):
    unbroken.next(), broken.next()
  other = stream(corpora, **shares)
  other.restore(broken.state())
  partners = 0
  for _ in range(40):
    expected, found = unbroken.next(), other.next()
    partners += np.count_nonzero(expected.input_part)
    for a, b in zip(expected, found, strict=True):
      np.testing.assert_array_equal(a, b)
  assert partners > 100
  state = broken.state()
  state["examples"] = state["examples"][:-3]
  with pytest.raises(ValueError, match="of an earlier version"):
    other.restore(state)


def test_hands_follow_the_music():
  # Two voices two octaves apart wander over the keyboard together.
  steps = np.arange(400)
  middle = 60 + 25 * np.sin(steps / 40)
  score = Score.from_arrays(
    onset_s=np.repeat(steps * 0.2, 2),
    duration_s=np.full(800, 0.15),
    key=np.stack([middle - 12, middle + 12], axis=1).astype(int).ravel(),
    velocity=np.full(800, 64),
  )
  upper = pack_scores([("wandering", score)]).events["upper"]
  assert np.mean(upper == (np.arange(800) % 2 == 1)) > 0.97
  # Alone, a note is played by the hand of its half of the keyboard.
  for key, is_upper in ((40, False), (80, True)):
    alone = Score.from_arrays(
      onset_s=[0.0], duration_s=[1.0], key=[key], velocity=[64]
    )
    assert pack_scores([("alone", alone)]).events["upper"][0] == is_upper


@settings(max_examples=100)
@given(
  st.lists(st.integers(0, 3000), min_size=1, max_size=80),
  st.integers(0, 2**32 - 1),
)
def test_turns_change_hands_at_onsets(gaps, seed):
  onset_ms = np.cumsum(gaps)
  starts = turn_starts(onset_ms, seed, float(onset_ms[0]))
  assert np.isin(starts, onset_ms).all()
  assert (np.diff(starts) > 0).all()
  # A start moves at most a second to its gap, or waits for the next note.
  shortest = TURN_MS[0] - 2000
  assert (np.diff(starts) >= shortest).all()
  waits = max(gaps[1:], default=0)
  longest = TURN_MS[1] + 2000 + waits
  assert (np.diff(starts) <= longest).all()


def test_a_turn_starts_after_the_widest_gap():
  # Phrases of ten eighths, a second apart.
  onset_ms = np.concatenate(
    [start + np.arange(10) * 250 for start in range(0, 60_000, 3250)]
  )
  for seed in range(20):
    starts = turn_starts(onset_ms, seed, 0.0)
    assert len(starts) > 4
    phrases = (starts % 3250 == 0).mean()
    assert phrases > 0.4


def test_the_pedal_is_lifted_at_the_end_of_a_turn():
  corpus = pack_scores([("song", two_voices())])
  for seed in range(10):
    row = example(30_000, mode=MODES.index("turns"), turns=seed)[0]
    events, part, _ = split_piece(corpus.piece(0), row, False, 0.0, 20_000.0)
    assert (np.diff(events["time_ms"]) >= 0).all()
    is_pedal = events["key"] >= PEDAL_DOWN
    for player in PLAYERS:
      keys = events["key"][is_pedal & (part == player)]
      # Down and up in turn, from down; nothing stays down for the other.
      assert (keys[::2] == PEDAL_DOWN).all()
      assert (keys[1::2] == PEDAL_UP).all()
    hands_over = np.flatnonzero(np.diff(part[~is_pedal])) + 1
    times = events["time_ms"][~is_pedal][hands_over]
    owners = part[~is_pedal][hands_over]
    assert len(times) > 3
    for time, owner in zip(times, owners, strict=True):
      before = events["time_ms"] < time
      keys = events["key"][before & is_pedal & (part != owner)]
      assert keys[-1:].tolist() in ([], [PEDAL_UP])


def test_event_knows_no_partner():
  corpus = pack_scores([("song", two_voices())])
  with pytest.raises(ValueError, match="knows no partner"):
    cut_examples(
      EventCodec(),
      [corpus],
      example(10_000, mode=MODES.index("hands")),
      context_frames=64,
      target_frames=64,
      target_steps=WINDOW,
    )


def test_a_partner_left_out_is_not_there():
  corpus = pack_scores([("song", two_voices())])
  rows = example(10_000, mode=MODES.index("tracks"), pedal=1)
  shape = dict(context_frames=256, target_frames=128, target_steps=WINDOW)
  heard, _ = cut_examples(CODEC, [corpus], rows, **shape)
  alone, _ = cut_examples(CODEC, [corpus], rows, other_part=False, **shape)
  assert heard.context_part.any() and heard.input_part.any()
  assert not alone.context_part.any() and not alone.input_part.any()
  own = heard.input_ids[0][(heard.input_part[0] == 0)].any(axis=1).sum()
  assert alone.input_ids[0].any(axis=1).sum() == own > 0


@pytest.mark.parametrize(
  ("partners", "message"),
  [
    ("solo:0.5,hands:much", "expected NAME:SHARE, got 'hands:much'"),
    ("duo", "unknown partners duo. Known: solo, tracks, hands, turns"),
    ("solo:0", "one must be above 0, got solo:0"),
  ],
)
def test_mistakes_are_one_line(capsys, tmp_path, partners, message):
  with pytest.raises(SystemExit) as caught:
    main(["train", "--data", str(tmp_path), "--partners", partners])
  assert caught.value.code == 2
  error = capsys.readouterr().err
  assert message in error
  assert len(error.strip().splitlines()) == 1
