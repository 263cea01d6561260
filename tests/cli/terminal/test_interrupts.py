"""Interrupts while modules are imported."""

import importlib
import signal
import sys
import time

import pytest

from magenta_midi.cli.terminal.errors import interrupt_between_imports


@pytest.fixture
def heeds_ctrl_c():
  """Jobs in the background of a shell start with Ctrl-C ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_waits_for_the_end_of_an_import(tmp_path, monkeypatch):
  (tmp_path / "interrupted.py").write_text(
    "import signal, time\nsignal.raise_signal(signal.SIGINT)\n"
    "time.sleep(0.05)\nwhole = True\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(KeyboardInterrupt), interrupt_between_imports():
    importlib.import_module("interrupted")
    time.sleep(5)
  assert sys.modules.pop("interrupted").whole
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with interrupt_between_imports():
      assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)
