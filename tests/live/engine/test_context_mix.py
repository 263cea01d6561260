import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.engine.context_mix import inject
from magenta_midi.midi import Score
from magenta_midi.midi.analysis.analysis import find_key
from magenta_midi.midi.analysis.chords import QUALITIES, Chord, find_chord

MODES = ("both", "interleave", "harmonic", "harmonic-strict", "velocity")


def random_score(seed, count, *, seconds=20.0, pedal=True, keys=(30, 100)):
  rng = np.random.default_rng(seed)
  changes = np.sort(rng.uniform(0, seconds, 8))
  return Score.from_arrays(
    onset_s=rng.uniform(0, seconds, count),
    duration_s=rng.uniform(0.05, 1.0, count),
    key=rng.integers(*keys, count),
    velocity=rng.integers(1, 128, count),
    pedal=[(t, i % 2 == 0) for i, t in enumerate(changes)] if pedal else None,
  )


pairs = st.tuples(
  st.integers(0, 2**31), st.integers(0, 80), st.integers(0, 80), st.booleans()
)


def scores(pair):
  """Player and own; built in the test, as the type checker draws numbers."""
  seed, player, own, pedal = pair
  return (
    random_score(seed, player, pedal=pedal),
    random_score(seed + 1, own, pedal=pedal),
  )


ratios = st.floats(0.0, 1.0)


def rows(score, *names):
  names = names or ("onset_s", "duration_s", "key", "velocity")
  return {tuple(note[name] for name in names) for note in score.notes}


@given(pairs, st.sampled_from(MODES), ratios)
def test_nothing_is_invented_and_nobody_elses_music_is_changed(
  pair, mode, ratio
):
  player, own = scores(pair)
  before = rows(player), rows(own)
  told_own, told_partner = inject(player, own, mode, mix_ratio=ratio)
  assert (rows(player), rows(own)) == before
  where = "onset_s", "key"
  if mode == "interleave":
    assert rows(told_own, *where) <= rows(own, *where) | rows(player, *where)
    assert rows(told_own, *where) >= rows(player, *where)
    assert len(told_partner) == 0
  else:
    assert rows(told_own, *where) <= rows(own, *where)
    assert told_partner.equals(player)
  assert told_own.parts == told_partner.parts == 1


@given(pairs)
def test_both_keeps_the_parts_apart_and_as_they_are(pair):
  player, own = scores(pair)
  told_own, told_partner = inject(player, own, "both")
  assert told_own.equals(own) and told_partner.equals(player)


def test_there_are_no_other_modes():
  score = Score.empty()
  with pytest.raises(ValueError, match="or velocity, got 'loud'"):
    inject(score, score, "loud")


# interleave


@given(st.integers(0, 2**31), st.integers(1, 100), st.integers(0, 100), ratios)
def test_own_notes_have_the_mix_ratios_share(seed, players, owns, ratio):
  # Keys apart, so that none becomes one with another.
  player = random_score(seed, players, keys=(60, 100))
  own = random_score(seed + 1, owns, keys=(30, 60))
  told, _ = inject(player, own, "interleave", mix_ratio=ratio)
  kept = int((told.notes["key"] < 60).sum())
  assert len(told) == kept + len(player)
  assert kept <= ratio * len(told) + 1e-6
  # One more would be too many, or there is no more.
  more = kept + 1
  assert kept == len(own) or more > ratio * (len(told) + 1) - 1e-6


def test_the_choice_hardly_changes_while_the_window_moves():
  player = random_score(1, 600, seconds=40, keys=(60, 100), pedal=False)
  own = random_score(2, 600, seconds=40, keys=(30, 60), pedal=False)

  def chosen(start_s):
    told, _ = inject(
      player.crop(start_s, start_s + 20),
      own.crop(start_s, start_s + 20),
      "interleave",
    )
    return {
      (round(float(note["onset_s"]) + start_s, 6), int(note["key"]))
      for note in told.notes
      if note["key"] < 60 and 1 <= note["onset_s"] < 19
    }

  before, after = chosen(5.0), chosen(5.4)
  common = {n for n in before | after if 6.4 <= n[0] < 24}
  assert len(common) > 80
  assert len((before ^ after) & common) <= 0.1 * len(common)
  # By chance, two choices of 0.3 / 0.7 would differ in about half of them.
  other = {n for n in chosen(15.0) if 16 <= n[0] < 24}
  assert len(other & {n for n in before if n[0] >= 16}) > 0.7 * len(other)


def test_without_the_player_own_music_stays():
  own = random_score(3, 20)
  told, _ = inject(Score.empty(), own, "interleave", mix_ratio=0.3)
  assert rows(told) == rows(own)


# harmonic


def chords(keys, seconds=2.0):
  """Chords one after the other."""
  onset = [i * seconds for i, chord in enumerate(keys) for _ in chord]
  flat = [key for chord in keys for key in chord]
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(flat), seconds - 0.05),
    key=flat,
    velocity=np.full(len(flat), 70),
  )


TURNAROUND = [[48, 64, 67], [45, 60, 64], [50, 62, 65, 69], [43, 62, 65, 71]]


def chromatic(times, keys=range(60, 72)):
  """Every key at each of the times."""
  keys = list(keys)
  return Score.from_arrays(
    onset_s=np.repeat(times, len(keys)),
    duration_s=np.full(len(times) * len(keys), 0.1),
    key=np.tile(keys, len(times)),
    velocity=np.full(len(times) * len(keys), 80),
  )


