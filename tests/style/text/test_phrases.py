import itertools

import pytest

from magenta_midi.style.text.phrases import Level, load_phrases, plain_text

PHRASES = load_phrases()


def _texts(level: Level) -> tuple[str, ...]:
  return level.adjectives + level.phrases + level.extreme + level.more


def _training_texts() -> list[str]:
  levels = [
    level for found in PHRASES.attributes.values() for level in found.values()
  ]
  moods = [
    mood.adjectives + mood.phrases + mood.nouns for mood in PHRASES.moods
  ]
  return list(
    itertools.chain(
      *map(_texts, levels),
      *moods,
      *(form.words for form in PHRASES.forms.values()),
      *PHRASES.genres.values(),
      *PHRASES.periods.values(),
      PHRASES.frames,
      PHRASES.nouns,
      PHRASES.strong,
      PHRASES.mild,
      PHRASES.negations,
      PHRASES.nonsense,
    )
  )


def _same_stem(one: str, other: str) -> bool:
  """Whether long words have the same beginning: deep and deeply."""
  common = len(
    list(
      itertools.takewhile(lambda p: p[0] == p[1], zip(one, other, strict=False))
    )
  )
  return common >= 4 and common > 0.5 * max(len(one), len(other))


def test_the_scored_attributes_are_rich_in_words():
  assert set(PHRASES.scored) == {
    "speed",
    "loudness",
    "density",
    "register",
    "mode",
  }
  for name in PHRASES.scored:
    for side in ("low", "high"):
      level = PHRASES.attributes[name][side]
      words = [text for text in _texts(level) if " " not in text]
      assert len(set(words)) == len(words) >= 70
      assert len(set(level.held_out)) == len(level.held_out) >= 6
  assert len(PHRASES.held_out_words) == sum(
    len(PHRASES.attributes[name][side].held_out)
    for name in PHRASES.scored
    for side in ("low", "high")
  )


def test_held_out_words_share_no_stem_with_training():
  assert _same_stem("deep", "deeply") and not _same_stem("under", "understated")
  # All words, except stop words of nonsense and long compounds.
  for text in _training_texts():
    for word in plain_text(text).split():
      for held_out in PHRASES.held_out_words:
        assert not _same_stem(word, held_out), (text, held_out)


def test_no_composer_is_named_by_a_held_out_word():
  for name in itertools.chain(*PHRASES.composers.values()):
    assert not PHRASES.held_out_words & set(plain_text(name).split())


def test_held_out_frames_are_other_frames():
  for frame in (*PHRASES.frames, *PHRASES.held_out_frames):
    assert frame.count("{}") == 1
  fixed = {frame.replace("{}", "").strip() for frame in PHRASES.frames}
  for frame in PHRASES.held_out_frames:
    assert frame.replace("{}", "").strip() not in fixed


@pytest.mark.parametrize("name", PHRASES.attributes)
def test_levels_of_an_attribute_share_no_words(name):
  levels = PHRASES.attributes[name]
  assert "high" in levels and set(levels) <= {"low", "middle", "high"}
  for one, other in itertools.combinations(levels.values(), 2):
    assert not set(_texts(one)) & set(_texts(other))


def test_moods_need_existing_levels_and_genres():
  for mood in PHRASES.moods:
    assert mood.needs and mood.adjectives + mood.phrases + mood.nouns
    for need in mood.needs:
      name, level = need.split(" ")
      assert (
        level in PHRASES.genres
        if name == "genre"
        else level in ("low", "high") and name in PHRASES.attributes
      )


def test_texts_are_plain_lower_case():
  for text in _training_texts():
    assert text == text.lower().strip() and "  " not in text
    assert not set(text) & set('";:()/_.!?')


@pytest.mark.parametrize(
  ("text", "plain"),
  [
    ("Étude_Op.10", "etude op 10"),
    ("fox-trot", "fox trot"),
    ("  Let's  go! ", "let's go"),
    ("", ""),
  ],
)
def test_plain_text(text, plain):
  assert plain_text(text) == plain
