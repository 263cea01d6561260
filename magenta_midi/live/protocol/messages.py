"""Typed messages between the application and its two processes.

Each class has a code, its tag; `CODES` is the table of all of them. A record
is JSON, such as `{"type":"port_changed","port":"Keystation",...}`. Notes and
plans cross in records of their own, of a fixed size: see
`live.processes.wire_format`.
"""

from typing import Any, Literal

import msgspec

from magenta_midi.live.protocol.controls import Action, Change, Controls

__all__ = [
  "CODES",
  "REQUEST_BYTES",
  "TEXT_BYTES",
  "Act",
  "BeatState",
  "EchoFound",
  "MessageUnsent",
  "ModelCompiling",
  "ModelFailed",
  "ModelLoading",
  "ModelProblem",
  "ModelReady",
  "ModelReport",
  "ModelRequest",
  "ModelRestarting",
  "ModelState",
  "PlanReceived",
  "PlayerInput",
  "PortChanged",
  "PortReport",
  "PortRequest",
  "PortsFailed",
  "PortsReady",
  "PortsState",
  "Quit",
  "SetBars",
  "SetComp",
  "SetControl",
  "Silence",
  "decode",
  "encode",
  "request_of",
  "shortened",
]

# A report; the controls with eight prompts, eight adapters and a plan fit.
TEXT_BYTES = 8192
# A request; the longest prompt and chart fit, with quotes escaped.
REQUEST_BYTES = 1280
# A problem is a line for people.
_MAX_CHARACTERS = 1000


# From the model.


class ModelLoading(
  msgspec.Struct, frozen=True, kw_only=True, tag="model_loading"
):
  """The model's process began to load."""


class ModelCompiling(
  msgspec.Struct, frozen=True, kw_only=True, tag="model_compiling"
):
  """One more function of the model is compiled.

  Attributes:
    done: How many are.
    total: How many there are.
  """

  done: int
  total: int


class ModelReady(msgspec.Struct, frozen=True, kw_only=True, tag="model_ready"):
  """The model can play.

  Attributes:
    checkpoint: Its folder, or "embedded".
    sha256: Of its weights; None where the checkpoint stores none.
    cpu_s: Processor time, s, that a second of dense music takes.
    wall_s: Time from begin to end of the same.
  """

  checkpoint: str
  sha256: str | None
  cpu_s: float = 0.0
  wall_s: float = 0.0


class ModelFailed(
  msgspec.Struct, frozen=True, kw_only=True, tag="model_failed"
):
  """The model cannot play; its process ends.

  Attributes:
    problem: Why, in one line.
  """

  problem: str


class ModelRestarting(
  msgspec.Struct, frozen=True, kw_only=True, tag="model_restarting"
):
  """The model's process ended unexpectedly and is started again.

  Attributes:
    code: Its exit code; negative: the signal that ended it.
  """

  code: int | None


class ModelProblem(
  msgspec.Struct, frozen=True, kw_only=True, tag="model_problem"
):
  """A request was refused, or something does not work; the model plays on.

  Attributes:
    problem: One line for the player.
  """

  problem: str


class BeatState(msgspec.Struct, frozen=True, kw_only=True):
  """The beat of a session.

  Attributes:
    bpm: Beats a minute; None: there is no beat.
    beats_per_bar: Of its bars.
    start_ns: When the first bar begins.
    source: `clock`, `asked`, `player`, or "".
    confidence: In the pulse of the player's notes, 0 to 1; None: too few.
  """

  bpm: float | None = None
  beats_per_bar: int = 4
  start_ns: int = 0
  source: str = ""
  confidence: float | None = None


