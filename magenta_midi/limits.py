"""Limits of all numbers that people give: each is defined here, once.

The command line, gin files, OSC, MIDI controllers, `--set` and the Python
interface check against the same `Bounds`, so none of them lets in what another
refuses. Reading and checking need no other module and load nothing.
"""

import numbers
from typing import Any, NamedTuple

__all__ = [
  "ADAPTER_SCALE",
  "ALPHA",
  "AMOUNT",
  "AUDIO_FRAMES",
  "AUDIO_FRAMES_FROM_0",
  "AUDIO_GUIDANCE",
  "AUDIO_LEVELS",
  "AUDIO_TEMPERATURE",
  "AUDIO_TOP_K",
  "AUGMENTED_TEMPO",
  "CHANNEL",
  "CHORD_WEIGHT",
  "CONTEXT_S",
  "COUNT",
  "COUNT_FROM_0",
  "COUNT_IN",
  "DATA_WEIGHT",
  "DAYS",
  "DELAY_S",
  "DENSITY",
  "DENSITY_FACTOR",
  "EVENTS",
  "FRACTION",
  "GUIDANCE",
  "HEARD_S",
  "INNER_SHARE",
  "INPUT_GAIN",
  "INPUT_GAP_MS",
  "INTRO_LOOPS",
  "JOBS",
  "KEY",
  "LATENCY_MS",
  "LEARNING_RATE",
  "LEVEL_WEIGHT",
  "LOOP_BEATS",
  "LOUDNESS",
  "MAGNITUDE",
  "MINUTES",
  "MIN_P",
  "PORT",
  "POSITIVE",
  "PROMPT_WEIGHT",
  "RATING",
  "RANK",
  "RATE_FACTOR",
  "SAMPLING",
  "SECONDS",
  "SEED",
  "SESSION_S",
  "SHARE",
  "START_BEAT",
  "STEPS",
  "STEP_NUMBER",
  "TARGET_S",
  "TEMPERATURE",
  "TEMPO",
  "TIGHTNESS",
  "TIME_S",
  "TOP_K",
  "TOP_P",
  "Bounds",
  "split_number",
]


class Bounds(NamedTuple):
  """The numbers that a quantity may have.

  Attributes:
    low: Least.
    high: Greatest.
    unit: What it counts, for messages; empty: nothing to say.
    whole: Whether only whole numbers count.
    above: Whether `low` itself is too low.
    below: Whether `high` itself is too high.
  """

  low: float | int
  high: float | int
  unit: str = ""
  whole: bool = False
  above: bool = False
  below: bool = False

  def words(self) -> str:
    """The range in words, as `a number from 0 to 8 (unit)`."""
    sort = "a whole number" if self.whole else "a number"
    if self.above or self.below:
      low = f"{'above' if self.above else 'of at least'} {_shown(self.low)}"
      high = f"{'below' if self.below else 'at most'} {_shown(self.high)}"
      span = f"{low} and {high}"
    else:
      span = f"from {_shown(self.low)} to {_shown(self.high)}"
    return f"{sort} {span}" + (f" ({self.unit})" if self.unit else "")

  def check(self, name: str, value: Any) -> Any:
    """Returns a number that lies within: an int if `whole`, else a float.

    Args:
      name: What the error calls it.
      value: Python's or NumPy's; True and False are no numbers.

    Raises:
      ValueError: It is no number, is not finite, or lies outside. One line
        says which range was expected.
    """
    # Comparisons with nan are false. Integers of any size compare exactly.
    if not (
      _is_number(value)
      and (self.low < value if self.above else self.low <= value)
      and (value < self.high if self.below else value <= self.high)
      and (not self.whole or value == int(value))
    ):
      raise ValueError(f"{name} must be {self.words()}, got {_shown(value)}.")
    return int(value) if self.whole else float(value)

  def read(self, name: str, text: Any) -> Any:
    """Reads a number as Python does, and checks it.

    Digits of any script and underscores between digits count as in Python;
    `1e3` is a whole number too.

    Args:
      name: What the error calls it.
      text: As a user wrote it; a number passes as it is.

    Raises:
      ValueError: See `check`; or it is no number.
    """
    if not isinstance(text, str):
      return self.check(name, text)
    value = _number(text)
    if value is None:
      raise ValueError(f"{name} must be {self.words()}, got {_shown(text)}.")
    return self.check(name, value)


def split_number(text: str) -> tuple[str, float | int | None]:
  """Splits `TEXT[:NUMBER]`; without a number all of it is the text.

  The number is not checked: it may be nan, infinite or out of any range.
  """
  head, colon, tail = text.rpartition(":")
  number = _number(tail) if colon else None
  return (text, None) if number is None else (head, number)


def _number(text: str) -> float | int | None:
  """The number that a text is; None: it is none."""
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return None


def _is_number(value: Any) -> bool:
  return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _shown(value: Any) -> str:
  """A value in an error, at most about 40 letters."""
  if _is_number(value):
    try:
      short = abs(value) < 10**20 and value == int(value)
      return str(int(value)) if short else f"{float(value):.10g}"
    except OverflowError:
      return "a number of more than 300 digits"
  text = repr(value)
  return text if len(text) <= 40 else f"{text[:37]}..."


