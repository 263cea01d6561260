"""Jobs beside the players: generating, sound, and fine-tuning, for real."""

import json
import time

import pytest
from websockets.sync.client import connect

from magenta_midi.midi.score_files import read_score
from tests.support.finetuning import scale

MIDI = {"content-type": "audio/midi"}


@pytest.fixture
def client(web, tiny_checkpoint, tmp_path, monkeypatch):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path / "adapters"))
  monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
  return web(checkpoint=str(tiny_checkpoint))


def upload(client, data):
  answer = client.post("/api/uploads?name=a", content=data, headers=MIDI)
  return answer.json()["id"]


def lines(client, **wanted):
  with client.stream(
    "POST", "/api/generate", json=wanted, timeout=300
  ) as answer:
    assert answer.status_code == 200, answer.read()
    return [json.loads(line) for line in answer.iter_lines()]


def test_music_comes_chunk_by_chunk_and_is_a_file(client, phrase, tmp_path):
  id = upload(client, phrase.read_bytes())
  found = lines(client, seconds=4, upload=id, seed=3, register=[40, 80])
  assert [m["type"] for m in found] == [
    "loading",
    "begin",
    "chunk",
    "chunk",
    "done",
  ]
  assert found[1]["context_s"] == pytest.approx(3.55, abs=0.01)
  assert [m["from_s"] for m in found[2:4]] == [0, 2]
  for chunk in found[2:4]:
    for key, velocity, onset_s, _ in chunk["notes"]:
      assert 40 <= key <= 80 and 1 <= velocity <= 127
      assert 0 <= onset_s - chunk["from_s"] < 2
  answer = client.get(f"/api/generated/{found[-1]['id']}/music.mid")
  path = tmp_path / "music.mid"
  path.write_bytes(answer.content)
  assert len(read_score(path)) == 12 + found[-1]["notes"]
  sound = client.get(f"/api/generated/{found[-1]['id']}/music.wav", timeout=300)
  assert sound.content[:4] == b"RIFF" and len(sound.content) > 500_000
  # The same again, from the model that is loaded.
  again = lines(client, seconds=4, upload=id, seed=3, register=[40, 80])
  assert again[0]["type"] == "begin"
  assert [m["notes"] for m in again[1:3]] == [m["notes"] for m in found[2:4]]


def test_a_client_that_goes_ends_the_work(client):
  with client.stream(
    "POST", "/api/generate", json={"seconds": 120}, timeout=300
  ) as answer:
    for line in answer.iter_lines():
      if json.loads(line)["type"] == "chunk":
        break
  # The child has left that work, and takes the next.
  found = lines(client, seconds=2)
  assert [m["type"] for m in found if m["type"] != "queued"] == [
    "begin",
    "chunk",
    "done",
  ]


@pytest.mark.parametrize(
  ("wanted", "status"),
  [
    ({}, 422),
    ({"seconds": 0}, 422),
    ({"seconds": 1e9}, 422),
    ({"seconds": "nan"}, 422),
    ({"seconds": 2, "register": [80, 40]}, 400),
    ({"seconds": 2, "register": [0, 500]}, 400),
    ({"seconds": 2, "prompts": [["/etc/x.mid", 1]]}, 400),
    ({"seconds": 2, "prompts": [["slow", -1]]}, 400),
    ({"seconds": 2, "adapters": ["/tmp/x.safetensors"]}, 400),
    ({"seconds": 2, "upload": "../x"}, 404),
    ({"seconds": 2, "take": ".."}, 404),
    ({"seconds": 2, "checkpoint": "/tmp"}, 422),
    ({"seconds": 2, "out": "/tmp/x"}, 422),
    ({"seconds": 2, "upload": "a", "take": "b"}, 400),
  ],
)
def test_what_cannot_be_generated_is_refused(client, wanted, status):
  answer = client.post("/api/generate", json=wanted)
  assert answer.status_code == status
  assert set(answer.json()) == {"error"}


def test_music_that_is_gone_is_not_found(client):
  for id in ("x", "..", "%2e%2e%2fx"):
    answer = client.get(f"/api/generated/{id}/music.mid")
    assert answer.status_code == 404


def wait_for(client, *states, seconds=300):
  until = time.monotonic() + seconds
  while time.monotonic() < until:
    run = client.get("/api/finetune").json()
    if run["state"] in states:
      return run
    time.sleep(0.3)
  raise AssertionError(f"the run is {run}")