class ModelState(msgspec.Struct, frozen=True, kw_only=True, tag="model_state"):
  """The model's state, 12 times a second.

  Attributes:
    now_ns: When, in the session's time.
    mode: One of `controls.MODES`.
    replying: Whether it is the model's turn.
    busy: Share of the time that the model computed, in [0, 1].
    horizon_ms: Commit horizon.
    plan_age_ms: Since the newest plan; None before the first.
    chord: Name of the chord that sounds, or "".
    key: Name of the key, or "".
    plan: Key, onset and duration, ns, of the next planned notes.
    compiles: Functions compiled while playing; should stay 0.
    switches: Changes of the adapter so far.
    slowest_switch_ms: The longest of them; None before the first.
    controls: As they are now.
    beat: Of the session.
  """

  now_ns: int
  mode: str
  replying: bool
  busy: float
  horizon_ms: float
  plan_age_ms: float | None
  chord: str
  key: str
  plan: list[tuple[int, int, int]]
  compiles: int
  switches: int
  slowest_switch_ms: float | None
  controls: Controls
  beat: BeatState = BeatState()


# From the ports.


class PortsReady(msgspec.Struct, frozen=True, kw_only=True, tag="ports_ready"):
  """The ports are open.

  Attributes:
    inputs: Their names.
    output: Its name, or "".
  """

  inputs: list[str]
  output: str


class PortsFailed(
  msgspec.Struct, frozen=True, kw_only=True, tag="ports_failed"
):
  """The ports cannot be opened, or their process ends with an error.

  Attributes:
    problem: Why, in one line.
  """

  problem: str


class PlanReceived(
  msgspec.Struct, frozen=True, kw_only=True, tag="plan_received"
):
  """A plan that answers an event of the player reached the ports.

  Attributes:
    compute_ns: Since that event.
    now_ns: When, in the session's time.
    why: As `commands.Replan.why`.
  """

  compute_ns: int
  now_ns: int
  why: str


class PortChanged(
  msgspec.Struct, frozen=True, kw_only=True, tag="port_changed"
):
  """A port vanished or came back.

  Attributes:
    port: Its name.
    state: Which of the two.
    role: What the session uses it for.
  """

  port: str
  state: Literal["lost", "back"]
  role: Literal["player", "control", "output"]


class EchoFound(msgspec.Struct, frozen=True, kw_only=True, tag="echo_found"):
  """The model's own notes come back in and are muted.

  Attributes:
    description: Of the loop, for people.
  """

  description: str


class MessageUnsent(
  msgspec.Struct, frozen=True, kw_only=True, tag="message_unsent"
):
  """The output port refused a message.

  Attributes:
    data: Its bytes.
  """

  data: bytes


class PortsState(msgspec.Struct, frozen=True, kw_only=True, tag="ports_state"):
  """The ports' state, 5 times a second.

  Attributes:
    late_ns: By how much the note-ons since the last report were late.
    clips: Limit -> how often it took effect so far.
    dropped: Messages of the player that were lost so far.
    ticks: Time, age of the plan (both ns), and whether anything sounds or
      will, 8 times a second.
  """

  late_ns: list[int]
  clips: dict[str, int]
  dropped: int
  ticks: list[tuple[int, int, bool]]


# To the model, to the ports, or to both.


class SetControl(msgspec.Struct, frozen=True, kw_only=True, tag="set_control"):
  """To the model: a control has a new value.

  Attributes:
    name: As `controls.changed` takes it.
    value: Likewise; lists arrive as tuples.
  """

  name: str
  value: Any


class Act(msgspec.Struct, frozen=True, kw_only=True, tag="act"):
  """To the model: do something once, now."""

  action: Action


class SetBars(msgspec.Struct, frozen=True, kw_only=True, tag="set_bars"):
  """To both: tempo and bars from here on.

  Attributes:
    bpm: Beats a minute.
    beats_per_bar: Of a bar.
    start_ns: When the first bar begins.
    follows: Whether the player's pulse moves them from there on.
  """

  bpm: float
  beats_per_bar: int
  start_ns: int
  follows: bool = False