@pytest.mark.parametrize("by", range(12))
def test_what_stays_agrees_with_the_chord_and_the_key(by):
  player = chords([[key + by for key in chord] for chord in TURNAROUND])
  own = chromatic([1.0, 3.0, 5.0, 7.0])
  told, _ = inject(player, own, "harmonic")
  # C Am Dm G7, and what of C major is no semitone above their tones.
  allowed = [
    {0, 4, 7, 2, 9, 11},
    {9, 0, 4, 2, 7, 11},
    {2, 5, 9, 0, 4, 7, 11},
    {7, 11, 2, 5, 9, 4},
  ]
  for onset_s, tones in zip([1.0, 3.0, 5.0, 7.0], allowed, strict=True):
    notes = told.notes[told.notes["onset_s"] == onset_s]
    assert {(key - by) % 12 for key in notes["key"]} == tones


def likely_chords(player, time_s):
  """Tones of the chords that fit best around a time, by the definition."""
  weights, lowest = np.zeros(12), None
  for note in player.notes:
    end_s = min(note["onset_s"] + note["duration_s"], time_s + 0.5)
    seconds = end_s - max(note["onset_s"], time_s - 1.0)
    if seconds > 0:
      weights[note["key"] % 12] += seconds
      lowest = min(int(note["key"]), 128 if lowest is None else lowest)
  if not weights.any():
    return [frozenset()]
  best = find_chord(weights, lowest)
  heard = weights**0.6 / np.linalg.norm(weights**0.6)
  near = []
  for root in range(12):
    for quality in QUALITIES:
      chord = Chord(root, quality, 0.0)
      tones = sorted(chord.pitch_classes)
      fit = heard[tones].sum() / len(tones) ** 0.5
      fit += 0.01 * (lowest is not None and lowest % 12 == root)
      if fit > best.score - 1e-5:
        near.append(chord.pitch_classes)
  return near


@given(pairs)
def test_every_own_note_that_stays_agrees_and_no_other_does(pair):
  player, own = scores(pair)
  if not len(player):
    return
  told, _ = inject(player, own, "harmonic")
  stayed = rows(told, "onset_s", "key")
  key = find_key(player)
  intervals = (
    [0, 2, 3, 5, 7, 8, 10, 11] if key.minor else [0, 2, 4, 5, 7, 9, 11]
  )
  scale = {(key.tonic + interval) % 12 for interval in intervals}
  for note in own.notes:
    tone = int(note["key"]) % 12
    agrees = {
      tone in chord or (tone in scale and (tone - 1) % 12 not in chord)
      for chord in likely_chords(player, note["onset_s"])
    }
    assert ((note["onset_s"], note["key"]) in stayed) in agrees


@given(pairs, st.sampled_from(["harmonic", "harmonic-strict"]))
def test_what_stays_is_softer(pair, mode):
  player, own = scores(pair)
  told, _ = inject(player, own, mode)
  if not len(player):
    assert told.equals(own)
    return
  loud = {(n["onset_s"], n["key"]): n["velocity"] for n in own.notes}
  for note in told.notes:
    before = loud[note["onset_s"], note["key"]]
    assert note["velocity"] < before or before == note["velocity"] == 1


def sounding(score):
  """Spans of each note, pedal included, by the definition: (key, from, to)."""
  for note in score.notes:
    end = note["onset_s"] + note["duration_s"]
    down = False
    for change in score.pedals:
      if change["time_s"] <= end:
        down = bool(change["down"])
    if down:
      end = min(
        (c["time_s"] for c in score.pedals if c["time_s"] > end),
        default=np.inf,
      )
    yield int(note["key"]), note["onset_s"], end


@given(pairs)
def test_strictly_nothing_harsh_sounds_together(pair):
  player, own = scores(pair)
  told, _ = inject(player, own, "harmonic-strict")
  theirs = list(sounding(player))
  for key, from_s, to_s in sounding(told):
    for other, other_from_s, other_to_s in theirs:
      if from_s < other_to_s and other_from_s < to_s:
        assert (key - other) % 12 not in (1, 6, 11)


@given(pairs)
def test_strictly_is_stricter(pair):
  player, own = scores(pair)
  strict, _ = inject(player, own, "harmonic-strict")
  lenient, _ = inject(player, own, "harmonic")
  assert rows(strict) <= rows(lenient)


def test_strictly_consonant_notes_stay():
  player = chords([[48, 64, 67]])
  told, _ = inject(player, chromatic([1.0]), "harmonic-strict")
  # B is a major seventh over C; D and A clash with nothing of a C chord.
  assert set(told.notes["key"] % 12) == {0, 2, 4, 7, 9}


# velocity


@given(pairs)
def test_own_notes_lie_beneath_the_player(pair):
  player, own = scores(pair)
  told, _ = inject(player, own, "velocity")
  if not len(player) or not len(own):
    assert told.equals(own)
    return
  assert rows(told, "onset_s", "duration_s", "key") == rows(
    own, "onset_s", "duration_s", "key"
  )
  softer = told.notes["velocity"] <= own.notes["velocity"]
  assert softer.all()
  onset_s, velocity = player.notes["onset_s"], player.notes["velocity"]
  for note in told.notes:
    at = int(np.searchsorted(onset_s, note["onset_s"]))
    low = max(0, min(at - 4, len(velocity) - 8))
    loudness = velocity[low : low + 8].mean()
    assert note["velocity"] < loudness or note["velocity"] == 1


def test_accents_stay_accents():
  player = random_score(1, 40)
  own = chromatic([1.0], keys=[60, 64])
  notes = own.notes.copy()
  notes["velocity"] = [60, 110]
  own = Score(notes=notes)
  told, _ = inject(player, own, "velocity")
  soft, loud = told.notes["velocity"]
  assert soft < loud
