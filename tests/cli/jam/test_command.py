"""`jam` as it is run: a process, real ports, signals, and what it leaves."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from magenta_midi.live.io.osc_packet import pack
from magenta_midi.live.io.rtmidi import RtMidiBackend
from magenta_midi.midi.score_files import read_score
from magenta_midi.midi.session_facts import read_facts
from magenta_midi.model.checkpoint import load_checkpoint
from magenta_midi.model.lora.adapter_file import Adapter
from magenta_midi.model.lora.adapter_library import (
  find_adapter,
  install_adapter,
)
from magenta_midi.model.lora.lora import LoraConfig, LowRank, init_factors
from magenta_midi.testing.jack import JackServer, jack_missing
from magenta_midi.testing.port_player import PortPlayer, wait_until
from tests.support.checkpoints import save_tiny

pytestmark = pytest.mark.ports


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
  """Folders of two drawn models: one for two players, one for one."""
  folder = tmp_path_factory.mktemp("checkpoints")
  for name, parts in (("duet", 9), ("solo", 0)):
    save_tiny(folder / name, parts=parts)
  return folder


@pytest.fixture
def adapters(checkpoints, tmp_path, monkeypatch):
  """Three are installed: a and b of the duet, alien of no one."""
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path / "adapters"))
  model, config = load_checkpoint(checkpoints / "duet")
  settings = LoraConfig(rank=2)
  for seed, (name, sha256) in enumerate(
    (("a", config["sha256"]), ("b", config["sha256"]), ("alien", "00"))
  ):
    factors = init_factors(
      nnx.state(model, nnx.Param), settings, jax.random.key(seed)
    )
    adapter = Adapter(
      name=name,
      factors={
        array: LowRank(np.asarray(pair.a), np.asarray(pair.b) + 0.1)
        for array, pair in factors.items()
      },
      config=settings,
      base="duet",
      base_sha256=sha256,
      codec={"name": "note"},
    )
    install_adapter(adapter)


@pytest.fixture
def jack(monkeypatch):
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  try:
    server = JackServer()
  except RuntimeError as error:  # no shared memory left, or no time
    pytest.skip(str(error))
  with server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    yield server


# A job in the background of a shell would ignore Ctrl-C.
_PROGRAM = """
import signal
from magenta_midi.cli.main import main

if __name__ == "__main__":
  signal.signal(signal.SIGINT, signal.default_int_handler)
  main()
