import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from magenta_midi.audio.player import frame, frames
from magenta_midi.audio.render import find_soundfont
from magenta_midi.live.io.sound import Sound, SoundError, _command, open_sound
from magenta_midi.testing.jack import JackServer, jack_missing

pytestmark = pytest.mark.ports


@pytest.fixture
def program(monkeypatch, tmp_path):
  """A machine whose fluidsynth is a script of ours, with a soundfont."""
  path = tmp_path / "fluidsynth"
  font = tmp_path / "piano.sf2"
  font.write_bytes(b"RIFF")
  monkeypatch.setenv("MAGENTA_MIDI_SOUNDFONT", str(font))
  monkeypatch.setattr("shutil.which", lambda name: str(path))

  def write(text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)

  return write


@pytest.mark.parametrize(
  ("data", "line"),
  [
    (b"\x90\x3c\x50", "noteon 0 60 80\n"),
    (b"\x91\x3c\x00", "noteoff 1 60\n"),
    (b"\x8f\x3c\x40", "noteoff 15 60\n"),
    (b"\xb0\x40\x7f", "cc 0 64 127\n"),
    (b"\xc2\x05", "prog 2 5\n"),
    (b"\xe0\x00\x40", "pitch_bend 0 8192\n"),
    (b"\xf8", None),
    (b"\x90\x3c", None),
    (b"\x90\x3c\xff", None),
    (b"", None),
  ],
)
def test_messages_as_fluidsynth_is_told(data, line):
  assert _command(data) == line


def test_messages_pass_through_the_frames_of_a_pipe():
  reader, writer = os.pipe()
  sent = [b"\x90\x3c\x50", b"\xf8", b"\xc0\x05"] * 500
  os.write(writer, b"".join(frame(data) for data in sent))
  os.close(writer)
  assert list(frames(reader)) == sent
  os.close(reader)
  with pytest.raises(ValueError, match="1 to 3 bytes, got 4"):
    frame(b"\x90\x3c\x50\x00")


def test_fluidsynth_hears_what_is_sent_and_ends_silent(program, tmp_path):
  heard = tmp_path / "heard"
  program(f'read line; echo "> ready"; cat > {heard}\n')
  with open_sound("fluidsynth") as sound:
    assert sound.name == "FluidSynth (piano.sf2)"
    assert sound.alive
    assert sound.send(b"\x90\x3c\x50")
    assert sound.send(b"\xf8")
  assert not sound.alive
  assert not sound.send(b"\x90\x3c\x50")
  sound.close()
  lines = heard.read_text().splitlines()
  assert lines[0] == "noteon 0 60 80"
  assert lines[1:4] == ["cc 0 64 0", "cc 0 123 0", "cc 0 120 0"]
  assert lines[-1] == "quit"


def test_a_synthesizer_that_hangs_makes_nobody_wait(program):
  program("read line; echo ready; exec sleep 600\n")
  sound = open_sound("fluidsynth")
  began_s = time.monotonic()
  taken = [sound.send(b"\x90\x3c\x50") for _ in range(10_000)]
  assert time.monotonic() - began_s < 5
  assert taken[0]
  assert not taken[-1]
  sound.close()
  assert not sound.alive


def test_a_synthesizer_that_talks_is_not_stopped_by_it(program):
  program(
    "read line; echo ready\n"
    "while read line; do head -c 100000 /dev/zero; echo; done\n"
  )
  with open_sound("fluidsynth") as sound:
    for _ in range(20):
      assert sound.send(b"\x90\x3c\x50")
      time.sleep(0.01)
    assert sound.alive


def test_another_driver_is_tried_and_the_first_reason_kept(program, tmp_path):
  tried = tmp_path / "tried"
  program(
    f'echo "$@" >> {tried}\n'
    'echo "fluidsynth: error: no card"; echo "Giving up"; exit 1\n'
  )
  with pytest.raises(SoundError, match=r"FluidSynth: .*no card.*apt-get"):
    open_sound("fluidsynth")
  assert "--audio-driver jack" in tried.read_text()


