"""`magenta-midi serve`: options, one printed address, and a real duet."""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "docs" / "clients" / "client.py"
COMMAND = (sys.executable, "-m", "magenta_midi.cli.main", "serve")


def run(*options, **more):
  return subprocess.run(
    (*COMMAND, *options), capture_output=True, text=True, timeout=120, **more
  )


def test_help_imports_nothing_that_serves():
  code = (
    "import sys\n"
    "from magenta_midi.cli.main import cli\n"
    "cli(['serve', '--help'], standalone_mode=False)\n"
    "heavy = {'fastapi', 'uvicorn', 'jax', 'numpy', 'magenta_midi.server'}\n"
    "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
  )
  done = subprocess.run(
    (sys.executable, "-c", code), capture_output=True, text=True, timeout=120
  )
  assert done.returncode == 0, done.stderr
  assert "--sessions" in done.stdout


@pytest.mark.parametrize(
  ("options", "words"),
  [
    (("--token", "short"), "16 letters"),
    (("--token", "a token with spaces in it"), "16 letters"),
    (("--adapter", "nobody-has-this"), "no adapter"),
    (("--adapter", "/tmp/x.safetensors"), "import"),
    (("--checkpoint", "/nowhere"), "/nowhere"),
    (("--port", "99999"), "--port"),
    (("--sessions", "0"), "--sessions"),
    (("--host", "192.0.2.1", "--port", "0"), "cannot listen"),
  ],
)
def test_mistakes_are_one_line(options, words):
  done = run(*options)
  assert done.returncode == 2
  assert words in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line():
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    done = run("--port", str(taken.getsockname()[1]))
  assert done.returncode == 2
  assert "cannot listen" in done.stderr and "Traceback" not in done.stderr


def the_client():
  """The Python client of the documentation, as a module."""
  spec = importlib.util.spec_from_file_location("docs_client", CLIENT)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_client_of_the_docs_is_short():
  assert len(CLIENT.read_text().splitlines()) <= 100


def asked(address, path):
  token = parse_qs(urlsplit(address).query)["token"][0]
  port = urlsplit(address).port
  request = Request(
    f"http://127.0.0.1:{port}{path}",
    headers={"Authorization": f"Bearer {token}"},
  )
  with urlopen(request, timeout=30) as answer:
    return json.load(answer)


@contextlib.contextmanager
def a_server(*options, environment):
  process = subprocess.Popen(
    (*COMMAND, *options),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | environment,
  )
  try:
    yield process
  finally:
    if process.poll() is None:
      process.kill()
      process.communicate()


@pytest.mark.slow
def test_a_duet_with_the_embedded_model(tmp_path):
  """From the printed address to the saved take, with the docs' client."""
  takes = tmp_path / "takes"
  options = ("--host", "0.0.0.0", "--port", "0", "--takes", str(takes))
  with a_server(*options, environment={}) as process:
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    token = parse_qs(urlsplit(address).query)["token"][0]
    assert len(token) >= 16
    notes = asyncio.run(play(address))
    players = [data for who, _, data in notes if who == 0]
    models = [data for who, _, data in notes if who == 1]
    assert sum(data[0] >> 4 == 9 for data in players) == 8
    assert any(data[0] >> 4 == 9 and data[2] for data in models)
    times = [time_s for _, time_s, _ in notes]
    assert max(times) > 3 and min(times) > 0
    until = time.monotonic() + 60
    while time.monotonic() < until:
      (take,) = asked(address, "/api/takes")["takes"]
      if take["state"] == "done":
        break
      time.sleep(0.5)
    assert take["notes_player"] == 8 and take["notes_model"] > 0
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
  assert process.returncode == 0
  # The token was in the printed address, and nowhere else.
  assert token not in out and token not in err
  assert "Traceback" not in err
  for path in takes.rglob("*"):
    assert path.is_dir() or token.encode() not in path.read_bytes()


async def play(address):
  """A phrase by the docs' client; returns all notes of both."""
  client_module = the_client()
  notes = []

  def hear(who, time_s, data):
    notes.append((who, time_s, data))

  async with client_module.Client(address, hear) as client:
    async with asyncio.timeout(400):
      await client.ready.wait()
    for key in client_module.PHRASE:
      await client.play(0x90, key, 80)
      await asyncio.sleep(0.25)
      await client.play(0x80, key, 64)
    async with asyncio.timeout(60):
      while not any(who == 1 for who, *_ in notes):
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    await client.send("bye")
    async with asyncio.timeout(60):
      while "ended" not in client.messages:
        await asyncio.sleep(0.1)
  return notes