class SetComp(msgspec.Struct, frozen=True, kw_only=True, tag="set_comp"):
  """To the ports: how the chart is played plainly beside the duet.

  Attributes:
    chords: The chart as text; empty: none.
    on: Whether it is played at all.
    loudness: Added to velocities.
  """

  chords: str
  on: bool
  loudness: int


class PlayerInput(
  msgspec.Struct, frozen=True, kw_only=True, tag="player_input"
):
  """To the ports: a message of the player that comes from no port.

  Attributes:
    data: Its bytes.
    time_ns: When; None: as it arrives.
  """

  data: bytes
  time_ns: int | None = None


class Silence(msgspec.Struct, frozen=True, kw_only=True, tag="silence"):
  """To the ports: every note of the model ends at once."""


class Quit(msgspec.Struct, frozen=True, kw_only=True, tag="quit"):
  """To both: the process ends in order."""


ModelReport = (
  ModelLoading
  | ModelCompiling
  | ModelReady
  | ModelFailed
  | ModelRestarting
  | ModelProblem
  | ModelState
)
PortReport = (
  PortsReady
  | PortsFailed
  | PlanReceived
  | PortChanged
  | EchoFound
  | MessageUnsent
  | PortsState
)
ModelRequest = SetControl | Act | SetBars | Quit
PortRequest = PlayerInput | SetBars | SetComp | Silence | Quit
Request = ModelRequest | PortRequest

# Code -> class.
CODES: dict[str, type[msgspec.Struct]] = {
  str(kind.__struct_config__.tag): kind
  for kind in (
    *(ModelLoading, ModelCompiling, ModelReady, ModelFailed),
    *(ModelRestarting, ModelProblem, ModelState),
    *(PortsReady, PortsFailed, PlanReceived, PortChanged, EchoFound),
    *(MessageUnsent, PortsState),
    *(SetControl, Act, SetBars, SetComp, PlayerInput, Silence, Quit),
  )
}


def _plain(value: Any) -> Any:
  """A number of another library, such as NumPy's float64, as Python's."""
  for kind in (float, int, str):
    if isinstance(value, kind):
      return kind(value)
  raise ValueError(f"a message cannot hold a {type(value).__name__}.")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder(ModelReport | PortReport | Request)


def encode(message: ModelReport | PortReport | Request) -> bytes:
  """Writes a message as a record for a ring.

  Raises:
    ValueError: It is longer than the records of its ring: REQUEST_BYTES for
      a request, TEXT_BYTES for a report.
  """
  record = _encoder.encode(message)
  if isinstance(message, Request):
    if len(record) > REQUEST_BYTES:
      raise ValueError(
        f"a change must fit {REQUEST_BYTES} bytes, got {len(record)}. Send"
        " one prompt at a time."
      )
  elif len(record) > TEXT_BYTES:
    raise ValueError(
      f"a {type(message).__name__} must fit {TEXT_BYTES} bytes, got"
      f" {len(record)}."
    )
  return record


def decode(record: bytes) -> Any:
  """Reads a record, which may be padded with zeros.

  Returns:
    A message of one of the classes in CODES.

  Raises:
    ValueError: It is no record of a message.
  """
  try:
    message = _decoder.decode(record.rstrip(b"\0"))
  except (msgspec.DecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"this is no message: {error}") from None
  if isinstance(message, SetControl):
    return SetControl(name=message.name, value=_tuples(message.value))
  return message


def request_of(event: Change | Action) -> ModelRequest:
  """Request to the model process for a change or an action."""
  if event is Action.QUIT:
    return Quit()
  if isinstance(event, Action):
    return Act(action=event)
  return SetControl(name=event.name, value=event.value)


def shortened(text: object) -> str:
  """A problem as a text that fits every report."""
  line = str(text)
  if len(line) <= _MAX_CHARACTERS:
    return line
  return line[: _MAX_CHARACTERS - 3] + "..."


def _tuples(value: Any) -> Any:
  if isinstance(value, list):
    return tuple(_tuples(item) for item in value)
  return value
