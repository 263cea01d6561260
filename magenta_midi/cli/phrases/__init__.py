"""Three bundled phrases to start from, played out by hand.

Music in the public domain: Bach's Prelude in C major (BWV 846, bars 1-6),
Beethoven's Fuer Elise (WoO 59, bars 1-12), Satie's Gymnopedie no. 1 (bars
1-8). Their source is in tools/assets/phrases; tools/assets/make_phrases.py
writes the files.
"""

from pathlib import Path

PHRASES = ("prelude", "elise", "gymnopedie")
DEFAULT = "prelude"


def phrase_path(name: str = DEFAULT) -> Path:
  """Finds a phrase's MIDI file.

  Args:
    name: One of PHRASES.

  Raises:
    ValueError: There is no such phrase.
  """
  if name not in PHRASES:
    raise ValueError(
      f"phrase must be one of {', '.join(PHRASES)}, got {name!r}. "
      "Give your MIDI file with --context."
    )
  return Path(__file__).with_name(f"{name}.mid")
