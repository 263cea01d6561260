import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.analysis.analysis import Analysis, Key
from magenta_midi.midi.analysis.description import Description, describe
from magenta_midi.style.text.attributes import levels_of
from magenta_midi.style.text.captions import (
  ATTRIBUTES,
  caption,
  nonsense,
  opposites,
  pairs,
)
from magenta_midi.style.text.facts import PieceFacts, piece_facts
from magenta_midi.style.text.phrases import load_phrases
from magenta_midi.style.text.words import split_words

PHRASES = load_phrases()
SCORED = ("speed", "loudness", "density", "register", "mode")

CHOPIN = piece_facts("Nocturne", "Chopin, Frédéric", "classical")
POP = piece_facts("我爱你", "新乐尘符", "pop")


def _description(**changed: float) -> Description:
  """A description of typical music, with some changes."""
  measures = dict(
    notes_per_s=7.0,
    median_ioi_s=0.22,
    evenness=0.75,
    velocity_mean=68.0,
    velocity_std=10.0,
    key_mean=63.5,
    key_std=10.5,
    polyphony=3.2,
    articulation=1.1,
    pedal_share=0.7,
    mode=0.0,
    key_clarity=0.83,
  )
  rest = dict(
    tempo_bpm=110.0,
    swing_ratio=1.1,
    syncopation=0.03,
    chord_share=0.4,
    single_line=0.1,
    arpeggio=0.2,
    accompaniment=0.8,
    stride=0.1,
    runs=0.05,
    key_low=50.0,
    key_high=77.0,
    loudness_trend=0.0,
  )
  analysis = {k: changed.get(k, v) for k, v in measures.items()}
  return Description(
    analysis=Analysis(**analysis),
    key=Key(0, analysis["mode"] < 0, analysis["key_clarity"]),
    **{k: changed.get(k, v) for k, v in rest.items()},
  )


SHARE = st.floats(0.0, 1.0)
OR_NAN = st.just(math.nan)
DESCRIPTIONS = st.builds(
  lambda **measures: _description(**measures),
  notes_per_s=st.floats(0.2, 60.0),
  median_ioi_s=st.floats(0.03, 5.0),
  evenness=SHARE,
  velocity_mean=st.floats(1.0, 127.0),
  velocity_std=st.floats(0.0, 60.0),
  key_mean=st.floats(0.0, 127.0),
  key_std=st.floats(0.0, 40.0),
  polyphony=st.floats(1.0, 20.0),
  articulation=st.floats(0.01, 30.0),
  pedal_share=SHARE,
  mode=st.floats(-1.0, 1.0),
  key_clarity=SHARE,
  tempo_bpm=st.floats(30.0, 240.0) | OR_NAN,
  swing_ratio=st.floats(1.0, 4.0) | OR_NAN,
  syncopation=SHARE,
  chord_share=SHARE,
  single_line=SHARE,
  arpeggio=SHARE,
  accompaniment=SHARE,
  stride=SHARE,
  runs=SHARE,
  loudness_trend=st.floats(-1.0, 1.0),
)
FACTS = st.builds(
  PieceFacts,
  composer=st.sampled_from(
    ["", "frédéric chopin", "felix mendelssohn-bartholdy", "周杰伦"]
  ),
  forms=st.lists(
    st.sampled_from(sorted(PHRASES.forms)), max_size=2, unique=True
  ).map(tuple),
  period=st.sampled_from(["", *PHRASES.periods]),
  genre=st.sampled_from(["", *PHRASES.genres]),
)
SEEDS = st.integers(0, 2**32 - 1)

# Captions must not match a held-out sentence around any words.
HELD_OUT = [
  re.compile(re.escape(frame.replace("{}", "\0")).replace("\0", ".+"))
  for frame in PHRASES.held_out_frames
]


@pytest.fixture
def rng() -> np.random.Generator:
  return np.random.default_rng(5)


@given(FACTS, DESCRIPTIONS, SEEDS)
def test_captions_are_short_plain_and_without_held_out_words(
  facts, description, seed
):
  rng = np.random.default_rng(seed)
  for _ in range(4):
    text = caption(facts, description, rng)
    words = split_words(text)
    assert 1 <= len(words) <= 50
    assert text == text.lower() == text.strip() and "  " not in text
    assert not PHRASES.held_out_words & set(words)
    assert not any(frame.search(text) for frame in HELD_OUT)


def test_most_captions_are_of_1_to_12_words_and_differ(rng, busy):
  description = describe(busy)
  texts = [caption(CHOPIN, description, rng) for _ in range(2000)]
  lengths = [len(split_words(text)) for text in texts]
  assert np.mean(np.array(lengths) <= 12) > 0.9
  assert 0.1 < np.mean(np.array(lengths) == 1) < 0.5
  assert len(set(texts)) > 1000


@given(FACTS, DESCRIPTIONS, SEEDS)
def test_a_seed_gives_a_caption(facts, description, seed):
  one, other = (
    caption(facts, description, np.random.default_rng(seed)) for _ in range(2)
  )
  assert one == other


# Plain words, measures that exclude each, and words that may contain it.
OPPOSITES = [
  ("slow", dict(median_ioi_s=0.1), "slow song|slow movement"),
  ("fast", dict(median_ioi_s=0.6), "fast song"),
  ("soft", dict(velocity_mean=90.0), "(from )?soft to loud|loud (and|to) soft"),
  ("loud", dict(velocity_mean=35.0), "soft to loud|(from )?loud (and|to) soft"),
  ("sparse", dict(notes_per_s=15.0), "-"),
  ("dense", dict(notes_per_s=3.0), "-"),
  ("minor", dict(mode=0.3), "-"),
  ("major", dict(mode=-0.3), "-"),
]


