"""Controls and actions of the player while playing.

`Controls` is state: a value for each control, at any time. An `Action` is an
event: it happens once and leaves no value behind.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = [
  "ACTIONS",
  "INJECTIONS",
  "MAX_ADAPTERS",
  "MAX_PROMPTS",
  "MODES",
  "RANGES",
  "TOGGLES",
  "Action",
  "Change",
  "Controls",
  "Range",
  "changed",
  "from_json",
  "playing_adapter",
  "to_json",
]

MODES = ("call-response", "simultaneous", "listen")
INJECTIONS = (
  "both",
  "interleave",
  "harmonic",
  "harmonic-strict",
  "velocity",
)
TOGGLES = ("solo", "release_clashes", "muted")

LOWEST_KEY, HIGHEST_KEY = 21, 108  # of a piano
OCTAVE = 12  # the least span of a register: narrower, no chord fits
MAX_PROMPTS = 8
MAX_WEIGHT = 10.0
# With quotes escaped and a weight this still fits a record.
MAX_PROMPT_BYTES = 200
# Each is a copy of the weights that it changes.
MAX_ADAPTERS = 8
MAX_ADAPTER_BYTES = 200


class Range(NamedTuple):
  """The values of a numeric control.

  Attributes:
    low: Least, included.
    high: Greatest, included.
    step: What one press of a key moves it by; of `density` a factor.
    whole: Whether it takes whole numbers only.
    unit: What it counts.
  """

  low: float
  high: float
  step: float
  whole: bool
  unit: str


RANGES = {
  "temperature": Range(0.0, 2.0, 0.05, False, "of the sampler"),
  "guidance": Range(0.0, 8.0, 0.25, False, "weight of what is asked"),
  "density": Range(0.25, 4.0, 2**0.25, False, "times the model's own rate"),
  "register_low": Range(LOWEST_KEY, HIGHEST_KEY, 1, True, "MIDI key"),
  "register_high": Range(LOWEST_KEY, HIGHEST_KEY, 1, True, "MIDI key"),
  "loudness": Range(-30, 30, 2, True, "velocity, against the player's own"),
  "style_s": Range(0.0, 30.0, 1.0, False, "seconds"),
  "mix_ratio": Range(0.0, 1.0, 0.05, False, "share of the model's own notes"),
}


class Action(StrEnum):
  """Something to do once, now."""

  HAND_OVER = "hand_over"  # end the present turn
  END = "end"  # bring the piece to a close
  PANIC = "panic"  # silence, at once
  BOOKMARK = "bookmark"  # mark the last 30 s of the session
  QUIT = "quit"


ACTIONS = tuple(Action)


class Change(NamedTuple):
  """A new value for a control.

  Attributes:
    name: A field of `Controls`, or one of those that `changed` adds.
    value: Valid for it; plain Python values and tuples only.
  """

  name: str
  value: Any


class Controls(NamedTuple):
  """All that can be changed while playing; never mutated.

  Attributes:
    mode: One of MODES.
    temperature: Of the sampler; 0 always takes the likeliest.
    guidance: Weight of prompts and of what density, register and loudness
      ask against nothing being asked; 0 is none. It costs nothing until
      something is asked.
    density: Factor on the model's own rate of events.
    register: Lowest and highest key that it may play.
    loudness: Velocity offset against the player's own loudness.
    style_s: How long it takes to go over to other prompts or weights, s.
    injection: How the player's music enters the context, one of INJECTIONS.
    mix_ratio: Share of the model's own notes, for `interleave`.
    prompts: Texts and their weights; a weight of 0 keeps a text listed.
      Weights are relative; all 0, or no prompt, is no style.
    solo: Whether it plays on when the player has stopped.
    release_clashes: Whether it lets go of notes that come to clash.
    muted: Whether it is silent and only listens on.
    adapters: Switchable adapters, each NAME[:SCALE], a blend of such joined by
      ` + `, or empty for the checkpoint alone; named at the start and never
      changed while playing.
    adapter: Which of them plays, from 1.
  """

  mode: str = "call-response"
  temperature: float = 1.0
  guidance: float = 1.5
  density: float = 1.0
  register: tuple[int, int] = (LOWEST_KEY, HIGHEST_KEY)
  loudness: int = 0
  style_s: float = 4.0
  injection: str = "both"
  mix_ratio: float = 0.3
  prompts: tuple[tuple[str, float], ...] = ()
  solo: bool = False
  release_clashes: bool = True
  muted: bool = False
  adapters: tuple[str, ...] = ()
  adapter: int = 1


def changed(controls: Controls, name: str, value: Any) -> Controls:
  """Sets one control.

  Besides the fields of `Controls`: `register_low` and `register_high` move
  one end and stop an octave short of the other; `prompt`, a (text, weight),
  weights that prompt and adds it if it is new; `prompt_weight`, a (number
  from 1, weight), weights one that is there; `adapter_step` goes so many
  adapters on, round and round; `adapter_share` takes the one that lies at a
  share of the way, in [0, 1).

  Raises:
    ValueError: No such control, or no such value; one line says what is.
  """
  match name:
    case "mode":
      return controls._replace(mode=_choice(name, value, MODES))
    case "injection":
      return controls._replace(injection=_choice(name, value, INJECTIONS))
    case "solo" | "release_clashes" | "muted":
      return controls._replace(**{name: _toggle(name, value)})
    case "register":
      return controls._replace(register=_register(value))
    case "register_low":
      low, high = _number(name, value), controls.register[1]
      return controls._replace(register=(min(int(low), high - OCTAVE), high))
    case "register_high":
      low, high = controls.register[0], _number(name, value)
      return controls._replace(register=(low, max(int(high), low + OCTAVE)))
    case "prompts":
      return controls._replace(prompts=_prompts(value))
    case "prompt":
      return controls._replace(prompts=_with_prompt(controls.prompts, value))
    case "prompt_weight":
      return controls._replace(prompts=_reweighted(controls.prompts, value))
    case "adapters":
      return controls._replace(adapters=_adapters(value))
    case "adapter" | "adapter_step" | "adapter_share":
      return controls._replace(adapter=_adapter(name, value, controls))
  if name not in RANGES:
    raise ValueError(
      f"no control is called {name!r}. There are: "
      f"{', '.join((*Controls._fields, *_PARTIAL))}."
    )
  return controls._replace(**{name: _number(name, value)})


# Names that `changed` takes besides the fields.
_PARTIAL = (
  "register_low",
  "register_high",
  "prompt",
  "prompt_weight",
  "adapter_step",
  "adapter_share",
)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
  if value not in choices:
    raise ValueError(
      f"{name} must be one of {', '.join(choices)}, got {value!r}."
    )
  return value


def _toggle(name: str, value: Any) -> bool:
  if not isinstance(value, bool | int) or value not in (0, 1):
    raise ValueError(f"{name} must be on or off (1 or 0), got {value!r}.")
  return bool(value)


def _number(name: str, value: Any) -> float | int:
  low, high, _, whole, unit = RANGES[name]
  sort = "a whole number" if whole else "a number"
  good = (
    isinstance(value, int | float)
    and not isinstance(value, bool)
    and math.isfinite(value)
    and low <= value <= high
    and (not whole or value == int(value))
  )
  if not good:
    raise ValueError(
      f"{name} must be {sort} from {low:g} to {high:g} ({unit}), got {value!r}."
    )
  return int(value) if whole else float(value)


def _pair(name: str, value: Any, what: str) -> tuple[Any, Any]:
  if not isinstance(value, tuple | list) or len(value) != 2:
    raise ValueError(f"{name} must be {what}, got {value!r}.")
  return value[0], value[1]


def _register(value: Any) -> tuple[int, int]:
  low, high = _pair("register", value, "a lowest and a highest key")
  low, high = _number("register_low", low), _number("register_high", high)
  if high - low < OCTAVE:
    raise ValueError(
      f"register must span at least an octave, got {low} to {high}."
      f" Give {OCTAVE} keys or more between them."
    )
  return int(low), int(high)


def _prompt(value: Any) -> tuple[str, float]:
  text, weight = _pair("prompt", value, "a text and a weight")
  if not isinstance(text, str) or not text.strip() or not text.isprintable():
    raise ValueError(f"a prompt must be one line of text, got {text!r}.")
  text = " ".join(text.split())
  size = len(text.encode(errors="replace"))
  if size > MAX_PROMPT_BYTES:
    raise ValueError(
      f"a prompt must be at most {MAX_PROMPT_BYTES} bytes long, got {size}."
    )
  return text, _weight(weight)


def _weight(value: Any) -> float:
  if (
    isinstance(value, bool)
    or not isinstance(value, int | float)
    or not 0 <= value <= MAX_WEIGHT
  ):
    raise ValueError(
      f"a prompt's weight must be from 0 to {MAX_WEIGHT:g}, got {value!r}."
    )
  return float(value)


def _prompts(value: Any) -> tuple[tuple[str, float], ...]:
  if not isinstance(value, tuple | list):
    raise ValueError(f"prompts must be a list of pairs, got {value!r}.")
  prompts: tuple[tuple[str, float], ...] = ()
  for prompt in value:
    prompts = _with_prompt(prompts, prompt)
  return prompts


def _with_prompt(
  prompts: tuple[tuple[str, float], ...], value: Any
) -> tuple[tuple[str, float], ...]:
  text, weight = _prompt(value)
  texts = [old for old, _ in prompts]
  if text in texts:
    return _reweighted(prompts, (texts.index(text) + 1, weight))
  if len(prompts) >= MAX_PROMPTS:
    raise ValueError(
      f"there can be at most {MAX_PROMPTS} prompts, got one more. Clear them"
      " first."
    )
  return (*prompts, (text, weight))


def _reweighted(
  prompts: tuple[tuple[str, float], ...], value: Any
) -> tuple[tuple[str, float], ...]:
  number, weight = _pair("prompt_weight", value, "a number and a weight")
  if (
    isinstance(number, bool)
    or not isinstance(number, int)
    or not 1 <= number <= len(prompts)
  ):
    raise ValueError(
      f"there is no prompt {number!r}; there are {len(prompts)}."
    )
  text = prompts[number - 1][0]
  return (*prompts[: number - 1], (text, _weight(weight)), *prompts[number:])


def _adapters(value: Any) -> tuple[str, ...]:
  if not isinstance(value, tuple | list) or not all(
    isinstance(name, str) for name in value
  ):
    raise ValueError(f"adapters must be a list of names, got {value!r}.")
  if len(value) > MAX_ADAPTERS:
    raise ValueError(
      f"there can be at most {MAX_ADAPTERS} adapters and blends to choose"
      f" among, the checkpoint alone included, got {len(value)}. Leave some"
      " out."
    )
  for name in value:
    if len(name.encode(errors="replace")) > MAX_ADAPTER_BYTES:
      raise ValueError(
        f"an adapter must be named in at most {MAX_ADAPTER_BYTES} bytes, got"
        f" {name!r}. Install it under a short name: magenta-midi adapters"
        " import."
      )
  return tuple(value)


def _adapter(name: str, value: Any, controls: Controls) -> int:
  count = len(controls.adapters)
  # That none plays can be said where there are none.
  if not count and (name, value) != ("adapter", 1):
    raise ValueError(
      "there are no switchable adapters: name them at the start, with"
      " --adapter."
    )
  whole = isinstance(value, int) and not isinstance(value, bool)
  if name == "adapter_share":
    if not isinstance(value, float) or not 0 <= value < 1:
      raise ValueError(f"adapter_share must be in [0, 1), got {value!r}.")
    return 1 + int(value * count)
  if name == "adapter_step":
    if not whole:
      raise ValueError(f"adapter_step must be a whole number, got {value!r}.")
    return 1 + (controls.adapter - 1 + value) % count
  if not whole or not 1 <= value <= max(count, 1):
    raise ValueError(f"there is no adapter {value!r}; there are {count}.")
  return value


def playing_adapter(controls: Controls) -> str | None:
  """The adapter or blend that plays, for people; None: there is none."""
  if not controls.adapters:
    return None
  return controls.adapters[controls.adapter - 1] or "no adapter"


def to_json(controls: Controls) -> dict[str, Any]:
  """Turns controls into what JSON can hold (tuples become lists there)."""
  return controls._asdict()


def from_json(values: Mapping[str, Any]) -> Controls:
  """Reads what `to_json` wrote; absent controls have their defaults.

  Raises:
    ValueError: A name or a value is wrong.
  """
  controls = Controls()
  for name, value in values.items():
    controls = changed(controls, name, value)
  return controls
