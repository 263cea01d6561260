"""Map of the computer's keys to changes and actions."""

from typing import NamedTuple

from magenta_midi.live.protocol.controls import (
  CHOICES,
  GROOVES,
  HARMONIES,
  INJECTIONS,
  MAX_PROMPTS,
  MODES,
  PEDALS,
  RANGES,
  Action,
  Change,
  Controls,
  changed,
)

__all__ = ["KEYS", "KeyMap", "Learn", "key_help"]


class Learn(NamedTuple):
  """Bind the next MIDI controller moved to a target."""

  target: str


class _Key(NamedTuple):
  """A key: what it does, and in which direction where there is one."""

  target: str
  direction: int
  meaning: str


KEYS = {
  " ": _Key("hand_over", 0, "hand the turn over, now"),
  "e": _Key("end", 0, "bring the piece to a close"),
  "p": _Key("panic", 0, "panic: silence at once"),
  "b": _Key("bookmark", 0, "bookmark the last 30 s"),
  "q": _Key("quit", 0, "quit"),
  "m": _Key("mode", 1, "mode: " + ", ".join(MODES)),
  "i": _Key("injection", 1, "injection: " + ", ".join(INJECTIONS)),
  "t": _Key("temperature", -1, "temperature down"),
  "T": _Key("temperature", 1, "temperature up"),
  "g": _Key("guidance", -1, "guidance down"),
  "G": _Key("guidance", 1, "guidance up"),
  "-": _Key("density", -1, "fewer notes"),
  "+": _Key("density", 1, "more notes"),
  "=": _Key("density", 1, "more notes"),
  ",": _Key("loudness", -1, "softer"),
  ".": _Key("loudness", 1, "louder"),
  "z": _Key("pedal", 1, "the model's pedal: " + ", ".join(PEDALS)),
  "[": _Key("register_low", -1, "lowest key an octave down"),
  "{": _Key("register_low", 1, "lowest key an octave up"),
  "]": _Key("register_high", 1, "highest key an octave up"),
  "}": _Key("register_high", -1, "highest key an octave down"),
  "d": _Key("style_s", -1, "prompts take over sooner"),
  "D": _Key("style_s", 1, "prompts take over later"),
  "r": _Key("mix_ratio", -1, "mix ratio of interleave down"),
  "R": _Key("mix_ratio", 1, "mix ratio of interleave up"),
  "\t": _Key("tap", 0, "tap the beat: two taps and more are a tempo"),
  "n": _Key("tempo", -1, "tempo down"),
  "N": _Key("tempo", 1, "tempo up"),
  "y": _Key("tempo", 0, "your own tempo counts again"),
  "f": _Key("free", 0, "free: keep no beat"),
  "o": _Key("groove", 1, "groove: " + ", ".join(GROOVES)),
  "w": _Key("tightness", -1, "keep the beat more freely"),
  "W": _Key("tightness", 1, "keep the beat more strictly"),
  "k": _Key("chord_weight", -1, "keep the chart more freely"),
  "K": _Key("chord_weight", 1, "keep the chart more strictly"),
  "h": _Key("harmony", 1, "harmony: " + ", ".join(HARMONIES)),
  "u": _Key("comp", 0, "comp: play the chart plainly beside you"),
  "v": _Key("comp_loudness", -1, "comp softer"),
  "V": _Key("comp_loudness", 1, "comp louder"),
  "x": _Key("muted", 0, "mute the model, or let it play again"),
  "s": _Key("solo", 0, "solo: it plays on when you stop"),
  "c": _Key("release_clashes", 0, "let go of clashing notes"),
  "a": _Key("next_adapter", 1, "next adapter, round and round"),
  "A": _Key("adapter", -1, "adapter before"),
  **{
    str(number): _Key(
      f"prompt_{number}", 0, f"prompt {number}: weight 0, 0.5, 1 or 2"
    )
    for number in range(1, MAX_PROMPTS + 1)
  },
}
_NAMES = {" ": "space", "\t": "tab"}
_KEY_STEP = 12  # a press moves an end of the register by an octave

_WEIGHTS = (0.0, 0.5, 1.0, 2.0)
_ESCAPE, _ENTER, _ERASE = "\x1b", "\r\n", "\x7f\b"
_ERASE_ALL = "\x15"  # Ctrl-U


def _both(first: str, second: str) -> str:
  """Two meanings in one line: what they begin with stands once."""
  words = second.split()
  for before in first.split():
    if not words or words[0] != before:
      break
    del words[0]
  return f"{first}, {' '.join(words)}"