def test_without_anything_the_remedy_is_one_line(monkeypatch):
  # A Python that plays nothing.
  monkeypatch.setattr("sys.executable", shutil.which("false"))
  monkeypatch.setattr("shutil.which", lambda name: None)
  with pytest.raises(SoundError, match="no sound can be made") as error:
    open_sound()
  said = str(error.value)
  assert "\n" not in said
  assert "the program was not found" in said
  assert "pip install 'magenta-midi[audio]'" in said
  assert "apt-get install fluidsynth fluid-soundfont-gm" in said


def test_a_named_engine_or_soundfont_must_be_there(program):
  program("exit 1\n")
  with pytest.raises(SoundError, match="fluidsynth, piano, got 'organ'"):
    open_sound("organ")
  with pytest.raises(SoundError, match=r"there is no soundfont 'x.sf2'"):
    open_sound("fluidsynth", soundfont="x.sf2")


def test_the_soundfont_of_the_environment_comes_first(program, tmp_path):
  assert find_soundfont() == tmp_path / "piano.sf2"


def test_the_player_says_what_is_missing():
  code = (
    "import sys; sys.modules['sounddevice'] = None\n"
    "sys.argv = ['player']; from magenta_midi.audio import player\n"
    "player.main()"
  )
  with pytest.raises(SoundError, match="sounddevice is not installed"):
    Sound([sys.executable, "-c", code], shell=False)


@pytest.fixture
def server(monkeypatch):
  """A JACK server of our own, with a dummy sound card for PortAudio."""
  # Looked for, never imported: it would become a client of the server.
  if importlib.util.find_spec("sounddevice") is None:
    pytest.skip("sounddevice is not installed")
  if reason := jack_missing():
    pytest.skip(reason)
  try:
    server = JackServer()
  except RuntimeError as error:
    pytest.skip(str(error))
  with server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    yield server


# Records what the process in its arguments plays, as JACK hears it: a client
# of its own, since one process can be of one server only.
LISTEN = """
import sys, numpy, sounddevice
sound = sounddevice.rec(48_000, 48_000, channels=2, dtype="float32")
print("listening", flush=True)
sounddevice.wait()
print(float(numpy.abs(sound).max()))
"""


@pytest.mark.parametrize("engine", ["piano", "fluidsynth"])
def test_it_sounds_through_jack(server, engine):
  if engine == "fluidsynth" and not (
    shutil.which("fluidsynth") and find_soundfont()
  ):
    pytest.skip("no fluidsynth program with a soundfont")
  with open_sound(engine) as sound:
    assert sound.name
    listener = subprocess.Popen(
      [sys.executable, "-c", LISTEN],
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    assert listener.stdout
    assert listener.stdout.readline() == "listening\n"
    # Others than the sound card's: one that is played, one that listens.
    ports = [p for p in server.ports() if not p.startswith("system:")]
    source = next(p for p in ports if p.endswith((":out_0", ":left")))
    target = next(p for p in ports if p.endswith(":in_0"))
    server.connect(source, target)
    assert sound.send(b"\x90\x3c\x64")
    peak = float(listener.communicate(timeout=20)[0])
  assert peak > 0.02
  assert not sound.alive


def test_it_ends_with_whoever_opened_it(server):
  code = (
    "from magenta_midi.live.io.sound import open_sound\n"
    "import os, time\n"
    "sound = open_sound('piano')\n"
    "print(sound._process.pid, flush=True)\n"
    "time.sleep(600)"
  )
  owner = subprocess.Popen(
    [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
  )
  assert owner.stdout
  pid = int(owner.stdout.readline())
  os.kill(owner.pid, signal.SIGKILL)
  owner.wait(10)
  owner.stdout.close()
  until_s = time.monotonic() + 10
  while time.monotonic() < until_s:
    if not os.path.exists(f"/proc/{pid}/fd"):
      break
    try:
      os.listdir(f"/proc/{pid}/fd")
    except OSError:
      break
    with open(f"/proc/{pid}/stat") as stat:
      if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
        break  # ended; nobody is left to ask how
    time.sleep(0.05)
  else:
    pytest.fail("the player outlived its owner")
