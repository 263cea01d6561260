"""Sound without a DAW: a synthesizer in a process of its own.

FluidSynth where there is one with a soundfont, else the built-in voice. Both
are fed through a pipe that never makes the sender wait, and both end with it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from magenta_midi.audio.player import frame
from magenta_midi.audio.render import find_soundfont

__all__ = ["REMEDY", "Sound", "SoundError", "open_sound"]

ENGINES = ("auto", "fluidsynth", "piano")
REMEDY = (
  "pip install 'magenta-midi[audio]', or apt-get install fluidsynth"
  " fluid-soundfont-gm"
)
# FluidSynth's own choice first.
_DRIVERS = {
  "linux": (None, "pipewire", "pulseaudio", "jack"),
  "darwin": (None, "coreaudio"),
  "win32": (None, "wasapi", "dsound"),
}
_READY_S = 30.0  # a large soundfont from a slow disk
_END_S = 2.0
_DETAIL = 160  # characters of what a synthesizer said


class SoundError(ValueError):
  """Nothing can be heard; one line says what to do."""


class Sound:
  """A synthesizer that takes MIDI messages; shaped like an output port.

  Attributes:
    name: What plays.
    latency_ms: From message to sound as the device reports it; None where it
      does not.
  """

  def __init__(self, command: list[str], *, shell: bool):
    """Starts a synthesizer and waits until it is ready.

    Args:
      command: The program and its arguments.
      shell: Whether it takes FluidSynth's commands, or framed bytes.

    Raises:
      SoundError: It did not become ready; says what it said.
    """
    self.name = ""
    self.latency_ms: float | None = None
    self._shell = shell
    self._said: list[str] = []
    self._answer: dict[str, Any] | None = None
    self._answered = threading.Event()
    self._lock = threading.Lock()
    # A session of its own: Ctrl-C is for us, who then end its notes. One
    # thread for its products: they are too small for two.
    environment = dict(
      os.environ, JACK_NO_START_SERVER="1", OPENBLAS_NUM_THREADS="1"
    )
    try:
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if shell else subprocess.DEVNULL,
        bufsize=0,
        env=environment,
        start_new_session=True,
      )
    except OSError as error:
      raise SoundError(f"{command[0]}: {error.strerror}") from None
    assert self._process.stdin and self._process.stdout
    self._stdin: IO[bytes] = self._process.stdin
    # Read to its end: a full pipe would stop the synthesizer.
    self._reader = threading.Thread(
      target=self._read, args=(self._process.stdout,), daemon=True
    )
    self._reader.start()
    try:
      self._wait_until_ready()
    except BaseException:
      self.close()
      raise
    # Windows has no such pipes before Python 3.12; there it may block.
    with contextlib.suppress(OSError, AttributeError):
      os.set_blocking(self._stdin.fileno(), False)

  @property
  def alive(self) -> bool:
    """Whether it still plays."""
    return self._process.poll() is None

  def send(self, data: bytes) -> bool:
    """Passes one MIDI message on, without waiting.

    Returns:
      Whether it was taken: not if the synthesizer has ended or hangs.
    """
    if self._shell:
      line = _command(data)
      if line is None:  # FluidSynth's shell has no command for it
        return self.alive
      packet = line.encode()
    elif 0 < len(data) < 4:
      packet = frame(data)
    else:
      return self.alive
    with self._lock:
      try:
        # Below PIPE_BUF a pipe takes all of it or none.
        return os.write(self._stdin.fileno(), packet) == len(packet)
      except (OSError, ValueError):
        return False

  def silence(self) -> None:
    """Ends all that sounds."""
    for channel in range(16):
      for controller in (64, 123, 120):
        self.send(bytes((0xB0 | channel, controller, 0)))

  def close(self) -> None:
    """Ends the synthesizer; a second time does nothing."""
    if self.alive:
      self.silence()
      if self._shell:
        with contextlib.suppress(OSError, ValueError):
          os.write(self._stdin.fileno(), b"quit\n")
    with contextlib.suppress(OSError):
      self._stdin.close()
    for end in (None, self._process.terminate, self._process.kill):
      if end is not None:
        with contextlib.suppress(OSError):
          end()
      with contextlib.suppress(subprocess.TimeoutExpired):
        self._process.wait(_END_S)
        break
    self._reader.join(_END_S)
    if self._process.stdout and not self._reader.is_alive():
      self._process.stdout.close()

  def __enter__(self) -> "Sound":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _wait_until_ready(self) -> None:
    if self._shell:
      with contextlib.suppress(OSError):
        os.write(self._stdin.fileno(), b"echo ready\n")
    until_s = time.monotonic() + _READY_S
    while not self._answered.wait(0.05):
      if time.monotonic() > until_s:
        raise SoundError(f"not ready after {_READY_S:.0f} s")
    answer = self._answer
    if answer is None or "error" in answer:
      said = self._said[-1] if self._said else "ended at once"
      if answer is not None:
        said = str(answer["error"])
      # The last words are often "giving up"; the reason stands before.
      errors = [line for line in self._said if "error" in line]
      raise SoundError(
        (errors[-1] if errors and not answer else said)[:_DETAIL]
      )
    self.name = str(answer.get("device", ""))
    self.latency_ms = answer.get("latency_ms")

  def _read(self, stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
      for raw in stream:
        line = raw.decode(errors="replace").strip().lstrip("> ")
        if self._answered.is_set():
          continue  # only so that the pipe never fills
        if not self._shell:
          with contextlib.suppress(ValueError):
            self._answer = json.loads(line)
            self._answered.set()
        elif line == "ready":
          self._answer = {}
          self._answered.set()
        elif line:
          self._said = [*self._said[-20:], line]
    self._answered.set()


def _command(data: bytes) -> str | None:
  """A MIDI message as FluidSynth's shell takes it."""
  if not 2 <= len(data) <= 3 or max(data[1:]) > 127:
    return None
  kind, channel = data[0] >> 4, data[0] & 15
  last = data[-1]
  match kind, len(data):
    case 9, 3 if last > 0:
      return f"noteon {channel} {data[1]} {last}\n"
    case ((8 | 9), 3):
      return f"noteoff {channel} {data[1]}\n"
    case 11, 3:
      return f"cc {channel} {data[1]} {last}\n"
    case 12, 2:
      return f"prog {channel} {data[1]}\n"
    case 14, 3:
      return f"pitch_bend {channel} {data[1] + 128 * last}\n"
  return None


