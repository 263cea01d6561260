"""Library of installed adapters: found by name, not overwritten by accident."""

import math

import numpy as np
import pytest

from magenta_midi.model.lora.adapter_file import Adapter, AdapterError
from magenta_midi.model.lora.adapter_library import (
  adapters_folder,
  find_adapter,
  install_adapter,
  installed_adapters,
  is_adapter,
  load_adapters,
  parse_scaled,
  remove_adapter,
)
from magenta_midi.model.lora.lora import LoraConfig, LowRank


def an_adapter(name):
  return Adapter(
    name=name,
    factors={
      "k": LowRank(np.ones((2, 1), np.float32), np.ones((1, 2), np.float32))
    },
    config=LoraConfig(rank=1),
    base="embedded",
    base_sha256="00",
    codec={},
  )


def test_the_folder_can_be_set(monkeypatch, tmp_path):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path / "a"))
  assert adapters_folder() == tmp_path / "a"
  monkeypatch.delenv("MAGENTA_MIDI_ADAPTERS")
  monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
  assert adapters_folder() == tmp_path / "magenta_midi" / "adapters"
  monkeypatch.setenv("XDG_DATA_HOME", "relative")
  assert adapters_folder().parts[-4:] == (
    ".local",
    "share",
    "magenta_midi",
    "adapters",
  )


def test_install_find_and_remove(tmp_path):
  folder = tmp_path / "adapters"
  assert installed_adapters(folder) == []
  with pytest.raises(
    AdapterError, match=r"no adapter 'me' is installed\. Make"
  ):
    find_adapter("me", folder)
  for name in ("me", "her"):
    install_adapter(an_adapter(name), folder=folder)
  assert [path.stem for path in installed_adapters(folder)] == ["her", "me"]
  assert find_adapter("me", folder).name == "me"
  assert find_adapter(str(folder / "me.safetensors")).name == "me"
  with pytest.raises(AdapterError, match=r"no adapter 'x'.*there are: her, me"):
    find_adapter("x", folder)
  with pytest.raises(AdapterError, match="'me' is installed already"):
    install_adapter(an_adapter("me"), folder=folder)
  install_adapter(an_adapter("me"), replace=True, folder=folder)
  remove_adapter("me", folder)
  with pytest.raises(AdapterError, match="no adapter 'me' is installed"):
    remove_adapter("me", folder)
  assert [path.stem for path in installed_adapters(folder)] == ["her"]


def test_a_renamed_file_has_its_new_name(tmp_path):
  path = install_adapter(an_adapter("me"), folder=tmp_path)
  path.rename(tmp_path / "you.safetensors")
  assert find_adapter("you", tmp_path).name == "you"


def test_texts_that_name_an_adapter(tmp_path):
  path = install_adapter(an_adapter("me"), folder=tmp_path / "adapters")
  (tmp_path / "me").mkdir()
  for text in ("me", "me:0.5", str(path), f"{path}:0.5"):
    assert is_adapter(text, path.parent)
  for text in ("you", "me:loud", "a/b", str(tmp_path / "me"), "no.safetensors"):
    assert not is_adapter(text, path.parent)


@pytest.mark.parametrize(
  ("text", "expected"),
  [("me", ("me", 1.0)), ("me:0.6", ("me", 0.6)), ("me:-1", ("me", -1.0))],
)
def test_scales(text, expected):
  assert parse_scaled(text) == expected


@pytest.mark.parametrize("text", ["me:", "me:loud", "me:nan", "me:inf"])
def test_invalid_scales_are_refused(text):
  with pytest.raises(AdapterError, match="expected NAME or NAME:SCALE"):
    parse_scaled(text)


def test_a_blend_has_each_adapter_once(tmp_path):
  for name in ("a", "b"):
    install_adapter(an_adapter(name), folder=tmp_path)
  found = load_adapters(["a:0.6", ("b", 0.4)], tmp_path)
  assert [(adapter.name, scale) for adapter, scale in found] == [
    ("a", 0.6),
    ("b", 0.4),
  ]
  assert math.isclose(sum(scale for _, scale in found), 1.0)
  with pytest.raises(AdapterError, match="'a' is given twice"):
    load_adapters(["a:0.6", "a:0.4"], tmp_path)
