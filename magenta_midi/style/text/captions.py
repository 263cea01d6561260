"""Captions of music, as a listener might describe it.

A caption uses facts about a piece and measurements of it: a level ("slow") only
if the measure is clear, a mood if several levels fit together. The choice, the
words and the order are random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from random import Random
from typing import Any, TypeAlias

import numpy as np

from magenta_midi.midi.analysis.analysis import PITCH_CLASSES, Key
from magenta_midi.midi.analysis.description import Description
from magenta_midi.style.text.attributes import ATTRIBUTES, levels_of
from magenta_midi.style.text.facts import PieceFacts
from magenta_midi.style.text.phrases import (
  Level,
  Mood,
  load_phrases,
  plain_text,
)
from magenta_midi.style.text.sentences import (
  Part,
  add_errors,
  in_frame,
  sentence,
)

__all__ = [
  "ATTRIBUTES",
  "caption",
  "nonsense",
  "opposites",
  "pairs",
  "statement",
]

# One possible part of a caption: its weight, and a function of a Random and
# these arguments that makes the part.
_Facet: TypeAlias = tuple[float, Callable[..., Part], tuple[Any, ...]]

# Weights of levels. Most prompts use the five scored attributes; most music has
# plain rhythm.
_WEIGHTS = {
  "speed": 4.0,
  "loudness": 4.0,
  "density": 4.0,
  "register": 4.0,
  "mode": 4.0,
  "swing low": 0.15,
  "swing high": 1.5,
  "syncopation low": 0.2,
  "accompaniment": 0.5,
  "stride": 1.5,
}
_MOOD_WEIGHT = 1.2
# Share of captions that are only the words of a level, as prompts are.
_ALONE = 0.35
# Share of levels that use one of their many other words.
_MORE = 0.5

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Letters of other scripts, and the lengths of their words.
_SCRIPTS = (
  ("абвгдежзийклмнопрстуфхцчшщыьэюя", 7),
  ("αβγδεζηθικλμνξοπρστυφχψω", 7),
  ("אבגדהוזחטיכלמנסעפצקרשת", 5),
  ("ابتثجحخدذرزسشصضطظعغفقكلمنهوي", 6),
  ("अआइईउऊएकखगघचछजझटठडढणतथदधन", 5),
  ("".join(map(chr, range(0x3042, 0x3090))), 6),
  ("".join(map(chr, range(0x4E00, 0x9F00, 7))), 3),
  ("".join(map(chr, range(0xAC00, 0xD700, 11))), 3),
)


def caption(
  facts: PieceFacts, description: Description, rng: np.random.Generator
) -> str:
  """Makes a true caption in lower case, mostly 1 to 12 words.

  Args:
    facts: Facts about the whole piece.
    description: Measurements of the window of music.
    rng: Random generator of all choices.
  """
  draw = _fast_draws(rng)
  if draw.random() < _ALONE:
    scored = _scored_levels(description)
    if scored:
      return add_errors(draw, _describe_level(draw, *draw.choice(scored)).text)
  known = _known_facets(facts)
  kind = draw.random()
  if known and kind < 0.15:
    facets = known
  elif kind < 0.6:
    facets = _measured_facets(facts, description)
  else:
    facets = known + _measured_facets(facts, description)
  count = draw.choices((1, 2, 3, 4, 5), (34, 28, 20, 12, 6))[0]
  # Without replacement, by weight: Efraimidis and Spirakis 2006, Information
  # Processing Letters 97, 181-185.
  chosen = sorted(
    [(draw.random() ** (1 / weight), say, of) for weight, say, of in facets],
    key=itemgetter(0),
  )
  parts: list[Part] = []
  for _, say, of in chosen[-count:]:
    part = say(draw, *of)
    if all(part.text != other.text for other in parts):
      parts.append(part)
  if not parts:
    return draw.choice(load_phrases().nouns)
  return add_errors(draw, sentence(draw, parts))


def opposites(
  description: Description, rng: np.random.Generator
) -> tuple[str, str] | None:
  """A true caption of one scored attribute, and one of the opposite.

  None if no scored attribute is clear.
  """
  draw = _fast_draws(rng)
  scored = _scored_levels(description)
  if not scored:
    return None
  words, level, far = draw.choice(scored)
  other = "low" if level == "high" else "high"
  parts = [
    _describe_level(draw, words, side, far).text for side in (level, other)
  ]
  if draw.random() < 0.3:
    frame = draw.choice(load_phrases().frames)
    parts = [in_frame(frame, text) for text in parts]
  return parts[0], parts[1]


def statement(
  description: Description,
  rng: np.random.Generator,
  attributes: Sequence[str],
) -> str | None:
  """A true caption of one of some scored attributes, only its words.

  None if none of them is clear.
  """
  draw = _fast_draws(rng)
  scored = _scored_levels(description, attributes)
  if not scored:
    return None
  return add_errors(draw, _describe_level(draw, *draw.choice(scored)).text)


def pairs(attribute: str, held_out: bool) -> list[tuple[str, str]]:
  """Opposite captions (low, high) of one attribute; low mode is minor.

  Args:
    attribute: One of speed, loudness, density, register, mode.
    held_out: Whether to use only words and sentences that `caption` never uses.

  Returns:
    Pairs of words, then the same in sentences.

  Raises:
    ValueError: No words of the attribute are held out.
  """
  phrases = load_phrases()
  if attribute not in phrases.scored:
    raise ValueError(
      f"attribute must be one of {', '.join(phrases.scored)}, got"
      f" {attribute!r}."
    )
  low, high = (phrases.attributes[attribute][side] for side in ("low", "high"))
  if held_out:
    words = list(zip(low.held_out, high.held_out, strict=False))
    frames = phrases.held_out_frames
  else:
    words = list(zip(low.adjectives, high.adjectives, strict=False))
    frames = tuple(frame for frame in phrases.frames if frame != "{}")
  framed = []
  for index, pair in enumerate(words):
    for step in range(3):
      frame = frames[(3 * index + step) % len(frames)]
      framed.append((in_frame(frame, pair[0]), in_frame(frame, pair[1])))
  return words + framed


def nonsense(rng: np.random.Generator) -> str:
  """A text without meaning for music: letters, words, other scripts."""
  draw = _fast_draws(rng)
  kind, count = draw.random(), 1 + min(11, int(draw.expovariate(0.5)))
  if kind < 0.5:
    return " ".join(draw.choices(load_phrases().nonsense, k=count))
  if kind < 0.58:
    numbers = (draw.randrange(10 ** draw.randint(1, 6)) for _ in range(count))
    return " ".join(map(str, numbers))
  if kind < 0.85:
    letters, shortest, longest = _LETTERS, 2, 10
  else:
    (letters, longest), shortest = draw.choice(_SCRIPTS), 1
  return " ".join(
    "".join(draw.choices(letters, k=draw.randint(shortest, longest)))
    for _ in range(count)
  )


def _fast_draws(rng: np.random.Generator) -> Random:
  """A `Random` seeded from `rng`.

  A caption needs about fifty draws; Python's are ten times as fast as NumPy's.
  """
  return Random(int(rng.integers(1 << 62)))


def _known_facets(facts: PieceFacts) -> list[_Facet]:
  """Facets of all facts."""
  phrases = load_phrases()
  found: list[_Facet] = []
  # Only names in Latin letters.
  if facts.composer and facts.composer[0] < "\u0250":
    found.append((4.0, _describe_composer, (facts.composer,)))
  for form in facts.forms:
    found.append((5.0, _describe_form, (phrases.forms[form].words,)))
  if facts.period:
    found.append((2.0, _describe_kind, (phrases.periods[facts.period],)))
  if facts.genre:
    found.append((2.0, _describe_kind, (phrases.genres[facts.genre],)))
  return found


def _measured_facets(
  facts: PieceFacts, description: Description
) -> list[_Facet]:
  """Facets of all clear levels, and moods; some depend on the genre."""
  phrases, levels = load_phrases(), levels_of(description)
  found: list[_Facet] = []
  true = {f"genre {facts.genre}"}
  for name, (level, far) in levels.items():
    words = phrases.attributes[name]
    if level == "middle":
      if level in words:
        found.append((0.4, _describe_middle, (words,)))
      continue
    full_name = f"{name} {level}"
    true.add(full_name)
    if level in words:
      weight = _WEIGHTS.get(full_name) or _WEIGHTS.get(name, 1.0)
      found.append((weight, _describe_level, (words, level, far)))
  for mood in phrases.moods:
    if mood.needs <= true:
      found.append((_MOOD_WEIGHT, _describe_mood, (mood,)))
  analysis = description.analysis
  if analysis.key_clarity > 0.8 and abs(analysis.mode) > 0.05:
    found.append((0.6, _describe_key, (description.key,)))
  if description.tempo_bpm == description.tempo_bpm:
    found.append((0.2, _describe_tempo, (description.tempo_bpm,)))
  return found


def _scored_levels(
  description: Description, among: Sequence[str] | None = None
) -> list[tuple[Mapping[str, Level], str, bool]]:
  """Arguments of `_describe_level` for each clear scored attribute."""
  phrases = load_phrases()
  return [
    (phrases.attributes[name], level, far)
    for name, (level, far) in levels_of(description).items()
    if level != "middle"
    and phrases.attributes[name]["high"].held_out
    and (among is None or name in among)
  ]


def _describe_composer(draw: Random, composer: str) -> Part:
  surname = composer.rsplit(" ", 1)[-1]
  kind = draw.random()
  name = composer if kind < 0.15 else surname
  if kind > 0.9:
    name = surname.split("-")[0]
  if draw.random() < 0.7:
    name = plain_text(name)
  kind = draw.random()
  if kind < 0.6:
    return Part("by", name)
  if kind < 0.75:
    return Part("phrase", f"like {name}")
  if kind < 0.9:
    return Part("phrase", f"in the style of {name}")
  return Part("adjective", f"{name} style")


def _describe_form(draw: Random, words: Sequence[str]) -> Part:
  return Part("noun", _plain_or_any(draw, words, 0.5))


def _describe_kind(draw: Random, words: Sequence[str]) -> Part:
  return Part("kind", _plain_or_any(draw, words, 0.4))


def _describe_middle(draw: Random, words: Mapping[str, Level]) -> Part:
  if draw.random() < 0.4:
    side = words[draw.choice(("low", "high"))]
    return Part("phrase", f"not too {draw.choice(side.adjectives[:4])}")
  level = words["middle"]
  return _any_of(draw, adjective=level.adjectives, phrase=level.phrases)


def _describe_level(
  draw: Random, words: Mapping[str, Level], level: str, far: bool
) -> Part:
  level_words, phrases = words[level], load_phrases()
  if level_words.more and draw.random() < _MORE:
    word = draw.choice(level_words.more)
    return Part("phrase" if word.endswith("ly") else "adjective", word)
  kind = draw.random()
  if kind < 0.06:
    opposite = words.get("low" if level == "high" else "high")
    if opposite is not None:
      word = draw.choice(opposite.adjectives[:5])
      return Part("phrase", f"{draw.choice(phrases.negations)} {word}")
  if far and kind < 0.3 and level_words.extreme:
    return Part("phrase", draw.choice(level_words.extreme))
  if kind > 0.68:
    return Part("phrase", draw.choice(level_words.phrases))
  text = _plain_or_any(draw, level_words.adjectives, 0.35)
  if far and kind > 0.45:
    text = f"{draw.choice(phrases.strong)} {text}"
  elif not far and kind > 0.58:
    text = f"{draw.choice(phrases.mild)} {text}"
  return Part("adjective", text)


def _describe_mood(draw: Random, mood: Mood) -> Part:
  return _any_of(
    draw, adjective=mood.adjectives, phrase=mood.phrases, noun=mood.nouns
  )


def _describe_key(draw: Random, key: Key) -> Part:
  name = PITCH_CLASSES[key.tonic].lower()
  if len(name) == 2 and draw.random() < 0.7:
    name = f"{name[0]} {'sharp' if name[1] == '#' else 'flat'}"
  form = draw.choice(("in {}", "in {}", "{}", "in the key of {}"))
  mode = "minor" if key.minor else "major"
  return Part("phrase", form.format(f"{name} {mode}"))


def _describe_tempo(draw: Random, bpm: float) -> Part:
  form = draw.choice(("{} bpm", "around {} bpm", "tempo {}", "about {} bpm"))
  return Part("phrase", form.format(5 * round(bpm / 5)))


def _plain_or_any(draw: Random, words: Sequence[str], plain: float) -> str:
  """The first word, which is the most common, or any of them."""
  return words[0] if draw.random() < plain else draw.choice(words)


def _any_of(draw: Random, **words: Sequence[str]) -> Part:
  """Any word of several lists, with the role of its list."""
  at = draw.randrange(sum(map(len, words.values())))
  for role, texts in words.items():
    if at < len(texts):
      return Part(role, texts[at])
    at -= len(texts)
  raise AssertionError("at is below the number of texts")