"""


class Jam:
  """A running `jam --virtual` and its player."""

  def __init__(self, tmp_path: Path, *args: str):
    self.sessions = tmp_path / "sessions"
    self.log = tmp_path / "log"
    with self.log.open("w") as log:
      self.process = subprocess.Popen(
        _command(*args, "--sessions", str(self.sessions)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
      )
    self.player = PortPlayer()

  def wait_until_ready(self) -> None:

    def ready() -> bool:
      assert self.process.poll() is None, self.log.read_text()
      return "ready after" in self.log.read_text()

    wait_until(ready, 90)
    self.player.connect()

  def end(self, number: int = signal.SIGINT) -> dict:
    self.process.send_signal(number)
    out, _ = self.process.communicate(timeout=20)
    assert self.process.returncode == 0, self.log.read_text()
    assert "Traceback" not in self.log.read_text()
    return json.loads(out.splitlines()[-1])

  def close(self) -> None:
    self.process.kill()
    self.process.communicate()
    self.player.close()


def _command(*args: str) -> list[str]:
  return [sys.executable, "-c", _PROGRAM, "jam", *args]


@pytest.fixture
def start(jack, tmp_path, checkpoints):
  started = []

  def begin(*args: str) -> Jam:
    jam = Jam(
      tmp_path,
      *("--virtual", "--json", "--checkpoint", str(checkpoints / "duet")),
      *args,
    )
    started.append(jam)
    return jam

  yield begin
  for jam in started:
    jam.close()


def notes_of(score, part):
  index = score.part_names.index(part)
  notes = score.notes[score.notes["part"] == index]
  return [(int(n["key"]), int(n["velocity"])) for n in notes]


def test_a_reply_comes_on_its_channel_and_the_take_makes_it_again(
  start, tmp_path
):
  jam = start("--seed", "3")
  jam.wait_until_ready()
  jam.player.play(8, 0.2)
  wait_until(lambda: (jam.player.rest(0.1), jam.player.onsets)[1])
  report = jam.end()
  jam.player.rest(0.3)
  assert {message.data[0] & 15 for message in jam.player.onsets} == {1}
  assert not jam.player.sounding and not jam.player.pedal_down
  assert report["notes_in"] == 8
  assert report["notes_out"] == len(jam.player.onsets)
  assert report["compiles_while_playing"] == 0
  assert report["stuck_notes"] == 0
  # What was saved is what was heard.
  folder = Path(report["session"])
  saved = read_score(folder / "session.mid")
  heard = sorted((m.data[1], m.data[2]) for m in jam.player.onsets)
  assert sorted(notes_of(saved, "ai")) == heard
  again = tmp_path / "again.mid"
  done = _replayed(str(folder / "session.json"), again)
  assert done.returncode == 0, done.stderr
  repeated = read_score(again)
  assert sorted(notes_of(repeated, "ai")) == heard
  assert notes_of(repeated, "player") == notes_of(saved, "player")


def test_adapters_change_over_while_both_play(start, adapters, tmp_path):
  backend = RtMidiBackend()
  pedals = backend.open_virtual_output("pedals")
  with socket.socket(type=socket.SOCK_DGRAM) as tablet:
    tablet.bind(("127.0.0.1", 0))
    port = tablet.getsockname()[1]
    tablet.close()
  jam = start(
    *("--adapter", "a:0.6", "--adapter", "b:0.4", "--mode", "simultaneous"),
    *("--set", "density=4", "--control", "pedals", "--osc", str(port)),
  )
  try:
    jam.wait_until_ready()
    assert "plays with a:0.6 + b:0.4" in jam.log.read_text()
    jam.player.play(8, 0.15)
    with socket.socket(type=socket.SOCK_DGRAM) as tablet:
      tablet.sendto(pack("/next_adapter"), ("127.0.0.1", port))
    jam.player.play(8, 0.15)
    pedals.send(b"\xc0\x03")  # the fourth: the checkpoint alone
    jam.player.play(8, 0.15)
    pedals.send(b"\xc0\x07")  # there are not so many
    wait_until(lambda: "no adapter 8; there are 4" in jam.log.read_text(), 10)
    report = jam.end()
  finally:
    pedals.close()
    backend.close()
  assert report["compiles_while_playing"] == 0
  assert report["adapter"] == "no adapter"
  assert report["adapter_switches"] == 2
  assert report["slowest_switch_ms"] > 0
  folder = Path(report["session"])
  facts = read_facts(folder)
  assert [row["adapter"] for row in facts["adapters_played"]] == [
    *("a:0.6 + b:0.4", "a", "no adapter")
  ]
  assert set(facts["adapters"]) == {"a", "b"}
  assert facts["damaged_lines"] == 0
  # It can be made again, by these adapters only.
  session, again = str(folder / "session.json"), tmp_path / "again.mid"
  done = _replayed(session, again)
  assert done.returncode == 0, done.stderr
  heard = notes_of(read_score(folder / "session.mid"), "ai")
  assert sorted(notes_of(read_score(again), "ai")) == sorted(heard)
  install_adapter(
    dataclasses.replace(find_adapter("b"), name="a"), replace=True
  )
  done = _replayed(session, again)
  assert done.returncode == 2
  assert "played with another adapter a" in done.stderr


def _replayed(session: str, out: Path) -> subprocess.CompletedProcess:
  return subprocess.run(
    [
      *(sys.executable, "-m", "magenta_midi.cli.main", "replay"),
      *(session, "--out", str(out)),
    ],
    capture_output=True,
    text=True,
    check=False,
  )


def test_sigterm_while_both_play_lifts_everything(start):
  jam = start("--mode", "simultaneous", "--set", "density=4")
  jam.wait_until_ready()
  times = jam.player.play(16, 0.25)
  # It plays while the player does.
  assert any(times[0] < m.time_ns < times[-1] for m in jam.player.onsets)
  wait_until(lambda: jam.player.sounding)
  report = jam.end(signal.SIGTERM)
  wait_until(lambda: not jam.player.sounding, 2)
  assert not jam.player.pedal_down
  assert report["notes_in"] == 16


def test_a_killed_application_leaves_nothing_sounding(start):
  jam = start("--mode", "simultaneous", "--set", "density=4")
  jam.wait_until_ready()
  jam.player.play(16, 0.15)
  wait_until(lambda: jam.player.sounding)
  children = _children(jam.process.pid)
  jam.process.kill()
  wait_until(lambda: not jam.player.sounding, 3)
  assert not jam.player.pedal_down
  # The next session puts in order what this one left.
  (left,) = jam.sessions.iterdir()
  assert (left / "journal.jsonl").stat().st_size > 0
  wait_until(lambda: not any(map(_runs, children)), 10)


def _children(pid: int) -> list[int]:
  listed = Path(f"/proc/{pid}/task/{pid}/children")
  return [int(n) for n in listed.read_text().split()] if listed.exists() else []


def _runs(pid: int) -> bool:
  try:
    text = Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  # Where nobody collects orphans they stay as zombies.
  return text.rsplit(")")[-1].split()[0] != "Z"


def test_ctrl_c_while_loading_ends_at_once(start):
  jam = start()
  wait_until(lambda: list(jam.sessions.glob("*/journal.jsonl")), 60)
  jam.end(signal.SIGINT)
  # Nobody had played: there is nothing to keep.
  assert not list(jam.sessions.iterdir())


def refused(tmp_path, *args: str) -> str:
  """The one line that a mistake earns."""
  sessions = tmp_path / "sessions"
  if "--sessions" not in args:
    args += ("--sessions", str(sessions))
  done = subprocess.run(
    _command("--quiet", *args),
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2, done.stderr
  assert not sessions.exists() or not list(sessions.iterdir())
  (line,) = done.stderr.strip().splitlines()
  return line


def test_without_any_ports(tmp_path, monkeypatch):
  pytest.importorskip("rtmidi")
  monkeypatch.setenv("MAGENTA_MIDI_API", "jack")
  monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
  monkeypatch.setenv("JACK_NO_START_SERVER", "1")
  line = refused(tmp_path)
  assert "no MIDI system works here" in line and "--demo --sound" in line


def test_an_adapter_is_refused_before_any_port_is_looked_for(
  adapters, checkpoints, tmp_path, monkeypatch
):
  monkeypatch.setenv("MAGENTA_MIDI_API", "jack")
  monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
  monkeypatch.setenv("JACK_NO_START_SERVER", "1")
  duet = ("--checkpoint", str(checkpoints / "duet"))
  for args, said in (
    (("--adapter", "alien"), "alien was trained on duet"),
    (
      ("--adapter", "a", "--switchable", "b:0.5+alien"),
      "alien was trained on",
    ),
    (("--adapter", "her"), "no adapter 'her' is installed"),
  ):
    line = refused(tmp_path, *duet, *args)
    assert said in line and "no MIDI system" not in line


def test_the_old_name_of_switchable_works(adapters, checkpoints, tmp_path):
  done = subprocess.run(
    _command(
      *("--quiet", "--sessions", str(tmp_path / "sessions")),
      *("--checkpoint", str(checkpoints / "duet"), "--at-hand", "alien"),
    ),
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  deprecated, refused = done.stderr.strip().splitlines()
  assert deprecated == "--at-hand is deprecated: use --switchable."
  assert "alien was trained on" in refused


def test_ports_that_cannot_be_meant(jack, tmp_path):
  line = refused(tmp_path)
  assert "no keyboard was found" in line
  player = PortPlayer()
  keys = [player.backend.open_virtual_output(f"keys{n}") for n in (1, 2)]
  synth = player.backend.open_virtual_input("synth")
  try:
    line = refused(tmp_path, "--in", "keys")
    assert "keys1" in line and "keys2" in line
    line = refused(tmp_path, "--in", "spinet")
    assert "spinet" in line and "keys1" in line
    line = refused(tmp_path, "--in", "keys1", "--out", "organ")
    assert "organ" in line and "synth" in line
    line = refused(tmp_path, "--in", "keys1", "--thru", "organ")
    assert "organ" in line
  finally:
    for port in (*keys, synth):
      port.close()


def test_a_checkpoint_without_parts(jack, tmp_path, checkpoints):
  line = refused(
    tmp_path, "--virtual", "--checkpoint", str(checkpoints / "solo")
  )
  assert "made with parts=0" in line and "--partners" in line
  line = refused(tmp_path, "--virtual", "--checkpoint", str(tmp_path / "none"))
  assert "none" in line


def test_a_folder_that_cannot_be_written(jack, tmp_path):
  (tmp_path / "file").write_text("")
  line = refused(tmp_path, "--virtual", "--sessions", str(tmp_path / "file"))
  assert "cannot be saved here" in line
  assert os.listdir(tmp_path) == ["file"]


def test_what_a_demo_plays_is_on_record(jack, tmp_path, checkpoints):
  done = subprocess.run(
    _command(
      *("--demo", "--json", "--seconds", "6"),
      *("--checkpoint", str(checkpoints / "duet")),
      *("--sessions", str(tmp_path)),
    ),
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  report = json.loads(done.stdout.splitlines()[-1])
  assert report["notes_in"] > 5
  saved = read_score(Path(report["session"]) / "session.mid")
  assert len(notes_of(saved, "player")) == report["notes_in"]
