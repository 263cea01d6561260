"""Uploads: limited in size, kind and number, and named by ids alone."""

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.server.library import uploads as module

MIDI = {"content-type": "audio/midi"}


def post(client, data, name="a", headers=MIDI):
  return client.post(
    "/api/uploads", params={"name": name}, content=data, headers=headers
  )


def test_a_file_is_kept_listed_read_and_removed(web, phrase):
  client = web()
  answer = post(client, phrase.read_bytes(), "my phrase.mid")
  assert answer.status_code == 201
  facts = answer.json()
  assert facts["name"] == "my phrase.mid" and facts["notes"] == 12
  assert client.get("/api/uploads").json() == {"uploads": [facts]}
  notes = client.get(f"/api/uploads/{facts['id']}/notes").json()
  assert len(notes["notes"]) == 12 and notes["notes"][0][:3] == [0, 60, 70]
  assert client.delete(f"/api/uploads/{facts['id']}").status_code == 204
  assert client.get("/api/uploads").json() == {"uploads": []}
  assert client.delete(f"/api/uploads/{facts['id']}").status_code == 404


def test_files_are_gone_with_the_server(web, server, phrase):
  found = server()
  upload = found.parts.uploads.add(phrase.read_bytes(), "x")
  assert upload.path.is_file()
  found.parts.close()
  assert not upload.path.exists()


def long_file():
  return Score.from_arrays(
    onset_s=np.array([0.0, 4000.0]),
    duration_s=np.array([1.0, 1.0]),
    key=np.array([60, 62]),
    velocity=np.array([70, 70]),
  ).to_bytes()


@pytest.mark.parametrize(
  ("data", "status"),
  [
    (b"", 415),
    (b"PK\3\4 an archive", 415),
    (b"<svg onload=alert(1)>", 415),
    (b"MThd", 415),
    (b"MThd\0\0\0\6\0\1\xff\xff\0\x60", 400),
    (Score.empty().to_bytes(), 400),
    (long_file(), 413),
    (b"MThd" + b"\0" * module.MAX_UPLOAD_BYTES, 413),
  ],
)
def test_what_is_no_music_of_bounded_size_is_refused(web, data, status):
  client = web()
  answer = post(client, data)
  assert answer.status_code in (status, 415)
  assert set(answer.json()) == {"error"}
  assert client.get("/api/uploads").json() == {"uploads": []}


def test_a_form_of_another_site_is_of_another_type(web, phrase):
  client = web()
  for kind in ("text/plain", "multipart/form-data", ""):
    answer = post(client, phrase.read_bytes(), headers={"content-type": kind})
    assert answer.status_code == 415


def test_there_are_so_many_at_most(web, phrase, monkeypatch):
  monkeypatch.setattr(module, "MAX_UPLOADS", 2)
  client = web()
  ids = [post(client, phrase.read_bytes()).json()["id"] for _ in range(3)]
  # The oldest goes.
  known = client.get("/api/uploads").json()["uploads"]
  assert [upload["id"] for upload in known] == ids[1:]


def test_a_name_is_one_line_of_bounded_length(web, phrase):
  client = web()
  name = "../../<b>x</b>\r\n\x1b[31m" + "y" * 500
  shown = post(client, phrase.read_bytes(), name).json()["name"]
  assert len(shown) <= 80 and shown.isprintable()


@pytest.mark.parametrize("id", ["x", "..", "%2e%2e%2fx", "0" * 500])
def test_ids_are_no_paths(web, id):
  assert web().get(f"/api/uploads/{id}/notes").status_code == 404
