"""Settings of a live session, and the ports that they name."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magenta_midi.limits import CHANNEL, COUNT, TEMPO
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.port_names import (
  display_names,
  find_port,
  obvious_keyboard,
)
from magenta_midi.live.io.port_scan import scan
from magenta_midi.live.processes.host import HostError
from magenta_midi.live.processes.port_process import PortConfig
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.midi.meter import Meter
from magenta_midi.settings import check_bounds

__all__ = [
  "NoKeyboard",
  "NoMidiSystem",
  "PortSettings",
  "RecordingSettings",
  "SamePort",
  "SessionSettings",
  "find_ports",
]


class NoMidiSystem(HostError):
  """No MIDI system works here; the text says why."""


class NoKeyboard(ValueError):
  """No input port looks like a keyboard."""


class SamePort(ValueError):
  """Input and output are one port: the model would receive itself."""

  def __init__(self, name: str):
    super().__init__(f"input and output are both {name}.")
    self.name = name


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortSettings:
  """The ports of a session, by unique parts of their names.

  Attributes:
    api: The MIDI system; None: the first that works.
    input: The keyboard; None: a virtual port.
    output: The instrument; None: a virtual port.
    thru: A port that the keyboard's messages are passed on to.
    control: A second controller.
    find_keyboard: Whether the obvious keyboard is taken where no input is
      named.
    calibrated: Whether the keyboard's saved calibration is used.
    channel: MIDI channel of the model's notes, 1 to 16.
    shared: Whether player and model play one instrument.
    sound: Play through a built-in synthesizer in place of `output`.
    clock_out: Send MIDI clock once there is a beat.
    no_input: No keyboard: the client plays in.
    no_output: Nothing is sent to any port.
  """

  api: str | None = None
  input: str | None = None
  output: str | None = None
  thru: str | None = None
  control: str | None = None
  find_keyboard: bool = False
  calibrated: bool = False
  channel: int = 2
  shared: bool = False
  sound: bool = False
  clock_out: bool = False
  no_input: bool = False
  no_output: bool = False

  def __post_init__(self) -> None:
    """Refuses a channel that MIDI has not."""
    check_bounds(self, CHANNEL, "channel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordingSettings:
  """Settings of a session's recording: its folder, and facts to store.

  Attributes:
    sessions: Folder in which the session's folder is made; None: the user's
      data folder.
    name: Added to the folder's date and time.
    facts: JSON-able; stored as the session's settings.
    adapters: Digests of the adapters, from `check_choices`; stored likewise.
  """

  sessions: Path | None = None
  name: str | None = None
  facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  adapters: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionSettings:
  """All that a live session is started with.

  Attributes:
    checkpoint: A folder; None: the embedded one.
    engine: Settings of the engine.
    controls: At the start.
    ports: Which ports, and how they are played.
    tempo: Beats a minute, with a bar of count-in and a metronome; None: no
      metronome. A tempo without one is `Controls.tempo`.
    recording: Where the session is recorded; None: nowhere.
    trace: File for the engine's calls and decisions where it is not recorded.
    recent: Number of answers that the figures cover; None: all.
  """

  checkpoint: str | None = None
  engine: EngineSettings = dataclasses.field(default_factory=EngineSettings)
  controls: Controls = dataclasses.field(default_factory=Controls)
  ports: PortSettings = dataclasses.field(default_factory=PortSettings)
  tempo: float | None = None
  recording: RecordingSettings | None = None
  trace: Path | None = None
  recent: int | None = 2000

  def __post_init__(self) -> None:
    """Refuses numbers that no session can have; the parts check their own."""
    check_bounds(self, TEMPO, "tempo")
    check_bounds(self, COUNT, "recent")


def find_ports(
  settings: PortSettings, *, metronome: bool, meter: Meter | None = None
) -> PortConfig:
  """Finds the ports that the settings name.

  Args:
    settings: Of the session.
    metronome: Whether there are clicks to play.
    meter: Of the session.

  Raises:
    NoMidiSystem: There is none, and the settings need one.
    NoKeyboard: No input was named, and none is obvious.
    SamePort: Input and output are one port.
    ValueError: A name matches no port or several.
  """
  meter = meter or Meter()
  api, name, output = None, settings.input, settings.output
  silent = settings.sound or settings.no_output
  if not (settings.no_input and silent and not settings.thru):
    found = scan(api=settings.api)
    if not found.api:
      raise NoMidiSystem(f"no MIDI system works here: {found.problem}")
    api = found.api
    if name is not None:
      name = find_port(name, found.inputs, kind="input port")
    elif settings.find_keyboard and not settings.no_input:
      name = obvious_keyboard(found.inputs)
      if name is None:
        raise NoKeyboard("no keyboard was found.")
    if output is not None:
      output = find_port(output, found.outputs, kind="output port")
    if name is not None and name == output:
      raise SamePort(name)
  calibration = Calibration()
  if settings.calibrated:
    calibration = Calibration.load(display_names([name])[0] if name else "")
  return PortConfig(
    api=api,
    input=name,
    output=output,
    thru=settings.thru,
    control=settings.control,
    channel=settings.channel,
    shared=settings.shared,
    sound=settings.sound,
    metronome=metronome,
    clock_out=settings.clock_out,
    quarters=meter.quarters,
    no_input=settings.no_input,
    no_output=settings.no_output,
    calibration=calibration,
  )
