"""Lexicon of English and some Italian words for music, as descriptors.

A word has values of descriptors: 1 is high for piano music, 0 typical, -1 low.
Words of genres have the values that such music usually has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# Words with the same meaning, separated by commas, and their descriptors.
_ENTRIES: tuple[tuple[str, Mapping[str, float]], ...] = (
  # Pace and density.
  ("slow, slowly, unhurried, lento", dict(pace=-1, density=-0.6)),
  ("adagio, largo, grave", dict(pace=-1, density=-0.7, loudness=-0.2)),
  ("andante, moderate, walking", dict(pace=-0.4, density=-0.2)),
  ("fast, quick, quickly, rapid, swift", dict(pace=1, density=0.6)),
  ("allegro, vivace, lively", dict(pace=0.8, density=0.5, loudness=0.3)),
  ("presto, hurried, racing, frantic", dict(pace=1, density=0.8)),
  ("sparse, spacious, minimal, empty, few notes", dict(density=-1, pace=-0.5)),
  ("busy, many notes, active", dict(density=1, pace=0.6)),
  ("dense, thick, full, rich", dict(density=0.9, polyphony=0.8)),
  ("thin, bare, single line, melody only", dict(polyphony=-1, density=-0.4)),
  ("simple, easy, plain", dict(density=-0.6, clarity=0.6, pace=-0.3)),
  ("complex, intricate", dict(density=0.8, clarity=-0.4, spread=0.3)),
  (
    "virtuosic, virtuoso, brilliant, flashy",
    dict(density=1, pace=0.9, spread=0.7, loudness=0.4),
  ),
  # Loudness and its changes.
  ("loud, forte, strong, powerful", dict(loudness=1)),
  ("fortissimo, ff, thunderous, pounding", dict(loudness=1.3, density=0.3)),
  ("soft, softly, quiet, quietly, hushed", dict(loudness=-1)),
  ("pianissimo, pp, whispering, faint", dict(loudness=-1.3, density=-0.2)),
  ("gentle, gently, tender, delicate", dict(loudness=-0.8, density=-0.4)),
  ("dramatic, expressive, contrasting", dict(dynamics=1, loudness=0.2)),
  ("uniform, restrained", dict(dynamics=-1)),
  ("accented, punchy, sforzando", dict(dynamics=0.8, loudness=0.6)),
  # Register and its width.
  ("high, treble, high register", dict(register=1)),
  ("low, bass, deep, low register", dict(register=-1)),
  ("bright, sparkling, glittering", dict(register=0.8, mode=0.5, loudness=0.2)),
  ("dark, gloomy, sombre, somber", dict(register=-0.7, mode=-0.7)),
  ("wide, sweeping, grand", dict(spread=1, loudness=0.3)),
  ("narrow, close, intimate", dict(spread=-0.8, loudness=-0.4)),
  # Touch.
  ("staccato, short notes, detached, dry", dict(articulation=-1, pedal=-0.6)),
  ("crisp, percussive", dict(articulation=-0.8, loudness=0.4)),
  ("legato, smooth, flowing, connected", dict(articulation=0.9, pedal=0.3)),
  ("singing, cantabile, lyrical", dict(articulation=0.8, clarity=0.3)),
  ("sustained, long notes", dict(articulation=0.8, pace=-0.5)),
  ("pedal, pedalled, pedaled, resonant", dict(pedal=1)),
  ("washy, blurred, hazy, dreamy", dict(pedal=1, articulation=0.5)),
  # Texture and rhythm.
  ("chords, chordal, block chords", dict(polyphony=1, evenness=0.2)),
  ("polyphonic, contrapuntal, fugue", dict(polyphony=0.5, evenness=0.5)),
  ("arpeggios, arpeggio, arpeggiated, rippling", dict(evenness=0.6, pace=0.6)),
  ("scales, runs, passages", dict(evenness=0.8, pace=0.9, polyphony=-0.5)),
  ("even, steady, regular, mechanical", dict(evenness=1)),
  ("rubato, free, irregular, uneven", dict(evenness=-1)),
  ("swing, swinging, swung, syncopated", dict(evenness=-0.7, pace=0.3)),
  # Mode and harmony.
  ("major, major key", dict(mode=1)),
  ("minor, minor key", dict(mode=-1)),
  ("happy, cheerful, joyful, merry", dict(mode=0.9, pace=0.4, loudness=0.2)),
  ("sad, mournful, sorrowful", dict(mode=-0.9, pace=-0.6, loudness=-0.3)),
  ("melancholy, melancholic, wistful", dict(mode=-0.8, pace=-0.4)),
  ("tonal, diatonic, consonant", dict(clarity=1)),
  ("chromatic, dissonant, atonal", dict(clarity=-1)),
  # Mood.
  (
    "calm, low energy, peaceful, serene, relaxed",
    dict(pace=-0.7, loudness=-0.7),
  ),
  ("playful, light, humorous", dict(articulation=-0.6, pace=0.4, mode=0.4)),
  (
    "energetic, high energy, exciting, wild",
    dict(density=0.8, pace=0.7, loudness=0.7),
  ),
  ("angry, furious, stormy", dict(loudness=1, density=0.8, mode=-0.6)),
  ("romantic, passionate", dict(dynamics=0.6, pedal=0.5, articulation=0.4)),
  ("majestic, solemn, noble", dict(pace=-0.6, loudness=0.6, polyphony=0.6)),
  # Genres and forms.
  (
    "ballad, ballads",
    dict(pace=-0.8, density=-0.5, loudness=-0.4, articulation=0.4, pedal=0.4),
  ),
  (
    "nocturne, nocturnes",
    dict(pace=-0.4, loudness=-0.7, pedal=0.7, articulation=0.5, spread=0.3),
  ),
  (
    "lullaby, cradle song, berceuse",
    dict(pace=-0.7, density=-0.6, loudness=-1, mode=0.3, dynamics=-0.4),
  ),
  ("waltz, waltzes, minuet", dict(mode=0.4, evenness=0.4, articulation=-0.2)),
  ("march, marching", dict(evenness=0.6, loudness=0.7, articulation=-0.5)),
  (
    "stride, boogie, boogie woogie",
    dict(density=0.8, pace=0.6, loudness=0.5, spread=0.8, articulation=-0.4),
  ),
  (
    "rag, ragtime",
    dict(evenness=0.5, articulation=-0.6, pedal=-0.6, mode=0.6, density=0.4),
  ),
  ("jazz, jazzy, bebop", dict(evenness=-0.6, clarity=-0.6, pedal=-0.3)),
  ("blues, bluesy", dict(clarity=-0.4, evenness=-0.5, mode=-0.2, pace=-0.2)),
  ("pop, song", dict(clarity=0.5, evenness=0.4, density=-0.2)),
  ("hymn, chorale", dict(polyphony=0.8, pace=-0.8, clarity=0.7)),
  ("etude, study, toccata", dict(density=0.9, pace=0.9, evenness=0.6)),
  (
    "ambient, meditative",
    dict(density=-1, pace=-0.9, pedal=0.9, loudness=-0.7),
  ),
  ("impressionist, impressionistic", dict(pedal=0.9, clarity=-0.4)),
  ("baroque, invention", dict(evenness=0.8, pedal=-1, dynamics=-0.5)),
)

LEXICON: Mapping[str, Mapping[str, float]] = {
  phrase: meaning
  for phrases, meaning in _ENTRIES
  for phrase in phrases.split(", ")
}

# For error messages: words of different kinds.
SOME_WORDS = "slow, busy, gentle, loud, high, staccato, minor, ballad, stride"

_NEGATIONS = ("not", "no", "never", "without", "neither", "nor", "less")
_STRONG = ("very", "really", "extremely", "highly", "super", "molto")
_WEAK = ("slightly", "somewhat", "rather", "fairly", "poco", "mildly")
_STRENGTHS: dict[str, float] = {
  **{word: 1.5 for word in _STRONG},
  **{word: 0.5 for word in _WEAK},
}
# Factor of "not": "not loud" is weaker than "soft".
_NEGATED = -0.6
_MAX_PHRASE = max(len(phrase.split()) for phrase in LEXICON)
# Words, and the punctuation and conjunctions that end a negation.
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[,.;:!?]")
_ENDS = frozenset([*",.;:!?", "but", "and"])


def find_words(text: str) -> list[tuple[str, float]]:
  """Finds the known words and phrases of a text, with their strengths.

  "very" and similar words give strength 1.5, "slightly" 0.5. "not" reverses the
  next known word ("not slow or loud" means not slow, and loud), and "not very"
  reverses it less.

  Args:
    text: Any text; case, accents and hyphens do not matter.

  Returns:
    Pairs (phrase, strength), in the order of the text.
  """
  plain = unicodedata.normalize("NFKD", text.lower()).replace("\u2019", "'")
  words = _WORD.findall(
    "".join(c for c in plain if not unicodedata.combining(c))
  )
  found, sign, strength, i = [], 1.0, 1.0, 0
  while i < len(words):
    word = words[i]
    for length in range(min(_MAX_PHRASE, len(words) - i), 0, -1):
      phrase = " ".join(words[i : i + length])
      if phrase in LEXICON:
        found.append((phrase, strength if sign > 0 else sign / strength))
        sign, strength, i = 1.0, 1.0, i + length
        break
    else:
      if word in _NEGATIONS or word.endswith("n't"):
        sign = _NEGATED
      elif word in _ENDS:
        sign, strength = 1.0, 1.0
      strength = _STRENGTHS.get(word, strength)
      i += 1
  return found
