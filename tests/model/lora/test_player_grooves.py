"""Grooves kept in adapters, by name."""

import dataclasses

import numpy as np
import pytest

from magenta_midi.midi.analysis.played_groove import PlayedGroove
from magenta_midi.model.lora.adapter_file import (
  Adapter,
  AdapterError,
  read_adapter,
  write_adapter,
)
from magenta_midi.model.lora.adapter_library import install_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank
from magenta_midi.model.lora.player_grooves import find_groove, player_grooves

DENSITY = np.where(np.arange(48) % 16 == 0, 16.0, 0.5)
GROOVE = PlayedGroove(
  DENSITY / DENSITY.mean(), 2.0, (0.0, None, 12.5, None), 104.0, 800
)


def an_adapter(name, groove):
  return Adapter(
    name=name,
    factors={"w": LowRank(np.ones((4, 1)), np.ones((1, 4)))},
    config=LoraConfig(rank=1),
    base="tiny",
    base_sha256="00",
    codec={"name": "note"},
    groove=groove,
  )


@pytest.mark.parametrize("groove", [GROOVE, None])
def test_a_groove_is_kept_in_the_adapters_file(tmp_path, groove):
  path = tmp_path / "me.safetensors"
  write_adapter(path, an_adapter("me", groove))
  found = read_adapter(path).groove
  assert (found is None) == (groove is None)
  if groove is not None:
    np.testing.assert_allclose(found.density, GROOVE.density, atol=1e-3)
    assert found[1:] == GROOVE[1:]


def test_a_damaged_groove_is_refused_in_a_line(tmp_path):
  path = tmp_path / "me.safetensors"
  damaged = GROOVE._replace(density=np.full(48, -1.0))
  write_adapter(path, an_adapter("me", damaged))
  with pytest.raises(
    AdapterError, match=r"me\.safetensors: damaged: its groove"
  ):
    read_adapter(path)


def test_grooves_are_found_by_name_and_weight(tmp_path):
  install_adapter(an_adapter("me", GROOVE), folder=tmp_path)
  install_adapter(an_adapter("free", None), folder=tmp_path)
  (tmp_path / "broken.safetensors").write_bytes(b"no adapter")
  assert list(player_grooves(tmp_path)) == ["@me"]
  groove, weight = find_groove("@me:0.5", 100.0, folder=tmp_path)
  assert (groove.name, weight) == ("@me", 0.5)
  assert groove.density.argmax() in (0, 16, 32)
  assert find_groove("swing", 100.0, folder=tmp_path)[0].name == "swing"
  with pytest.raises(ValueError, match=r"there is no groove '@you'.*@me"):
    find_groove("@you", 100.0, folder=tmp_path)
  with pytest.raises(ValueError, match=r"weight of a groove must be .* 0 to 2"):
    find_groove("@me:3", 100.0, folder=tmp_path)
  with pytest.raises(ValueError, match="unknown groove 'polka'"):
    find_groove("polka", 100.0, folder=tmp_path)


def test_a_copy_of_an_adapter_keeps_its_groove():
  assert dataclasses.replace(an_adapter("me", GROOVE), name="you").groove
