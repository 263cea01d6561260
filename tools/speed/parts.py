"""Cost of the parts of live play beside the model, and their limits.

  python -m tools.speed.parts [--repeat 20]

Each part gets dense music: more than a pianist plays. Prints the best and the
median of several runs, in time of this thread alone, and the best as a share
of the time that the part may take before it is late or somebody waits.
"""

import io
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from magenta_midi.audio.piano import SAMPLE_RATE, synthesize
from magenta_midi.audio.voice import BLOCK, POLYPHONY, Voice
from magenta_midi.cli.jam.display import FRAMES_PER_S, LiveDisplay, Snapshot
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.plain_console import PlainConsole
from magenta_midi.limits import COUNT
from magenta_midi.live.engine.context_mix import inject
from magenta_midi.live.engine.harmony import Harmony
from magenta_midi.live.player import Keyboard
from magenta_midi.live.protocol.controls import INJECTIONS, Controls
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.midi import Score
from magenta_midi.midi.analysis.chords import find_chord
from magenta_midi.midi.piano_roll import plot_piano_roll
from tools.help_text import help_of

# A step of the time grid: what is done for each note is to end within it.
STEP_S = 0.01


class Part(NamedTuple):
  """A thing that is done while somebody plays, or waits."""

  name: str
  call: Callable[[], object]
  # Time limit, s, and its reason.
  within_s: float
  reason: str


def dense(seed: int, notes: int, seconds: float) -> Score:
  """Music without sense, with pedal."""
  rng = np.random.default_rng(seed)
  pedals = np.sort(rng.uniform(0, seconds, 8))
  return Score.from_arrays(
    onset_s=rng.uniform(0, seconds, notes),
    duration_s=rng.uniform(0.05, 1, notes),
    key=rng.integers(21, 109, notes),
    velocity=rng.integers(1, 128, notes),
    pedal=[(at_s, index % 2 == 0) for index, at_s in enumerate(pedals)],
  )


def struck(key: int, at_ns: int = 0) -> Message:
  """A key goes down."""
  return Message(at_ns, bytes((0x90, key, 90)))


def parts(folder: Path) -> Iterator[Part]:
  """All of them, each ready to be called again and again."""
  player, own = dense(1, 400, 20), dense(2, 200, 20)
  for mode in INJECTIONS:
    yield Part(
      f"inject 20 s, {mode}",
      lambda mode=mode: inject(player, own, mode),
      STEP_S,
      "a step",
    )

  keyboard = Keyboard()
  harmony = Harmony(keyboard)
  for key in (48, 60, 64, 67):
    harmony.handle(keyboard.receive(struck(key)))
  message = struck(50, SECOND)
  yield Part(
    "hear a note",
    lambda: harmony.handle(keyboard.receive(message)),
    STEP_S,
    "a step",
  )
  yield Part(
    "name what sounds", lambda: harmony.chord(2 * SECOND), STEP_S, "a step"
  )
  weights = np.bincount([0, 4, 7, 10], minlength=12).astype(float)
  yield Part("name a chord", lambda: find_chord(weights, 48), STEP_S, "a step")

  voice = Voice()
  for key in range(30, 30 + POLYPHONY):
    voice.handle(struck(key).data)
  yield Part(
    f"sound a block of {POLYPHONY} tones",
    voice.render,
    BLOCK / SAMPLE_RATE,
    "the block",
  )

  with LiveDisplay(
    PlainConsole(file=io.StringIO(), width=120, height=40, force_terminal=True),
    clock=itertools.count().__next__,
  ) as display:
    yield Part("draw the screen", drawing(display), 1 / FRAMES_PER_S, "a frame")

  minute = dense(3, 3000, 60)
  yield Part(
    "draw a minute's piano roll",
    lambda: plot_piano_roll(minute, folder / "roll.png"),
    1.0,
    "patience",
  )
  yield Part(
    "render a minute to audio", lambda: synthesize(minute), 60.0, "real time"
  )


def drawing(display: LiveDisplay) -> Callable[[], object]:
  """Draws the next frame of busy playing at each call."""
  busy = [(21 + i % 88, i / 20, i / 20 + 0.4) for i in range(400)]
  snapshots = [
    Snapshot(
      now_s=now_s,
      notes_player=[note for note in busy if now_s - 5 < note[1] < now_s],
      notes_model=[note for note in busy if now_s - 5 < note[1] < now_s],
      plan=[note for note in busy if now_s < note[1] < now_s + 2],
      controls=Controls(),
    )
    for now_s in np.arange(5, 18, 1 / FRAMES_PER_S)
  ]
  frames = itertools.cycle(snapshots)
  return lambda: display.update(next(frames))


def timed_s(call: Callable[[], object], repeat: int) -> np.ndarray:
  """Seconds of this thread, for each of several calls after a first."""
  call()
  # Of what is short, many at once.
  began = time.thread_time()
  call()
  once_s = max(1e-6, time.thread_time() - began)
  count = max(1, int(2e-3 / once_s))
  # Of what is long, few.
  found = []
  for _ in range(max(1, min(repeat, int(5 / once_s)))):
    began = time.thread_time()
    for _ in range(count):
      call()
    found.append((time.thread_time() - began) / count)
  return np.array(found)


@click.command(help=help_of(__doc__))
@click.option(
  "--repeat",
  type=bounded(COUNT),
  default=20,
  show_default=True,
  help="Largest number of runs of each part; they take at most 5 s.",
)
def main(repeat: int) -> None:
  """Prints a table: microseconds of each part, and the share of its time."""
  click.echo("| part | best, µs | median, µs | of | share |")
  click.echo("|---|---|---|---|---|")
  with tempfile.TemporaryDirectory() as folder:
    for part in parts(Path(folder)):
      found = timed_s(part.call, repeat)
      click.echo(
        f"| {part.name} | {1e6 * found.min():.0f}"
        f" | {1e6 * np.median(found):.0f}"
        f" | {part.reason}, {1e3 * part.within_s:.3g} ms"
        f" | {found.min() / part.within_s:.2%} |"
      )


if __name__ == "__main__":
  main()
