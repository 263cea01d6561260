import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from magenta_midi.cli.jam.keys import Keys

termios = pytest.importorskip("termios")
pty = pytest.importorskip("pty")


@pytest.fixture
def terminal():
  """A pseudo-terminal: what a person types, and the program's end."""
  person, program = pty.openpty()
  with os.fdopen(program, "r", closefd=True) as stream:
    yield person, stream
  os.close(person)


def typed(terminal, keys, text):
  os.write(terminal[0], text.encode())
  until_s = time.monotonic() + 5
  found = []
  while not found and time.monotonic() < until_s:
    found = keys.poll()
  return found


def test_keys_come_one_by_one_without_enter(terminal):
  with Keys(terminal[1]) as keys:
    assert keys.available
    assert keys.poll() == []
    assert typed(terminal, keys, "m +é") == ["m", " ", "+", "é"]
    assert keys.poll() == []


def test_arrows_are_no_keys_and_escape_is(terminal):
  with Keys(terminal[1]) as keys:
    assert typed(terminal, keys, "a\x1b[A\x1bOP\x1b[1;5Cb") == ["a", "b"]
    assert typed(terminal, keys, "\x1bq") == ["\x1b", "q"]
    assert typed(terminal, keys, "\x1b") == ["\x1b"]


def test_the_terminal_is_as_it_was_after_any_end(terminal):
  before = termios.tcgetattr(terminal[1])
  with Keys(terminal[1]):
    during = termios.tcgetattr(terminal[1])
  assert termios.tcgetattr(terminal[1]) == before
  assert during[3] & (termios.ICANON | termios.ECHO) == 0
  assert during[3] & termios.ISIG  # Ctrl-C interrupts as ever
  with pytest.raises(RuntimeError, match="lost"), Keys(terminal[1]):
    raise RuntimeError("lost")
  assert termios.tcgetattr(terminal[1]) == before


def test_the_handler_of_continue_is_given_back(terminal):
  before = signal.getsignal(signal.SIGCONT)
  with Keys(terminal[1]) as keys:
    # What the shell does between Ctrl-Z and `fg`.
    settings = termios.tcgetattr(terminal[1])
    settings[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(terminal[1], termios.TCSANOW, settings)
    os.kill(os.getpid(), signal.SIGCONT)
    assert typed(terminal, keys, "x") == ["x"]
  assert signal.getsignal(signal.SIGCONT) == before


@pytest.mark.parametrize(
  "end", ["sys.exit(3)", "1 / 0", "os.kill(os.getpid(), 15)"]
)
def test_a_program_that_ends_gives_the_terminal_back(terminal, end):
  before = termios.tcgetattr(terminal[1])
  program = f"""
    import os, sys
    from magenta_midi.cli.terminal.errors import interrupt_on_sigterm
    from magenta_midi.cli.jam.keys import Keys
    with interrupt_on_sigterm(), Keys() as keys:
      assert keys.available
      {end}
  """
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(program)],
    stdin=terminal[1],
    stderr=subprocess.PIPE,
    timeout=60,
    check=False,
  )
  assert done.returncode != 0
  assert b"AssertionError" not in done.stderr
  assert termios.tcgetattr(terminal[1]) == before


def test_what_is_no_terminal_has_no_keys(tmp_path):
  path = tmp_path / "input"
  path.write_text("q")
  with path.open() as stream, Keys(stream) as keys:
    assert not keys.available
    assert keys.poll() == []


def test_a_terminal_that_goes_has_no_keys_from_then_on():
  person, program = pty.openpty()
  with os.fdopen(program, "r") as stream, Keys(stream) as keys:
    os.close(person)
    assert [keys.poll() for _ in range(3)] == [[], [], []]
    assert not keys.available