def test_an_adapter_is_made_stopped_and_made_further(client):
  assert client.get("/api/finetune").json() == {"state": "none"}
  for path in ("stop", "resume"):
    assert client.post(f"/api/finetune/{path}").status_code == 409
  ids = [
    upload(client, scale(24.0, start).to_bytes()) for start in (48, 50, 60)
  ]
  wanted = {
    "name": "me",
    "uploads": ids,
    "steps": 60,
    "rank": 2,
    "continuations_s": 0,
  }
  answer = client.post("/api/finetune", json=wanted)
  assert answer.status_code == 202, answer.text
  assert client.post("/api/finetune", json=wanted).status_code == 409
  run = wait_for(client, "training", "failed")
  assert run["state"] == "training", run
  while run["step"] < 5 and run["state"] == "training":
    run = client.get("/api/finetune").json()
    time.sleep(0.2)
  assert client.post("/api/finetune/stop").json()["state"] == "stopping"
  run = wait_for(client, "stopped", "failed", "done")
  assert run["state"] == "stopped"
  stopped_at = run["step"]
  assert client.get("/api/adapters").json()["adapters"] == []
  assert client.post("/api/finetune/resume").status_code == 200
  run = wait_for(client, "done", "failed")
  assert run["state"] == "done", run
  assert run["adapter"] == "me" and run["step"] >= stopped_at
  assert run["recordings"] == 3
  assert run["seconds_of_music"] == pytest.approx(72, abs=2)
  assert run["curve"] and run["held_out"]
  assert run["after"] <= run["before"]
  (adapter,) = client.get("/api/adapters").json()["adapters"]
  assert adapter["name"] == "me" and adapter["rank"] == 2
  play_with_it(client)


def play_with_it(client):
  """A session takes the new adapter up, and switches to half of it."""
  url = f"ws://{client.base_url.netloc.decode()}/api/socket"
  with connect(url, max_size=None) as socket:

    def send(type, **fields):
      socket.send(json.dumps({"type": type, **fields}))

    def wait(type, **wanted):
      until = time.monotonic() + 300
      while time.monotonic() < until:
        found = socket.recv(300)
        if isinstance(found, str):
          found = json.loads(found)
          known = {name: found.get(name) for name in wanted}
          if found["type"] == type and known == wanted:
            return found
      raise AssertionError(f"no {type}")

    send("hello", version=1)
    assert wait("welcome")["controls"]["adapters"] == []
    send("start", adapters=["nobody"])
    assert "nobody" in wait("error")["text"]
    send("start", adapters=["me", "me:0.5"])
    started = wait("restarted")["start"]
    assert started["adapters"] == ["me", "me:0.5", ""]
    wait("status", phase="ready")
    send("change", name="adapter", value=2)
    assert wait("controls")["controls"]["adapter"] == 2
    send("change", name="adapter", value=9)
    wait("error")
    send("bye")
    wait("ended", reason="bye")


@pytest.mark.parametrize(
  ("changes", "status"),
  [
    ({"name": "../x"}, 400),
    ({"name": ""}, 422),
    ({"uploads": []}, 400),
    ({"uploads": ["x"]}, 404),
    ({"takes": [".."]}, 404),
    ({"steps": 0}, 422),
    ({"minutes": 1e9}, 422),
    ({"out": "/tmp/x"}, 422),
    ({"steps": 2, "minutes": 2}, 400),
  ],
)
def test_what_cannot_be_learned_is_refused(client, phrase, changes, status):
  ids = [upload(client, phrase.read_bytes())]
  wanted = {"name": "me", "uploads": ids} | changes
  answer = client.post("/api/finetune", json=wanted)
  assert answer.status_code == status, answer.text
  assert client.get("/api/finetune").json() == {"state": "none"}


def test_too_little_music_is_one_line(client, phrase):
  ids = [upload(client, phrase.read_bytes())]
  wanted = {"name": "me", "uploads": ids, "steps": 2, "continuations_s": 0}
  assert client.post("/api/finetune", json=wanted).status_code == 202
  run = wait_for(client, "failed", "done")
  assert run["state"] == "failed"
  assert run["text"] and "\n" not in run["text"]
  assert "/tmp" not in run["text"]
