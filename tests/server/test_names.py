"""Names of clients: never a path, in either direction."""

import pytest

from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.server.library.uploads import Uploads
from magenta_midi.server.names import ClientNames


@pytest.fixture
def uploads():
  found = Uploads()
  yield found
  found.close()


@pytest.fixture
def names(uploads, tmp_path, monkeypatch):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path))
  return ClientNames(uploads)


@pytest.mark.parametrize(
  "prompt",
  [
    "/etc/passwd.mid",
    "../secret.MIDI",
    "music.wav ",
    "@/home/me/x.safetensors",
    "x.SAFETENSORS:0.5",
    "midi:../../etc/passwd",
    "midi:",
  ],
)
def test_no_prompt_is_a_path(names, prompt):
  for name, value in (("prompt", [prompt, 1]), ("prompts", [[prompt, 1]])):
    with pytest.raises(ValueError):
      names.control(name, value)


def test_an_upload_is_a_prompt(names, uploads, phrase):
  upload = uploads.add(phrase.read_bytes(), "phrase.mid")
  value = names.control("prompts", [[f"midi:{upload.id}", 2], ["slow", 1]])
  assert value == ((str(upload.path), 2), ("slow", 1))
  controls = changed(Controls(), "prompts", value)
  shown = names.shown(controls)["prompts"]
  assert shown == [(f"midi:{upload.id}", 2.0), ("slow", 1.0)]


def test_a_path_never_reaches_a_client(names, uploads, phrase):
  upload = uploads.add(phrase.read_bytes(), "phrase.mid")
  value = names.control("prompts", [[f"midi:{upload.id}", 2]])
  controls = changed(Controls(), "prompts", value)
  uploads.remove(upload.id)
  assert str(upload.path.parent) not in str(names.shown(controls))


@pytest.mark.parametrize(
  "choice",
  ["me", "/tmp/x.safetensors", "../x", "a + b", "me:nan", "me:1e9", ":", " "],
)
def test_only_installed_adapters_are_choices(names, choice):
  with pytest.raises(ValueError):
    names.choices([choice])


def test_the_checkpoint_alone_needs_no_choice(names):
  assert names.choices([""]) == ()
  assert names.choices([]) == ()


def test_what_sounds_at_a_port_alone_is_not_served(names):
  for name, value in (("comp", True), ("comp_loudness", 3)):
    with pytest.raises(ValueError, match="jam"):
      names.control(name, value)


def test_adapters_are_no_control(names):
  with pytest.raises(ValueError, match="start"):
    names.control("adapters", ["me"])
