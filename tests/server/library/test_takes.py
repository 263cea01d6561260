"""Takes over REST: listed, read, rated, kept, trimmed and downloaded."""

import numpy as np
import pytest

from magenta_midi.live.recording.files import write_session
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score

ID = "2026-01-02_03-04-05"


@pytest.fixture
def takes(tmp_path):
  """A folder with one take of 6 s, in which both play."""
  score = Score.from_arrays(
    onset_s=np.array([0.0, 1.0, 3.0, 4.0]),
    duration_s=np.full(4, 0.5),
    key=np.array([60, 62, 64, 65]),
    velocity=np.array([70, 71, 72, 73]),
    part=np.array([0, 0, 1, 1]),
    part_names=("player", "ai"),
  )
  folder = tmp_path / "takes" / ID
  folder.mkdir(parents=True)
  facts = {
    "format": 1,
    "started": "2026-01-02T03:04:05.000+00:00",
    "seconds": 6.0,
    "notes_player": 2,
    "notes_ai": 2,
    "rating": None,
    "keep": False,
    "bookmarks": [],
    "tempo": [],
  }
  write_session(folder, score, facts, decisions=[], trace=[])
  return tmp_path / "takes"


def test_takes_are_listed(web, takes):
  client = web(takes=takes)
  (take,) = client.get("/api/takes").json()["takes"]
  assert take["id"] == ID and take["state"] == "done"
  assert (take["notes_player"], take["notes_model"]) == (2, 2)
  assert client.get(f"/api/takes/{ID}").json()["bookmarks"] == []


def test_a_take_is_played_back(web, takes):
  found = web(takes=takes).get(f"/api/takes/{ID}/notes").json()
  assert found["parts"] == ["player", "model"]
  assert [(n[0], n[1]) for n in found["notes"]] == [
    (0, 60),
    (0, 62),
    (1, 64),
    (1, 65),
  ]


def test_a_take_is_rated_and_kept(web, takes):
  client = web(takes=takes)
  answer = client.patch(f"/api/takes/{ID}", json={"rating": 4})
  assert answer.json()["rating"] == 4
  answer = client.patch(f"/api/takes/{ID}", json={"keep": True})
  assert (answer.json()["rating"], answer.json()["keep"]) == (4, True)
  for wrong in (0, 6, 2.5, "x"):
    answer = client.patch(f"/api/takes/{ID}", json={"rating": wrong})
    assert answer.status_code == 422
  assert client.get(f"/api/takes/{ID}").json()["rating"] == 4


def test_a_take_is_trimmed(web, takes):
  client = web(takes=takes)
  answer = client.post(f"/api/takes/{ID}/trim", json={"from_s": 2, "to_s": 5})
  assert answer.status_code == 201
  assert answer.json()["id"] == f"{ID}-trim"
  assert answer.json()["notes_model"] == 2
  assert answer.json()["notes_player"] == 0
  assert client.get(f"/api/takes/{ID}").json()["seconds"] == 6.0
  for part in ({"from_s": 5, "to_s": 2}, {"from_s": 7}):
    answer = client.post(f"/api/takes/{ID}/trim", json=part)
    assert answer.status_code == 400
  answer = client.post(f"/api/takes/{ID}/trim", json={"from_s": -1})
  assert answer.status_code == 422


def test_downloads(web, takes, tmp_path):
  client = web(takes=takes)
  answer = client.get(f"/api/takes/{ID}/take.mid")
  assert "attachment" in answer.headers["content-disposition"]
  path = tmp_path / "download.mid"
  path.write_bytes(answer.content)
  assert len(read_score(path)) == 4
  picture = client.get(f"/api/takes/{ID}/take.png")
  assert picture.content[:4] == b"\x89PNG"
  thumbnail = client.get(f"/api/takes/{ID}/thumbnail.svg")
  assert thumbnail.headers["content-type"].startswith("image/svg+xml")
  assert thumbnail.text.count("<path") == 2


@pytest.mark.parametrize(
  "id",
  ["last", "2026", "..", "%2e%2e", "..%2f..%2fetc", f"{ID}%00", f"{ID}%2f.."],
)
def test_only_whole_ids_are_takes(web, takes, id):
  client = web(takes=takes)
  for path in ("", "/notes", "/take.mid", "/take.png", "/thumbnail.svg"):
    assert client.get(f"/api/takes/{id}{path}").status_code in (404, 200)
    answer = client.get(f"/api/takes/{id}{path}")
    assert answer.status_code == 404 or "takes" in answer.json()
  answer = client.patch(f"/api/takes/{id}", json={"keep": True})
  assert answer.status_code in (404, 405)


def test_a_damaged_take_is_named_and_its_reason_is_not(web, takes):
  (takes / ID / "session.json").write_text("{}")
  client = web(takes=takes)
  assert client.get("/api/takes").json() == {
    "takes": [{"id": ID, "state": "damaged"}]
  }
  answer = client.get(f"/api/takes/{ID}")
  assert answer.status_code == 404 and str(takes) not in answer.text
