"""Prompts of other languages ask for what was measured for English words."""

import re
import tomllib
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.analysis.description import describe
from magenta_midi.midi.score import Score
from magenta_midi.style import DescriptorStyle
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.text.captions import caption
from magenta_midi.style.text.facts import piece_facts
from magenta_midi.style.text.foreign_words import (
  LANGUAGES,
  Role,
  fold,
  load_language,
)
from magenta_midi.style.text.phrases import caption_words, load_phrases
from magenta_midi.style.text.translation import opposite, translate
from magenta_midi.style.text.units import only_silent

PROMPTS = tomllib.loads(
  Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8")
)
SIGNS = {"-": -1.0, "+": 1.0}


@pytest.fixture(scope="module")
def model():
  return MidiCoCa.embedded()


@pytest.fixture(scope="module")
def axes(model):
  """From the mean of an attribute's low words to that of its high ones."""
  phrases = load_phrases()
  means = {
    (name, side): model.embed_texts(
      list(phrases.attributes[name][side].adjectives)
    ).mean(axis=0)
    for name in phrases.scored
    for side in ("low", "high")
  }
  return {
    name: means[name, "high"] - means[name, "low"] for name in phrases.scored
  }


def english(text):
  """Where only captions' words are known to be English."""
  return translate(text, caption_words().__contains__)


@pytest.mark.parametrize(
  ("text", "asked"),
  [
    pytest.param(text, asked, id=f"{language}-{place}")
    for language, prompts in PROMPTS.items()
    for place, (text, asked) in enumerate(prompts.items())
  ],
)
def test_a_prompt_asks_for_the_right_levels(model, axes, text, asked):
  assert model.understands(text)
  vector = model.embed(text)
  for wish in asked.split():
    name, sign = wish[:-1], SIGNS[wish[-1]]
    # Against a text that says nothing, which is not in the middle of each.
    moved = sign * float((vector - model.neutral) @ axes[name])
    assert moved > 0.2, (english(text), name)
  decomposed = model.embed(unicodedata.normalize("NFD", text))
  np.testing.assert_array_equal(vector, decomposed)


def test_each_language_has_prompts():
  for language in set(LANGUAGES) - {"italian"}:
    assert len(PROMPTS[language]) >= 20


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("느리고 조용한 발라드", "slow soft ballad"),
    ("느린발라드", "slow ballad"),
    ("아주 빠르고 큰 소리로", "very fast loud"),
    ("조금 느리게", "slightly slow"),
    ("페달 없이", "dry"),
    # Neither of the two.
    ("빠르지도 느리지도 않은 음악", ""),
    ("とても速くて力強い", "very fast loud"),
    ("速すぎない、静かな曲", "slow , soft"),
    ("最高の曲", ""),
    ("高い", "high"),
    ("不太快", "slow"),
    ("快乐", "happy"),
    ("lento y suave", "slow soft"),
    ("no muy rápido", "slow"),
    ("sin pedal", "dry"),
    # A word of two languages, and of English.
    ("grave", "grave"),
    ("notas graves", "low"),
    ("piano", "piano"),
    ("nicht zu schnell", "slow"),
    ("noch schneller", "fast"),
    ("leicht traurig", "slightly sad"),
    ("leicht und leise", "graceful soft"),
    ("l'air est doux", "soft"),
    ("ce n'est pas rapide", "slow"),
    ("clair de lune", "moonlit"),
    ("allegro ma non troppo", "allegro"),
    ("langsam and dreamy waltz", "slow and dreamy waltz"),
    ("calm 고양이", "calm"),
    # Nothing that is understood.
    ("고양이 밥 먹어", ""),
    ("猫はミルクを飲む", ""),
    ("le chat boit du lait", ""),
    ("медленная баллада", ""),
  ],
)
def test_words(text, said):
  assert english(text) == said


@pytest.mark.parametrize(
  "text",
  [
    "slow soft ballad",
    "Not too fast, please!",
    "in a minor key, con pedale",
    "Für Elise, adagio",
    "a super wild die hard finale",
    "it's loud -- isn't it?",
    "120 bpm",
    "slwo walz",
    "hell",
    "🎹",
    "",
  ],
)
def test_english_stays_as_it_is(text):
  assert english(text) == text


