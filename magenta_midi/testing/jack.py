"""A JACK server without a sound card, for tests of real MIDI ports."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

__all__ = ["JackServer", "jack_missing"]

_TIMEOUT_S = 10.0


def jack_missing() -> str:
  """Why no server can be started here; empty: one can."""
  needed = ("jackd", "jack_lsp", "jack_connect")
  missing = [name for name in needed if not shutil.which(name)]
  if missing:
    return (
      f"{', '.join(missing)} not found (Debian: apt-get install jackd2"
      " jack-tools)"
    )
  return ""


class JackServer:
  """A server of its own with JACK's dummy driver; a context manager.

  Never use one twice: once a client died abruptly, it may deliver nothing.

  Attributes:
    name: Of the server.
    environment: Variables by which a process finds it, and by which this
      package prefers JACK.
  """

  def __init__(
    self,
    period: int = 64,
    name: str | None = None,
    *,
    verbose: bool = False,
    log: Path | None = None,
  ):
    """Starts it and waits until it answers.

    Args:
      period: Frames at 48 kHz after which messages are handed on.
      name: Of a server that died, to take its place; by default a new one.
      verbose: Whether it, and libjack in its clients, say all that they do.
      log: A file for what the server says; None: it is lost.

    Raises:
      RuntimeError: It does not start.
    """
    self.name = name or f"mm{secrets.token_hex(4)}"
    self.environment = {
      "JACK_DEFAULT_SERVER": self.name,
      "JACK_NO_AUDIO_RESERVATION": "1",
      "JACK_NO_START_SERVER": "1",
      "MAGENTA_MIDI_API": "jack",
    }
    self._thawing: subprocess.Popen | None = None
    self._log = log
    self.process = self._start(period, ["--verbose"] if verbose else [])
    # Ends the server with this process, however that ends.
    self._guard = subprocess.Popen(
      [
        "sh",
        "-c",
        f"read _; kill -CONT {self.process.pid}; kill {self.process.pid}",
      ],
      stdin=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )

  def _start(self, period: int, options: list[str]) -> subprocess.Popen:
    command = ["jackd", "-n", self.name, "--no-realtime", "--no-mlock"]
    command += options
    # --sync: the asynchronous mode lost notes. Few ports: shared memory is
    # scarce in containers.
    command += ["--sync", "--port-max", "128", "-d", "dummy", "-r", "48000"]
    command += ["-p", str(period), "-C", "2", "-P", "2"]
    with open(self._log or os.devnull, "wb") as log:
      process = subprocess.Popen(
        command, env=os.environ | self.environment, stdout=log, stderr=log
      )
    # jack_wait would look once a second only.
    end = time.monotonic() + _TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
      if self.ports():
        return process
      time.sleep(0.05)
    process.kill()
    process.wait()
    raise RuntimeError("jackd with its dummy driver does not start here")

  def _call(self, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
      command,
      env=os.environ | self.environment,
      capture_output=True,
      text=True,
      timeout=_TIMEOUT_S,
      check=False,
    )

  def ports(self) -> list[str]:
    """Names of all ports, those of the sound card included."""
    return self._call("jack_lsp").stdout.split("\n")[:-1]

  def wait_for(self, *names: str) -> None:
    """Waits until ports are there.

    Raises:
      TimeoutError: They do not come.
    """
    end = time.monotonic() + _TIMEOUT_S
    while not set(names) <= set(self.ports()):
      if time.monotonic() > end:
        raise TimeoutError(f"no ports {names}; there are {self.ports()}")
      time.sleep(0.05)

  def connect(self, output: str, input: str) -> None:
    """Connects a port that is read to one that is played to.

    Raises:
      RuntimeError: JACK refuses.
    """
    self.wait_for(output, input)
    done = self._call("jack_connect", output, input)
    if done.returncode:
      raise RuntimeError(f"jack_connect {output} {input}: {done.stderr}")

  def freeze(self, limit_s: int = 20) -> None:
    """Stops it where it stands, until `thaw` or for so many seconds.

    The limit is kept by another process: a client that waits for a server
    may hold Python's lock.
    """
    self._thawing = subprocess.Popen(
      ["sh", "-c", f"sleep {limit_s}; kill -CONT {self.process.pid}"],
      start_new_session=True,
    )
    self.process.send_signal(signal.SIGSTOP)
    # On a busy machine it would go on for a cycle or two.
    os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

  def thaw(self) -> None:
    """Goes on."""
    self.process.send_signal(signal.SIGCONT)
    if self._thawing is not None:
      # The shell and its sleep.
      os.killpg(self._thawing.pid, signal.SIGKILL)
      self._thawing.wait()
      self._thawing = None

  def close(self) -> None:
    """Ends the server."""
    self._guard.kill()
    self._guard.communicate()
    if self.process.poll() is None:
      self.thaw()
      self.process.terminate()
      try:
        self.process.wait(5)
      except subprocess.TimeoutExpired:
        self.process.kill()
        self.process.wait()

  def __enter__(self) -> "JackServer":
    return self

  def __exit__(self, *unused: Any) -> None:
    self.close()
