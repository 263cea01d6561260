import pytest

from magenta_midi.style.descriptors import DESCRIPTORS
from magenta_midi.style.text.lexicon import LEXICON, SOME_WORDS, find_words


def test_every_word_is_found_and_names_descriptors():
  names = {descriptor.name for descriptor in DESCRIPTORS}
  assert len(LEXICON) > 150
  for phrase, meaning in LEXICON.items():
    assert find_words(phrase) == [(phrase, 1.0)]
    assert meaning and set(meaning) <= names
    assert all(value and abs(value) <= 1.5 for value in meaning.values())


def test_words_in_messages_are_known():
  assert len(find_words(SOME_WORDS)) == len(SOME_WORDS.split(", "))


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("Slow, SPARSE Ballad!", [("slow", 1), ("sparse", 1), ("ballad", 1)]),
    ("boogie-woogie", [("boogie woogie", 1)]),
    ("an étude in a minor key", [("etude", 1), ("minor key", 1)]),
    ("very loud", [("loud", 1.5)]),
    ("slightly slow", [("slow", 0.5)]),
    ("not loud", [("loud", -0.6)]),
    ("it isn’t at all loud", [("loud", -0.6)]),
    ("not very loud", [("loud", -0.4)]),
    ("without pedal", [("pedal", -0.6)]),
    ("neither slow nor soft", [("slow", -0.6), ("soft", -0.6)]),
    ("not slow but loud", [("slow", -0.6), ("loud", 1)]),
    ("I would not. Loud please", [("loud", 1)]),
    ("B flat minor", [("minor", 1)]),
    ("piano music", []),
    ("", []),
    ("慢", []),
  ],
)
def test_find_words(text, found):
  assert find_words(text) == [(word, pytest.approx(by)) for word, by in found]