@given(st.integers(0, 2**32 - 1))
def test_captions_stay_as_they_are(seed):
  """The captions that MidiCoCa learned from, with their typing errors."""
  rng = np.random.default_rng(seed)
  onset_s = np.cumsum(rng.uniform(0.05, 0.6, 40))
  score = Score.from_arrays(
    onset_s=onset_s,
    duration_s=rng.uniform(0.1, 1.0, 40),
    key=rng.integers(30, 90, 40),
    velocity=rng.integers(20, 110, 40),
    pedal=[(1.0, True), (6.0, False)],
  )
  facts = piece_facts("Waltz", "Chopin, Frédéric", "classical")
  text = caption(facts, describe(score), rng)
  assert english(text) == text


def test_words_of_captions_stay_as_they_are():
  phrases = load_phrases()
  texts = [
    text
    for levels in phrases.attributes.values()
    for level in levels.values()
    for words in level
    for text in words
  ]
  for groups in (phrases.genres, phrases.periods, phrases.composers):
    texts += [text for words in groups.values() for text in words]
  texts += [text for form in phrases.forms.values() for text in form.words]
  texts += [text for mood in phrases.moods for w in mood[1:] for text in w]
  changed = {text: english(text) for text in texts if english(text) != text}
  assert changed == {}


@given(st.text(max_size=80), st.booleans())
def test_no_text_breaks_it(text, knows):
  said = translate(text, lambda word: knows)
  # What is not English any more has only words that English has.
  assert said == text or re.fullmatch(r"[a-z0-9' ,\u00df-\u024f]*", said)
  only_silent(text)


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_word_means_one_word_of_the_captions(name):
  language = load_language(name)
  phrases = load_phrases()
  known = {
    text
    for levels in phrases.attributes.values()
    for level in levels.values()
    for words in level
    for text in words
  }
  known |= {text for mood in phrases.moods for w in mood[1:] for text in w}
  known |= {text for form in phrases.forms.values() for text in form.words}
  for groups in (phrases.genres, phrases.periods):
    known |= {text for words in groups.values() for text in words}
  meanings = {}
  for form in language.forms:
    if form.role is Role.MEANS:
      assert form.english in known, form
      meanings.setdefault((form.words, form.stems), set()).add(form.english)
  assert {form: m for form, m in meanings.items() if len(m) > 1} == {}
  # Held-out words were never trained.
  assert not {form.english for form in language.forms} & phrases.held_out_words


def test_the_words_meant_lead_to_their_levels(model, axes):
  """Each word of an attribute that a language uses moves it as it says."""
  phrases = load_phrases()
  used = {form.english for n in LANGUAGES for form in load_language(n).forms}
  checked = set()
  for name, axis in axes.items():
    for side, sign in (("low", -1.0), ("high", 1.0)):
      level = phrases.attributes[name][side]
      texts = {*level.adjectives, *level.phrases, *level.extreme} & used
      for text in texts:
        moved = sign * float((model.embed(text) - model.neutral) @ axis)
        assert moved > 0.3, (name, text)
      checked |= texts
  assert {"slow", "fast", "soft", "loud", "few notes", "minor"} <= checked


@pytest.mark.parametrize(
  ("word", "other"),
  [
    ("fast", "slow"),
    ("very soft", "loud"),
    ("few notes", "dense"),
    ("high", "low"),
    ("sad", "major"),
    ("with pedal", "dry"),
    ("staccato", "legato"),
    ("waltz", None),
    ("energetic", "slow"),
  ],
)
def test_opposites(word, other):
  assert opposite(word) == other


@pytest.mark.parametrize(
  ("text", "silent"),
  [
    ("풍으로", True),
    ("처럼 연주해줘", True),
    ("風に弾いて", True),
    ("como", True),
    ("빠르게", False),
    ("고양이", False),
    ("slow", False),
  ],
)
def test_words_that_say_nothing(text, silent):
  assert only_silent(text) is silent


@pytest.mark.parametrize(
  ("text", "folded"),
  [
    ("Très LENT", "tres lent"),
    ("ｆａｓｔ", "fast"),
    ("groß", "gross"),
    ("が", "が"),
    ("l’air", "l'air"),
  ],
)
def test_fold(text, folded):
  assert fold(text) == fold(unicodedata.normalize("NFD", text)) == folded


def test_descriptors_read_the_same_words():
  model = DescriptorStyle()
  for text, said in (
    ("느리고 조용한 발라드", "slow soft ballad"),
    ("sehr schnell, nicht leise", "very fast, loud"),
    ("速くて悲しい", "fast sad"),
  ):
    np.testing.assert_allclose(model.embed(text), model.embed(said), atol=1e-6)
  assert model.understands("느리게") and not model.understands("고양이")