def key_help() -> list[tuple[str, str]]:
  """Lists keys and what they do, in an order to read."""
  rows: list[tuple[str, str]] = []
  before: _Key | None = None
  for key, what in KEYS.items():
    if key == "=" or key.isdigit():
      continue
    name = _NAMES.get(key, key)
    # Down and up of one control share a line.
    moves = before is not None and before.direction * what.direction
    if before is not None and moves and before.target == what.target:
      rows[-1] = (f"{rows[-1][0]} {name}", _both(rows[-1][1], what.meaning))
    else:
      rows.append((name, what.meaning))
    before = what
  rows += [
    (f"1-{MAX_PROMPTS}", "weight of that prompt: 0, 0.5, 1, 2 in turn"),
    ("/", "type a prompt, or a chart that begins with |; Enter, or Esc"),
    ("0", "drop all prompts"),
    ("l", "learn: a key of this list, then move a MIDI controller"),
    ("?", "this help"),
  ]
  return rows


class KeyMap:
  """Understands one key after the other.

  Attributes:
    help_shown: Whether the player asked for help.
    typing: The prompt being typed, or None.
    learning: Whether the next key names what a controller shall move.
  """

  def __init__(self):
    """Starts with nothing asked for."""
    self.help_shown = False
    self.typing: str | None = None
    self.learning = False

  @property
  def line(self) -> str:
    """Present question to the player; empty if there is none."""
    if self.typing is not None:
      return f"prompt: {self.typing}_  (Enter to use it, Esc to drop it)"
    if self.learning:
      return "learn: press the key of what a controller shall move, or Esc"
    return ""

  def press(
    self, key: str, controls: Controls
  ) -> Change | Action | Learn | None:
    """Takes in one key.

    Args:
      key: One character.
      controls: As they are now: keys step from there.

    Returns:
      What it means; None where nothing. Values stop at the ends of their
      ranges, so a change may be to the value that is.
    """
    if self.typing is not None:
      return self._type(key)
    if self.learning:
      self.learning = False
      return Learn(KEYS[key].target) if key in KEYS else None
    if key == "?":
      self.help_shown = not self.help_shown
    elif key == _ESCAPE:
      self.help_shown = False
    elif key == "l":
      self.learning = True
    elif key == "/":
      self.typing = ""
    elif key == "0":
      return Change("prompts", ())
    elif key in KEYS:
      return _meaning(KEYS[key], controls)
    return None

  def _type(self, key: str) -> Change | None:
    text = self.typing or ""
    if key in _ENTER:
      self.typing = None
      if text.lstrip().startswith("|"):
        return _chart(text)
      return Change("prompt", (text, 1.0)) if text.strip() else None
    if key == _ESCAPE:
      self.typing = None
    elif key in _ERASE:
      self.typing = text[:-1]
    elif key == _ERASE_ALL:
      self.typing = ""
    elif key.isprintable():
      self.typing = text + key
    return None


def _chart(text: str) -> Change:
  """Another chart; `|` alone is none."""
  return Change("chords", "" if not text.strip(" |") else text)


def _meaning(key: _Key, controls: Controls) -> Change | Action | None:
  target = key.target
  if target in tuple(Action):
    return Action(target)
  if target in CHOICES:
    choices = CHOICES[target]
    present = getattr(controls, target)
    # A player's own groove is none of them.
    at = choices.index(present) if present in choices else -1
    return Change(target, choices[(at + 1) % len(choices)])
  if target.startswith("prompt_"):
    number = int(target.removeprefix("prompt_"))
    if number > len(controls.prompts):
      return None
    weight = controls.prompts[number - 1][1]
    heavier = [step for step in _WEIGHTS if step > weight]
    return Change("prompt_weight", (number, (heavier or [_WEIGHTS[0]])[0]))
  if target in ("adapter", "next_adapter"):
    if not controls.adapters:
      return None
    step = changed(controls, "adapter_step", key.direction)
    return Change("adapter", step.adapter)
  if target == "tempo":
    # Where none was asked for, the session knows the player's.
    if key.direction == 0:
      return Change("tempo", 0.0)
    return Change("tempo_step", key.direction * RANGES["tempo"].step)
  if key.direction == 0:
    return Change(target, not getattr(controls, target))
  return Change(target, _stepped(target, key.direction, controls))


def _stepped(target: str, direction: int, controls: Controls) -> float | int:
  bounds, step, top = RANGES[target]
  if target.startswith("register_"):
    present = controls.register[target == "register_high"]
    value = present + direction * _KEY_STEP
  elif target == "density":  # a factor; four presses double it
    present = controls.density
    value = round(present * step**direction, 3)
    value = 1.0 if abs(value - 1) < 0.01 else value
  else:
    present = getattr(controls, target)
    value = round(present + direction * step, 3)
  # A value that was sent may lie above the top: a key does not raise it more.
  value = min(max(value, bounds.low), max(top, present))
  return int(value) if bounds.whole else float(value)