@pytest.mark.parametrize(("word", "measures", "other"), OPPOSITES)
def test_an_opposite_occurs_only_with_not(word, measures, other, rng):
  description = _description(**measures)
  denied = re.compile(
    rf"\b(not|never|isn't)( (at|all|too|very|so)){{0,2}} {word}|\b({other})\b"
  )
  denials = 0
  for _ in range(1200):
    text = caption(PieceFacts(), description, rng)
    denials += len(denied.findall(text))
    assert word not in denied.sub("", text).split(), text
  assert denials


@pytest.mark.parametrize(("word", "measures", "other"), OPPOSITES)
def test_clear_levels_occur_often(word, measures, other, rng):
  opposite = dict(zip(*[iter(word for word, *_ in OPPOSITES)] * 2, strict=True))
  opposite |= {high: low for low, high in opposite.items()}
  description = _description(**measures)
  count = sum(
    opposite[word] in caption(PieceFacts(), description, rng).split()
    for _ in range(1000)
  )
  assert count > 60


def test_typical_music_has_no_extreme_words(rng):
  for _ in range(1000):
    text = caption(PieceFacts(), _description(), rng)
    assert not {"extremely", "fortissimo", "presto"} & set(text.split())


def test_facts_occur(rng):
  texts = " ".join(caption(CHOPIN, _description(), rng) for _ in range(500))
  for word in (
    "chopin",
    "frederic chopin",
    "nocturne",
    "romantic",
    "classical",
  ):
    assert word in texts
  texts = " ".join(caption(POP, _description(), rng) for _ in range(500))
  assert "pop" in texts and texts.isascii()


def test_phrases_of_moods_and_textures_occur(rng):
  storm = _description(median_ioi_s=0.1, velocity_mean=95.0, mode=-0.2)
  texts = {caption(PieceFacts(), storm, rng) for _ in range(2000)}
  assert "stormy" in texts
  stride = _description(stride=0.7, median_ioi_s=0.12, notes_per_s=14.0)
  texts = " ".join(caption(PieceFacts(), stride, rng) for _ in range(500))
  assert "stride" in texts


@pytest.mark.parametrize(
  ("name", "low", "high"),
  [
    ("speed", dict(median_ioi_s=0.6), dict(median_ioi_s=0.1)),
    ("loudness", dict(velocity_mean=30.0), dict(velocity_mean=100.0)),
    ("density", dict(notes_per_s=2.0), dict(notes_per_s=20.0)),
    ("register", dict(key_mean=45.0), dict(key_mean=80.0)),
    ("mode", dict(mode=-0.4), dict(mode=0.4)),
    ("pedal", dict(pedal_share=0.0), dict(pedal_share=1.0)),
    ("trend", dict(loudness_trend=-0.8), dict(loudness_trend=0.8)),
  ],
)
def test_levels(name, low, high):
  assert levels_of(_description())[name] == ("middle", False)
  assert levels_of(_description(**low))[name] == ("low", True)
  assert levels_of(_description(**high))[name] == ("high", True)


def test_unmeasurable_attributes_have_no_level():
  assert "swing" not in levels_of(_description(swing_ratio=math.nan))
  assert "stride" not in levels_of(_description(stride=0.0))


def test_attributes_are_those_of_the_phrases():
  assert list(ATTRIBUTES) == list(PHRASES.attributes)
  for measure, low, high in ATTRIBUTES.values():
    assert low < high and isinstance(measure(_description()), float)


@pytest.mark.parametrize("name", SCORED)
def test_pairs_are_opposites_in_one_sentence(name):
  words = {held_out: pairs(name, held_out) for held_out in (False, True)}
  assert not set(words[False]) & set(words[True])
  held_out = PHRASES.held_out_words
  for held, found in words.items():
    assert len(found) >= 24
    for low, high in found:
      assert low != high
      assert bool(held_out & set(low.split())) == held
      assert bool(held_out & set(high.split())) == held
  assert all(
    any(frame.fullmatch(text.replace("an ", "a ")) for frame in HELD_OUT)
    for pair in words[True][8:]
    for text in pair
  )


def test_pairs_of_the_brief():
  assert ("slow", "fast") in pairs("speed", False)
  assert ("minor", "major") in pairs("mode", False)
  with pytest.raises(ValueError, match=r"must be one of speed, .* got 'pedal'"):
    pairs("pedal", True)


def test_nonsense_has_words_but_none_of_music(rng):
  music = {"slow", "fast", "soft", "loud", "minor", "major", "waltz", "piano"}
  texts = [nonsense(rng) for _ in range(2000)]
  for text in texts:
    words = set(split_words(text))
    assert not words & music and not words & PHRASES.held_out_words
  assert len(set(texts)) > 1000
  assert 0.05 < np.mean([not text.isascii() for text in texts]) < 0.3


@given(st.integers(0, 2**32))
def test_opposites_name_both_levels_of_a_clear_attribute(seed):
  rng = np.random.default_rng(seed)
  assert opposites(_description(), rng) is None
  true, false = opposites(_description(notes_per_s=20.0), rng)
  stated, untrue = set(split_words(true)), set(split_words(false))
  dense, sparse = (PHRASES.attributes["density"][x] for x in ("high", "low"))

  def words(level) -> set[str]:
    kinds = (level.adjectives, level.phrases, level.extreme, level.more)
    return {w for kind in kinds for text in kind for w in split_words(text)}

  # A level may also be "not" with its opposite.
  assert stated & words(dense) or stated & words(sparse)
  assert untrue & words(sparse) or untrue & words(dense)
  assert not (stated | untrue) & PHRASES.held_out_words
  assert true != false
