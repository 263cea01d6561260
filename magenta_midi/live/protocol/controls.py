"""Controls and actions of the player while playing.

`Controls` is state: a value for each control, at any time. An `Action` is an
event: it happens once and leaves no value behind.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from magenta_midi.limits import (
  CHORD_WEIGHT,
  DENSITY_FACTOR,
  GUIDANCE,
  PROMPT_WEIGHT,
  TEMPERATURE,
  TEMPO,
  TIGHTNESS,
  Bounds,
)
from magenta_midi.live.timing.chart_position import live_chart, live_text
from magenta_midi.midi.groove import AUTO, split_groove
from magenta_midi.midi.groove import GROOVES as NAMED
from magenta_midi.plain_text import nfc

__all__ = [
  "ACTIONS",
  "CHOICES",
  "GROOVES",
  "HARMONIES",
  "INJECTIONS",
  "MAX_ADAPTERS",
  "MAX_PROMPTS",
  "MODES",
  "PEDALS",
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
GROOVES = (AUTO, *NAMED)
HARMONIES = ("off", "follow")
PEDALS = ("own", "off", "little", "much")
# Controls of a few names.
CHOICES = {
  "mode": MODES,
  "injection": INJECTIONS,
  "groove": GROOVES,
  "harmony": HARMONIES,
  "pedal": PEDALS,
}
TOGGLES = ("solo", "release_clashes", "muted", "free", "comp")

LOWEST_KEY, HIGHEST_KEY = 21, 108  # of a piano
USUAL_BPM = 100.0
USUAL_WEIGHT = 0.75  # of a chart
OCTAVE = 12  # the least span of a register: narrower, no chord fits
MAX_PROMPTS = 8
# With quotes escaped and a weight this still fits a record.
MAX_PROMPT_BYTES = 200
# Each is a copy of the weights that it changes.
MAX_ADAPTERS = 8
MAX_ADAPTER_BYTES = 200
MAX_GROOVE_BYTES = 280


class Range(NamedTuple):
  """How a numeric control moves.

  Attributes:
    bounds: The values that it takes.
    step: What one press of a key moves it by; of `density` a factor.
    top: Where knobs and keys end; what is typed or sent may be higher.
  """

  bounds: Bounds
  step: float | int
  top: float | int


def _whole_range(bounds: Bounds, step: float | int) -> Range:
  """The keys and knobs reach all of it."""
  return Range(bounds, step, bounds.high)


_KEYS = Bounds(LOWEST_KEY, HIGHEST_KEY, "MIDI key", whole=True)
_LOUDER = Bounds(-30, 30, "velocity, against the player's own", whole=True)
RANGES = {
  # Above 2 there is no more music in it.
  "temperature": Range(TEMPERATURE, 0.05, 2.0),
  "guidance": _whole_range(GUIDANCE, 0.25),
  "density": _whole_range(DENSITY_FACTOR, 2**0.25),
  "register_low": _whole_range(_KEYS, 1),
  "register_high": _whole_range(_KEYS, 1),
  "loudness": _whole_range(_LOUDER, 2),
  "style_s": _whole_range(Bounds(0, 30, "seconds"), 1.0),
  "mix_ratio": _whole_range(
    Bounds(0, 1, "share of the model's own notes"), 0.05
  ),
  "tightness": _whole_range(TIGHTNESS, 0.25),
  "chord_weight": _whole_range(CHORD_WEIGHT, 0.25),
  "comp_loudness": _whole_range(_LOUDER, 2),
  # Nobody turns a knob further.
  "tempo": Range(TEMPO, 1.0, 240.0),
}


class Action(StrEnum):
  """Something to do once, now."""

  HAND_OVER = "hand_over"  # end the present turn
  END = "end"  # bring the piece to a close
  PANIC = "panic"  # silence, at once
  TAP = "tap"  # a beat, of the tempo that is wanted
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
    guidance: Weight of prompts and of what density, register, loudness and
      pedal ask against nothing being asked; 0 is none. It costs nothing until
      something is asked.
    density: Factor on the model's own rate of events.
    register: Lowest and highest key that it may play.
    loudness: Velocity offset against the player's own loudness.
    pedal: How much of the sustain pedal the model uses, one of PEDALS: `own` as
      it likes, `off` none at all; `little` and `much` are asked of a checkpoint
      that reads control tokens.
    style_s: How long it takes to go over to other prompts or weights, s.
    injection: How the player's music enters the context, one of INJECTIONS.
    mix_ratio: Share of the model's own notes, for `interleave`.
    prompts: Texts and their weights; a weight of 0 keeps a text listed.
      Weights are relative; all 0, or no prompt, is no style.
    solo: Whether it plays on when the player has stopped.
    release_clashes: Whether it lets go of notes that come to clash.
    muted: Whether it is silent and only listens on.
    tempo: Beats a minute that were asked for; 0: the player's own.
    groove: Where in the beat notes are likely: one of GROOVES or a player's
      `@NAME`, and a weight, as `swing:0.5`.
    tightness: How strictly the beat is kept; 0: freely.
    free: Whether no beat is kept at all.
    chords: A chart as text that the bars go through; empty: none.
    chord_weight: How strictly it is kept; 0: not at all.
    harmony: Where there is no chart: `follow` keeps weakly to the chord that
      the player's notes make, `off` does not; one of HARMONIES.
    comp: Whether the chart is also played plainly, as accompaniment.
    comp_loudness: Velocity offset of that.
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
  pedal: str = "own"
  style_s: float = 4.0
  injection: str = "both"
  mix_ratio: float = 0.3
  prompts: tuple[tuple[str, float], ...] = ()
  solo: bool = False
  release_clashes: bool = True
  muted: bool = False
  tempo: float = 0.0
  groove: str = AUTO
  tightness: float = 1.0
  free: bool = False
  chords: str = ""
  chord_weight: float = USUAL_WEIGHT
  harmony: str = "off"
  comp: bool = False
  comp_loudness: int = 0
  adapters: tuple[str, ...] = ()
  adapter: int = 1


def changed(controls: Controls, name: str, value: Any) -> Controls:
  """Sets one control.

  Besides the fields of `Controls`: `register_low` and `register_high` move
  one end and stop an octave short of the other; `prompt`, a (text, weight),
  weights that prompt and adds it if it is new; `tempo_step` adds so many beats
  a minute, to 100 where none were asked for; `prompt_weight`, a (number
  from 1, weight), weights one that is there; `adapter_step` goes so many
  adapters on, round and round; `adapter_share` takes the one that lies at a
  share of the way, in [0, 1).

  Raises:
    ValueError: No such control, or no such value; one line says what is.
  """
  match name:
    case "groove":
      return controls._replace(groove=_groove(value))
    case "mode" | "injection" | "harmony" | "pedal":
      choice = _choice(name, value, CHOICES[name])
      return controls._replace(**{name: choice})
    case _ if name in TOGGLES:
      return controls._replace(**{name: _toggle(name, value)})
    case "tempo" if _number_is(value, 0):
      return controls._replace(tempo=0.0)
    case "tempo_step":
      tempo = (controls.tempo or USUAL_BPM) + _step(name, value)
      low, high = TEMPO.low, TEMPO.high
      return controls._replace(tempo=float(min(max(tempo, low), high)))
    case "chords":
      return controls._replace(chords=_chords(value))
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
  "tempo_step",
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
  return RANGES[name].bounds.check(name, value)


def _number_is(value: Any, number: int) -> bool:
  return (
    isinstance(value, int | float)
    and not isinstance(value, bool)
    and value == number
  )


def _chords(value: Any) -> str:
  if not isinstance(value, str):
    raise ValueError(f"chords must be a chart as text, got {value!r}.")
  chart = live_chart(value.strip())
  return "" if chart is None else live_text(chart)


def _step(name: str, value: Any) -> float:
  return Bounds(-TEMPO.high, TEMPO.high, "beats a minute").check(name, value)


def _groove(value: Any) -> str:
  known = f"{', '.join(GROOVES)} or @NAME, with or without :WEIGHT"
  if not isinstance(value, str) or not value.isprintable():
    raise ValueError(f"groove must be {known}, got {value!r}.")
  value = nfc(value)
  name, _ = split_groove(value)
  if len(value.encode()) > MAX_GROOVE_BYTES or (
    name not in GROOVES and (name[:1] != "@" or len(name) < 2)
  ):
    raise ValueError(f"groove must be {known}, got {value[:60]!r}.")
  return value


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
  text = nfc(" ".join(text.split()))
  size = len(text.encode(errors="replace"))
  if size > MAX_PROMPT_BYTES:
    raise ValueError(
      f"a prompt must be at most {MAX_PROMPT_BYTES} bytes long, got {size}."
    )
  return text, _weight(weight)


def _weight(value: Any) -> float:
  return PROMPT_WEIGHT.check("a prompt's weight", value)


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
  """Reads what `to_json` wrote, in earlier versions too.

  Absent controls have their defaults, but for `free`: it is on.

  Raises:
    ValueError: A name or a value is wrong.
  """
  controls = Controls()
  if "free" not in values:
    # Sessions of before there was a beat were played freely.
    controls = controls._replace(free=True)
  for name, value in values.items():
    controls = changed(controls, name, value)
  return controls
