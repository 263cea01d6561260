"""Display of a session in the terminal, at most 12 times a second."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.segment import Segment
from rich.style import Style

from magenta_midi.cli.jam.cells import encodable, fitted, has_blocks
from magenta_midi.cli.jam.roll import MODEL_COLOR, PLAYER_COLOR, draw_roll
from magenta_midi.cli.terminal.plain_console import PlainConsole
from magenta_midi.live.io.key_map import key_help
from magenta_midi.live.protocol.controls import Controls, playing_adapter
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.protocol.messages import BeatState
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.chart_position import chart_place, live_chart

__all__ = ["FRAMES_PER_S", "LiveDisplay", "Snapshot"]

FRAMES_PER_S = 12  # bars sink about as often by half a line
_MIN_ROWS = 12  # a lower terminal shows the lines only
_PLAIN = Style()
_DIM = Style(dim=True)
_BOLD = Style(bold=True)
_WARN = Style(color="#d55e00", bold=True)
_PLAYER_INK = Style(color=PLAYER_COLOR, bold=True)
_MODEL_INK = Style(color=MODEL_COLOR, bold=True)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
  """All that is on the screen at one moment; times in seconds of one clock.

  Empty texts and None are not shown. Sequences may hold plain triples.
  """

  # Now, on the clock of the notes.
  now_s: float = 0.0
  # Notes that the player has played or holds.
  notes_player: Sequence[tuple[int, float, float]] = ()
  # Notes that the model has played or holds.
  notes_model: Sequence[tuple[int, float, float]] = ()
  # Notes that the model plans to play from now on.
  plan: Sequence[tuple[int, float, float]] = ()
  # Whether the sustain pedals are down.
  pedal_player: bool = False
  pedal_model: bool = False
  # As in the controls; shown from there.
  controls: Controls = field(default_factory=Controls)
  # Present turn, or state of the accompaniment policy: "you", "support", ...
  turn: str = ""
  # Detected in the music: "Am7", "C major".
  chord: str = ""
  key: str = ""
  # The beat, and the place in the bar.
  beat: BeatState = field(default_factory=BeatState)
  # Input to new plan, and input to the earliest sounding response.
  compute_ms_p50: float | None = None
  compute_ms_p99: float | None = None
  reaction_ms: float | None = None
  # Age of the plan that is playing.
  staleness_s: float | None = None
  # The model's keys that sound, and limits that took effect so far.
  sounding: int = 0
  clips: int = 0
  # Names of the ports; what plays the sound.
  port_in: str = ""
  port_out: str = ""
  sound: str = ""
  # One line for the player, such as what is being learned.
  message: str = ""
  # Whether the message is a warning.
  warning: bool = False
  # Whether the list of keys stands in place of the roll.
  help_shown: bool = False


class _Picture:
  """A snapshot as lines of exactly the console's width."""

  def __init__(self, snapshot: Snapshot):
    self.snapshot = snapshot

  def __rich_console__(
    self, console: Console, options: ConsoleOptions
  ) -> RenderResult:
    width = max(options.max_width, 1)
    height = options.height or console.size.height
    newline = Segment.line()
    lines = self.lines(width, height, has_blocks(console))
    for number, line in enumerate(lines):
      if number:
        yield newline
      yield from line

  def lines(
    self, width: int, height: int, colored: bool
  ) -> list[list[Segment]]:
    """Draws it: `height` lines of `width` cells, fewer where it is all."""
    now = self.snapshot
    head = [fitted(_heading(now), width)]
    if chart := _chart(now):
      head.append(fitted(chart, width))
    foot = [
      fitted(_settings(now.controls), width),
      fitted(_prompts(now.controls), width),
      fitted(_meters(now), width),
      fitted(_ports(now), width),
      fitted(_message(now), width),
    ]
    rows = height - len(head) - len(foot)
    if now.help_shown:
      middle = _help(width, rows)
    elif height >= _MIN_ROWS:
      middle = draw_roll(
        now.notes_player,
        now.notes_model,
        now.plan,
        now_s=now.now_s,
        width=width,
        rows=rows,
        colored=colored,
      )
    else:
      middle = []
    return (head + middle + foot)[: max(height, 1)]


