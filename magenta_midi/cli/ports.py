"""Command `magenta-midi ports`: list of ports, and calibration."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  remark,
)

if TYPE_CHECKING:
  from magenta_midi.live.io.port_scan import PortList
  from magenta_midi.live.io.rtmidi import Backend, InputPort, OutputPort

__all__ = ["Guide", "calibrate_port", "command"]

_PROBES = 20
_PROBE_NS = 150_000_000
# Undefined in the standard, on the channel least in use: nothing sounds.
_PROBE_CHANNEL, _PROBE_CONTROLLER = 16, 119


@click.command("ports")
@click.option(
  "--calibrate",
  is_flag=True,
  help="Learn a keyboard's touch, pedal and latency; one minute, guided.",
)
@click.option(
  "--in",
  "input_name",
  metavar="PORT",
  help="Keyboard to calibrate, by a unique part of its name [default: the"
  " obvious one].",
)
@click.option(
  "--out",
  "output_name",
  metavar="PORT",
  help="Port that leads back to --in, through a cable or a loop: the round"
  " trip is measured, in ms.",
)
@json_option
def command(
  calibrate: bool,
  input_name: str | None,
  output_name: str | None,
  as_json: bool,
) -> None:
  """List MIDI ports, or get to know a keyboard.

  A part of a name that no other port has is enough for --in and --out
  anywhere. Where several MIDI systems work, the variable MAGENTA_MIDI_API
  chooses: alsa, jack, coremidi or winmm.
  """
  from magenta_midi.live.io.port_scan import scan

  if not calibrate and (input_name or output_name):
    raise UserError("--in and --out go with --calibrate.")
  found = scan()
  if calibrate:
    _calibrate(found, input_name, output_name, as_json)
  else:
    _list(found, as_json)


def _list(found: "PortList", as_json: bool) -> None:
  from magenta_midi.live.io.port_names import display_names, obvious_keyboard

  obvious = obvious_keyboard(found.inputs)
  for title, names in (("in", found.inputs), ("out", found.outputs)):
    for name, shown in zip(names, display_names(names), strict=True):
      note = ""
      if title == "in" and name == obvious:
        note = "   <- taken where no --in is given"
      print_line(f"{title:4} {shown}{note}")
  problem = f"{found.problem}." if found.problem else ""
  if not problem and not found.inputs and not found.outputs:
    problem = (
      f"no MIDI ports ({found.api}). Plug a keyboard in and switch it on, or"
      " let jam make virtual ports with --virtual."
    )
  if as_json:
    print_json(
      dict(
        api=found.api or None,
        inputs=display_names(found.inputs),
        outputs=display_names(found.outputs),
        keyboard=obvious and display_names([obvious])[0],
        problem=problem or None,
      )
    )
  if not found.api:
    raise UserError(problem)
  if problem:
    remark(f"magenta-midi: {problem}")


def _calibrate(
  found: "PortList",
  input_name: str | None,
  output_name: str | None,
  as_json: bool,
) -> None:
  from magenta_midi.live.io.port_names import (
    display_names,
    find_port,
    obvious_keyboard,
  )
  from magenta_midi.live.io.rtmidi import RtMidiBackend

  if not found.api:
    raise UserError(f"{found.problem}.")
  if input_name is None:
    name = obvious_keyboard(found.inputs)
    if name is None:
      raise UserError("no keyboard found. Plug it in, or name it with --in.")
  else:
    name = find_port(input_name, found.inputs, kind="input port")
  out = output_name and find_port(
    output_name, found.outputs, kind="output port"
  )
  shown = display_names([name])[0]
  remark(f"{shown}: one minute, Ctrl-C stops and keeps nothing.")
  with contextlib.closing(RtMidiBackend(found.api)) as backend:
    calibration = calibrate_port(backend, name, out or None, Guide())
  path = calibration.save(shown)
  facts = dataclasses.asdict(calibration)
  for field, value in facts.items():
    print_line(f"{field:17} {'not measured' if value is None else value}")
  print_line(f"{'kept in':17} {path}")
  if as_json:
    print_json({"keyboard": shown, **facts, "file": str(path)})


@dataclasses.dataclass
class Guide:
  """Lines for the player, and the time; tests replace both.

  Attributes:
    show: Shows a line.
    now_ns: The clock.
    sleep: Waits for seconds.
  """

  show: Callable[[str], Any] = remark
  now_ns: Callable[[], int] = time.perf_counter_ns
  sleep: Callable[[float], Any] = time.sleep


_Received = list[tuple[int, bytes]]


def calibrate_port(
  backend: "Backend", input_name: str, output_name: str | None, guide: Guide
) -> Any:
  """Guides a player through the calibration of a keyboard.

  Args:
    backend: Whose ports.
    input_name: The keyboard's.
    output_name: One that leads back to it; None: no round trip is measured.
    guide: How to speak and wait.

  Returns:
    The `Calibration`.

  Raises:
    ValueError: Too little was played.
    PortError: A port cannot be opened.
  """
  from magenta_midi.live.io.calibration import calibrate
  from magenta_midi.live.protocol.events import is_note_on, is_sustain

  port = backend.open_input(input_name)
  try:
    round_trip_ms = None
    if output_name is not None:
      output = backend.open_output(output_name)
      try:
        round_trip_ms = _measure(port, output, guide)
      finally:
        output.close()
      if round_trip_ms is None:
        guide.show("Nothing came back: no round trip measured.")
    guide.show("1. Play single notes, from as soft to as loud as you can.")
    received = _record(
      port,
      guide,
      limit_s=25.0,
      quiet_s=3.0,
      enough=lambda got: sum(is_note_on(d) for _, d in got) >= 20,
    )
    guide.show(
      "2. Press the pedal all the way down and let it go, three times."
    )
    pressed = _record(
      port,
      guide,
      limit_s=12.0,
      quiet_s=2.0,
      enough=lambda got: sum(is_sustain(d) for _, d in got) >= 6,
    )
    received += pressed
    values = [data[2] for _, data in pressed if is_sustain(data)]
    if len(set(values)) > 2:
      margin = (max(values) - min(values)) // 8

      def released(got: _Received) -> bool:
        moves = [data[2] for _, data in got if is_sustain(data)]
        return len(moves) > 2 and abs(moves[-1] - values[-1]) <= margin

      guide.show(
        "3. Lower the pedal slowly until notes just start to hold, stay there"
        " for two seconds, then let go."
      )
      received += _record(
        port, guide, limit_s=15.0, quiet_s=1.5, enough=released
      )
  finally:
    port.close()
  return calibrate(received, round_trip_ms=round_trip_ms)


def _record(
  port: "InputPort",
  guide: Guide,
  *,
  limit_s: float,
  quiet_s: float,
  enough: Callable[[_Received], bool],
) -> _Received:
  """Messages until there are enough and a silence follows, or time is up."""
  received: _Received = []
  started_ns = last_ns = guide.now_ns()
  while (now_ns := guide.now_ns()) - started_ns < limit_s * 1e9:
    # Clock and active sensing go on for ever.
    new = [message for message in port.poll() if message[1][0] < 0xF0]
    if new:
      received += new
      last_ns = now_ns
    elif now_ns - last_ns > quiet_s * 1e9 and enough(received):
      break
    guide.sleep(0.01)
  return received


def _measure(
  port: "InputPort", output: "OutputPort", guide: Guide
) -> float | None:
  """Sends probes and waits for each to come back, milliseconds."""
  from magenta_midi.live.io.calibration import round_trip
  from magenta_midi.midi.io.messages import control_change

  sent_ns: list[int] = []
  received: list[tuple[int, bytes]] = []
  port.poll()
  for i in range(_PROBES):
    probe = control_change(_PROBE_CHANNEL, _PROBE_CONTROLLER, i)
    started_ns = guide.now_ns()
    sent_ns.append(started_ns)
    output.send(probe)
    while guide.now_ns() - started_ns < _PROBE_NS:
      back = _only(probe, port.poll())
      received += back
      if back:
        break
      guide.sleep(0.001)
    guide.sleep(0.02)
  return round_trip(sent_ns, received)


def _only(
  probe: bytes, messages: Sequence[tuple[int, bytes]]
) -> list[tuple[int, bytes]]:
  return [message for message in messages if message[1] == probe]
