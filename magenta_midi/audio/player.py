"""The built-in voice on a sound device, as a process of its own.

`python -m magenta_midi.audio.player` reads MIDI messages from standard input,
each behind a byte with its length. It says in one line of JSON that it is
ready, or why not; it ends with its input, so never outlives who started it.
"""

import gc
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from magenta_midi.audio.voice import BLOCK, Voice

__all__ = ["FRAME_BYTES", "frame", "frames", "play"]

FRAME_BYTES = 4  # of the longest message
_CHANNELS = 2


def frame(data: bytes) -> bytes:
  """Packs a message of at most 3 bytes.

  Raises:
    ValueError: It is longer, or empty.
  """
  if not 0 < len(data) < FRAME_BYTES:
    raise ValueError(f"a message must be 1 to 3 bytes, got {len(data)}.")
  return bytes((len(data),)) + data


def frames(fd: int) -> Iterator[bytes]:
  """Unpacks messages from a file descriptor until it ends."""
  rest = b""
  while chunk := os.read(fd, 4096):
    rest += chunk
    while rest and len(rest) > rest[0]:
      yield rest[1 : rest[0] + 1]
      rest = rest[rest[0] + 1 :]


def play(device: str | int | None = None) -> None:
  """Plays what comes in at standard input until it ends.

  Args:
    device: Name or number of a sound device; the system's own by default.

  Raises:
    RuntimeError: No device can be opened; one line says why.
  """
  try:
    import sounddevice
  except ModuleNotFoundError:
    raise RuntimeError("sounddevice is not installed") from None
  except OSError as error:  # it is, but PortAudio is not
    raise RuntimeError(_one_line(error)) from None

  heard: deque[bytes] = deque()  # appending and popping need no lock
  faults = [0]
  try:
    found: Any = sounddevice.query_devices(device, "output")
    rate = int(found["default_samplerate"])
    voice = Voice(rate, BLOCK)
    voice.render()  # nothing is slow the first time it is asked

    def fill(out: Any, count: int, when: object, status: Any) -> None:
      del count, when
      faults[0] += bool(status)
      while heard:
        voice.handle(heard.popleft())
      out[:] = voice.render()

    stream: Any = sounddevice.OutputStream(
      samplerate=rate,
      blocksize=BLOCK,
      channels=_CHANNELS,
      dtype="float32",
      device=device,
      latency="low",
      callback=fill,
    )
    stream.start()
  except (ValueError, sounddevice.PortAudioError) as error:
    raise RuntimeError(_one_line(error)) from None
  gc.collect()
  gc.freeze()
  gc.disable()
  delay_s = float(stream.latency)
  latency_ms = round(1000 * (delay_s + BLOCK / rate), 1)
  _report(ready=True, device=str(found["name"]), latency_ms=latency_ms)
  try:
    for message in frames(sys.stdin.fileno()):
      heard.append(message)
  finally:
    _finish(stream)
  _report(faults=faults[0])


def _finish(stream: Any) -> None:
  """Closes the stream; a device that hangs may not keep the process."""
  closing = threading.Thread(target=stream.close, daemon=True)
  closing.start()
  closing.join(2.0)
  if closing.is_alive():
    os._exit(1)


def _one_line(error: BaseException) -> str:
  return " ".join(str(error).split()) or type(error).__name__


def _report(**values: object) -> None:
  print(json.dumps(values), flush=True)


def main() -> None:
  """Plays; one argument may name the device."""
  device: str | int | None = sys.argv[1] if len(sys.argv) > 1 else None
  if device is not None and device.isdigit():
    device = int(device)
  try:
    play(device)
  except RuntimeError as error:
    _report(error=str(error))
    sys.exit(1)


if __name__ == "__main__":
  main()