class LiveDisplay:
  """Draws snapshots; a context manager that gives the terminal back.

  On a terminal it has the whole screen to itself and leaves it as it was.
  Elsewhere it prints the messages only, each once.
  """

  def __init__(
    self,
    console: PlainConsole | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Draws on a console; by default on standard error."""
    self.console = console or PlainConsole(stderr=True)
    self._clock = clock
    self._next_s = float("-inf")
    self._message = ""
    self._size = (0, 0)
    self._drawn: list[list[Segment]] = []
    self._open = False

  def __enter__(self) -> "LiveDisplay":
    if self.console.is_terminal:
      self.console.set_alt_screen(True)
      self.console.show_cursor(False)
      self._open = True
    return self

  def __exit__(self, *_: object) -> None:
    if self._open:
      self._open = False
      self.console.show_cursor(True)
      self.console.set_alt_screen(False)

  @property
  def due(self) -> bool:
    """Whether the next snapshot would be drawn: else spare its making."""
    return self._clock() >= self._next_s

  def update(self, snapshot: Snapshot) -> bool:
    """Draws a snapshot, unless the last one is less than 1/12 s ago.

    Returns:
      Whether it was drawn, or its message printed.
    """
    if not self._open:
      return self._print_message(snapshot.message)
    now_s = self._clock()
    if now_s < self._next_s:
      return False
    self._next_s = now_s + 1 / FRAMES_PER_S
    self._draw(snapshot)
    return True

  def _draw(self, snapshot: Snapshot) -> None:
    """Writes the lines that differ from those on the screen."""
    size = self.console.size
    if (size.width, size.height) != self._size:
      self._size = (size.width, size.height)
      self._drawn = []
      self.console.control(Control.clear())
    lines = _Picture(snapshot).lines(
      size.width, size.height, has_blocks(self.console)
    )
    lines = encodable(lines, self.console.encoding)
    out = []
    for number in range(max(len(lines), len(self._drawn))):
      line = lines[number] if number < len(lines) else _blank(size.width)
      if number >= len(self._drawn) or line != self._drawn[number]:
        out.append(Control.move_to(0, number).segment)
        out += line
    self._drawn = lines
    if out:
      # Cropping would count all of it as one line.
      self.console.print(_Written(out), end="", crop=False)

  def _print_message(self, message: str) -> bool:
    if message == self._message:
      return False
    self._message = message
    if message:
      self.console.print(message, soft_wrap=True)
    return bool(message)


class _Written:
  """Segments as they are; never wrapped."""

  def __init__(self, segments: list[Segment]):
    self.segments = segments

  def __rich_console__(
    self, console: Console, options: ConsoleOptions
  ) -> RenderResult:
    del console, options
    return self.segments


def _blank(width: int) -> list[Segment]:
  return [Segment(" " * width)]


def _named(name: str, value: str, style: Style = _PLAIN) -> list:
  return [(f"  {name} ", _DIM), (value, style)]


def _heading(now: Snapshot) -> list[tuple[str, Style]]:
  line = [(f" {now.controls.mode}", _BOLD)]
  if now.turn:
    line += [
      (f"  {now.turn}", _PLAYER_INK if now.turn == "you" else _MODEL_INK)
    ]
  line += _named("chord", f"{now.chord or '-':<6}")
  line += _named("key", f"{now.key or '-':<9}")
  line += _beat(now)
  line += [("  you", _PLAYER_INK), (" and ", _DIM), ("the model", _MODEL_INK)]
  if now.pedal_player or now.pedal_model:
    line += [("  pedal ", _DIM)]
    line += [("you ", _PLAYER_INK)] if now.pedal_player else []
    line += [("model", _MODEL_INK)] if now.pedal_model else []
  return line


def _beat(now: Snapshot) -> list[tuple[str, Style]]:
  """The tempo, whose it is, and how sure; the beat of the bar, as it falls."""
  beat, controls = now.beat, now.controls
  sure = "" if beat.confidence is None else f" {beat.confidence:.2f}"
  if beat.bpm is None or controls.free:
    tempo = "free" if controls.free else "free so far"
    return [*_named("tempo", tempo), (sure, _DIM)]
  line = _named("tempo", f"{beat.bpm:.0f} BPM")
  bars = Bars(beat.bpm, beat.beats_per_bar, beat.start_ns)
  place = int(bars.position(round(now.now_s * SECOND)).beat) + 1
  line += [(f" {place}/{beat.beats_per_bar}", _BOLD)]
  whose = {"clock": " MIDI clock", "asked": ""}.get(
    beat.source, f" yours{sure}"
  )
  return [*line, (whose, _DIM), (f" {controls.groove}", _PLAIN)]


def _chart(now: Snapshot) -> list[tuple[str, Style]]:
  """Bar and chord of the chart, and the chord that comes next."""
  beat, chart = now.beat, live_chart(now.controls.chords)
  if chart is None:
    harmony = now.controls.harmony
    return [] if harmony == "off" else _named("harmony", harmony)
  if beat.bpm is None:
    return _named("chart", "waits for a beat")
  bars = Bars(beat.bpm, beat.beats_per_bar, beat.start_ns)
  place = chart_place(chart, bars, round(now.now_s * SECOND))
  count = len(chart.bars)
  if place is None:
    return _named("chart", f"{count} bars, {chart.place(0).chord.name} first")
  line = _named("chart", f"bar {place.bar + 1}/{count} ")
  line += [(place.chord.name, _BOLD)]
  following = chart.after(place)
  if following is not None:
    line += [(f" then {following.name}", _DIM)]
  if now.controls.comp:
    line += _named("comp", f"{now.controls.comp_loudness:+d}")
  return line


def _settings(controls: Controls) -> list[tuple[str, Style]]:
  line = _named("temperature", f"{controls.temperature:.2f}")
  line += _named("guidance", f"{controls.guidance:.2f}")
  line += _named("density", f"{controls.density:.2f}x")
  low, high = controls.register
  line += _named("register", f"{_key_name(low)}-{_key_name(high)}")
  line += _named("loudness", f"{controls.loudness:+d}")
  if controls.pedal != "own":
    line += _named("pedal", controls.pedal)
  return line


def _prompts(controls: Controls) -> list[tuple[str, Style]]:
  injection = controls.injection
  if injection == "interleave":
    injection += f" {controls.mix_ratio:.2f}"
  line = [("  MUTED", _WARN)] if controls.muted else []
  if adapter := playing_adapter(controls):
    place = f" {controls.adapter}/{len(controls.adapters)}"
    line += [*_named("adapter", adapter, _MODEL_INK), (place, _DIM)]
  line += _named("injection", injection)
  if controls.solo:
    line += [("  solo", _BOLD)]
  if not controls.release_clashes:
    line += [("  clashes stay", _PLAIN)]
  line += [("  prompts", _DIM)]
  for number, (text, weight) in enumerate(controls.prompts, 1):
    style = _PLAIN if weight else _DIM
    line += [(f" {number} ", _DIM), (f"{text} ({weight:g})", style)]
  return line if controls.prompts else [*line, (" none; / adds one", _DIM)]


def _meters(now: Snapshot) -> list[tuple[str, Style]]:
  compute = f"{_ms(now.compute_ms_p50)}/{_ms(now.compute_ms_p99)} ms"
  # Warns of times that make notes audibly late.
  slow = now.compute_ms_p99 is not None and now.compute_ms_p99 > 30
  line = _named("compute", f"{compute:<9}", _WARN if slow else _PLAIN)
  slow = now.reaction_ms is not None and now.reaction_ms > 50
  line += [(_bar(now.reaction_ms, 100.0), _WARN if slow else _MODEL_INK)]
  reaction = f"{_ms(now.reaction_ms)} ms"
  line += _named("reaction", f"{reaction:<6}", _WARN if slow else _PLAIN)
  stale = "-" if now.staleness_s is None else f"{now.staleness_s:.1f}"
  line += _named("plan", f"{stale} s")
  line += _named("sounding", f"{now.sounding:2d}")
  line += _named("clips", str(now.clips), _WARN if now.clips else _PLAIN)
  return line


def _ports(now: Snapshot) -> list[tuple[str, Style]]:
  line = _named("in", now.port_in or "none", _PLAIN if now.port_in else _WARN)
  line += _named("out", now.port_out or "none")
  return line + (_named("sound", now.sound) if now.sound else [])


def _message(now: Snapshot) -> list[tuple[str, Style]]:
  if now.message:
    return [(f"  {now.message}", _WARN if now.warning else _BOLD)]
  return [("  ? keys   space hand over   m mode   p panic   q quit", _DIM)]


def _ms(value: float | None) -> str:
  return "-" if value is None else f"{value:.0f}"


def _bar(value: float | None, full: float, cells: int = 5) -> str:
  """A meter with eighths of a cell."""
  share = min(max((value or 0.0) / full, 0.0), 1.0)
  whole, rest = divmod(round(share * cells * 8), 8)
  bar = "█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
  return f"  {bar:<{cells}}"


def _key_name(key: int) -> str:
  names = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
  return f"{names[key % 12]}{key // 12 - 1}"


def _help(width: int, rows: int) -> list[list[Segment]]:
  """Keys in as many columns as there is room for."""
  entries = key_help()
  columns = max(1, width // 52)
  column = -(-len(entries) // columns)
  lines = []
  for row in range(max(rows, 0)):
    line: list[tuple[str, Style]] = []
    for key, meaning in entries[row::column] if row < column else []:
      line += [(f"  {key:>6}  ", _BOLD), (f"{meaning[:42]:<42}", _PLAIN)]
    lines.append(fitted(line, width))
  return lines