# No setting is larger, of whatever kind: larger ones overflow somewhere.
MAGNITUDE = 10**15

# Of what is counted, and of amounts that nothing else bounds.
COUNT = Bounds(1, 10**9, whole=True)
COUNT_FROM_0 = Bounds(0, 10**9, whole=True)
AMOUNT = Bounds(0, 10**9)
POSITIVE = Bounds(0, 10**9, above=True)
# A part of a whole; likewise without both ends, and without its upper end.
SHARE = Bounds(0, 1)
INNER_SHARE = Bounds(0, 1, above=True, below=True)
FRACTION = Bounds(0, 1, below=True)

# What NumPy and JAX both take as they are.
SEED = Bounds(0, 2**32 - 1, whole=True)

# Of the sampler.
TEMPERATURE = Bounds(0, 10)
TOP_K = Bounds(0, 1_000_000, "codes; 0: all", whole=True)
TOP_P = Bounds(0, 1, "probability; 1: no limit", above=True)
MIN_P = Bounds(0, 1, "share of the likeliest code")
SAMPLING = {
  "temperature": TEMPERATURE,
  "top_k": TOP_K,
  "top_p": TOP_P,
  "min_p": MIN_P,
}

# Of what is asked of the model. With more guidance it plays no music.
GUIDANCE = Bounds(0, 8, "weight of what is asked")
PROMPT_WEIGHT = Bounds(0, 10**12, "weight of a prompt")
ADAPTER_SCALE = Bounds(-10, 10, "1 is an adapter's full strength")
DENSITY = Bounds(0, 1000, "notes a second")
DENSITY_FACTOR = Bounds(0.25, 4, "times the model's own rate")
LOUDNESS = Bounds(1, 127, "MIDI velocity")
KEY = Bounds(0, 127, "MIDI key")

# Of time. No session is longer than a month, no piece than a day: a typing
# error must not fill the disk.
SECONDS = Bounds(0, 24 * 3600, "seconds", above=True)
SESSION_S = Bounds(0, 31 * 24 * 3600, "seconds", above=True)
TIME_S = Bounds(0, 31 * 24 * 3600, "seconds")
TARGET_S = Bounds(0, 3600, "seconds", above=True)
CONTEXT_S = Bounds(0, 3600, "seconds")
HEARD_S = Bounds(0, 10, "seconds", above=True)
LATENCY_MS = Bounds(1, 500, "milliseconds")
DAYS = Bounds(0, 365_000, "days")
TEMPO = Bounds(20, 400, "beats a minute")
TIGHTNESS = Bounds(0, 2)
CHORD_WEIGHT = Bounds(0, 2, "weight of a chart")
START_BEAT = Bounds(1, 17, "beat of the bar", below=True)
COUNT_IN = Bounds(0, 8, "bars", whole=True)
AUGMENTED_TEMPO = Bounds(0.1, 10, "times the tempo")

# Of audio injection; the ranges of Magenta RealTime's sliders.
AUDIO_TEMPERATURE = Bounds(0, 4)
AUDIO_TOP_K = Bounds(0, 1024, "codes; 0: all", whole=True)
AUDIO_GUIDANCE = Bounds(0, 10, "weight of what is asked")
AUDIO_FRAMES = Bounds(1, 10_000, "frames of the audio codec", whole=True)
AUDIO_FRAMES_FROM_0 = Bounds(0, 10_000, "frames of the audio codec", whole=True)
AUDIO_LEVELS = Bounds(1, 1024, "levels of the audio codec", whole=True)
LOOP_BEATS = Bounds(1, 16, "beats of a loop", whole=True)
INTRO_LOOPS = Bounds(0, 5, "loops; 0: no intro", whole=True)
INPUT_GAP_MS = Bounds(0, 2000, "milliseconds")
INPUT_GAIN = Bounds(0, 4, "times the input; 1: as it is")
DELAY_S = Bounds(0, 60, "seconds")

# Of ports.
CHANNEL = Bounds(1, 16, "MIDI channel", whole=True)
PORT = Bounds(0, 65535, "UDP port; 0: any free one", whole=True)

# Of training.
STEPS = Bounds(1, 10**9, "optimizer steps", whole=True)
STEP_NUMBER = Bounds(0, 2**31 - 1, "optimizer steps", whole=True)
MINUTES = Bounds(0, 10**6, "minutes", above=True)
LEARNING_RATE = Bounds(0, 100, above=True)
RATE_FACTOR = Bounds(0, 1000, "times the learning rate")
LEVEL_WEIGHT = Bounds(0, 10**6, above=True)
DATA_WEIGHT = Bounds(0, 10**12, "share of the examples", above=True)
RANK = Bounds(1, 10**5, whole=True)
ALPHA = Bounds(0, 10**6, above=True)

# Of reports.
EVENTS = Bounds(2, 10_000, "events in 2 s", whole=True)
RATING = Bounds(1, 5, whole=True)
JOBS = Bounds(1, 4096, "processes", whole=True)