def open_sound(
  engine: str = "auto",
  *,
  soundfont: str | os.PathLike[str] | None = None,
  device: str | int | None = None,
) -> Sound:
  """Opens something that sounds.

  Args:
    engine: 'fluidsynth', 'piano' for the built-in voice, or 'auto': the
      first of the two that can be opened.
    soundfont: An .sf2 or .sf3 file for FluidSynth; by default what
      MAGENTA_MIDI_SOUNDFONT names, or the first found in the usual places.
    device: For the built-in voice; by default the system's own.

  Raises:
    SoundError: None can be opened; one line names the remedy.
  """
  if engine not in ENGINES:
    raise SoundError(
      f"the sound must come from one of {', '.join(ENGINES)}, got {engine!r}."
    )
  why = []
  if engine != "piano":
    try:
      return _open_fluidsynth(soundfont)
    except SoundError as error:
      why.append(f"FluidSynth: {error}")
  if engine != "fluidsynth":
    command = [sys.executable, "-m", "magenta_midi.audio.player"]
    command += [] if device is None else [str(device)]
    try:
      sound = Sound(command, shell=False)
    except SoundError as error:
      why.append(f"built-in piano: {error}")
    else:
      sound.name = f"built-in piano ({sound.name})"
      return sound
  raise SoundError(
    f"no sound can be made ({'; '.join(why)}). Plug in or start a sound device;"
    f" for the programs: {REMEDY}."
  )


def _open_fluidsynth(soundfont: str | os.PathLike[str] | None) -> Sound:
  program = shutil.which("fluidsynth")
  if program is None:
    raise SoundError("the program was not found")
  named = soundfont or os.environ.get("MAGENTA_MIDI_SOUNDFONT")
  font = Path(os.path.expanduser(named)) if named else find_soundfont()
  if font is None:
    raise SoundError("no soundfont was found")
  if not font.is_file():
    raise SoundError(f"there is no soundfont {str(font)!r}")
  said = ""
  for driver in _DRIVERS.get(sys.platform, (None,)):
    command = [program, "--no-midi-in", "--quiet", "--connect-jack-outputs"]
    command += ["--gain", "0.8", "--chorus", "no"]
    # 3 times 128 samples: 9 ms; a driver that cannot takes its own.
    command += ["--audio-bufsize", "128", "--audio-bufcount", "3"]
    command += [] if driver is None else ["--audio-driver", driver]
    try:
      sound = Sound([*command, str(font)], shell=True)
    except SoundError as error:
      # Error of the default driver; others may not even be compiled in.
      said = said or str(error)
    else:
      sound.name = f"FluidSynth ({font.name})"
      return sound
  raise SoundError(said)
