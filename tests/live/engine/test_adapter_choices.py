"""What can be switched between, as texts that sessions store."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.engine.adapter_choices import (
  BASE,
  adapter_choices,
  check_choices,
  parts_of,
)
from magenta_midi.live.protocol.controls import MAX_ADAPTERS, Controls, changed
from magenta_midi.model.checkpoint import (
  CheckpointError,
  embedded_path,
  read_config,
)
from magenta_midi.model.lora.adapter_file import Adapter, AdapterError
from magenta_midi.model.lora.adapter_library import (
  install_adapter,
  parse_scaled,
)
from magenta_midi.model.lora.lora import LoraConfig, LowRank

names = st.from_regex(r"[a-z][a-z0-9_. -]{0,8}[a-z0-9]", fullmatch=True)
scaled = st.tuples(names, st.sampled_from([0.25, 0.6, 1.0, 2.0]))


@given(
  st.lists(scaled, max_size=3, unique_by=lambda item: item[0]),
  st.lists(scaled, max_size=2),
)
def test_the_blend_comes_first_then_each_alone_and_the_base_last(start, more):
  at_hand = [f"{name}:{scale}" for name, scale in more]
  choices = adapter_choices(start, at_hand)
  if not start and not more:
    assert choices == ()
    return
  assert len(set(choices)) == len(choices) <= MAX_ADAPTERS
  assert BASE in choices
  # What can be played at all is what was named, at the scales that were said.
  assert [parse_scaled(part) for part in parts_of(choices[0])] == start
  if len(start) > 1:
    assert set(choices) >= {name for name, _ in start}
  if start:
    assert choices[-1] == BASE
  for name, scale in more:
    assert any(
      [parse_scaled(part) for part in parts_of(choice)] == [(name, scale)]
      for choice in choices
    )


def test_blends_and_files_at_hand(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  gift = str(tmp_path / "gift.safetensors")
  assert adapter_choices(
    ["a:0.6", "b:0.4"], ["a:0.3+c", "gift.safetensors"]
  ) == (
    *("a:0.6 + b:0.4", "a", "b", "a:0.3 + c", gift),
    BASE,
  )
  # Without --adapter the checkpoint begins.
  assert adapter_choices([], ["a"]) == (BASE, "a")


def test_what_cannot_be_at_hand():
  with pytest.raises(
    AdapterError, match="got 'a:loud': SCALE must be a number"
  ):
    adapter_choices(["a:loud"])
  with pytest.raises(ValueError, match=f"at most {MAX_ADAPTERS} adapters"):
    adapter_choices(["a"], [f"b{n}" for n in range(MAX_ADAPTERS)])
  with pytest.raises(ValueError, match="named in at most 200 bytes"):
    adapter_choices(["/" + "x" * 200 + ".safetensors"])


def an_adapter(name, sha256, value=1.0):
  ones = np.ones((2, 1), np.float32)
  return Adapter(
    name=name,
    factors={"k": LowRank(value * ones, ones.T)},
    config=LoraConfig(rank=1),
    base="another",
    base_sha256=sha256,
    codec={},
  )


def test_adapters_are_checked_against_their_base(tmp_path, monkeypatch):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path))
  sha256 = read_config(embedded_path())["sha256"]
  install_adapter(an_adapter("mine", sha256))
  install_adapter(an_adapter("alien", "00"))
  assert check_choices((), Path("nowhere")) == {}
  assert set(check_choices(("mine:0.5", "mine", BASE), None)) == {"mine"}
  with pytest.raises(AdapterError, match="alien was trained on another"):
    check_choices(("mine", "alien", BASE), None)
  with pytest.raises(AdapterError, match="no adapter 'her' is installed"):
    check_choices(("her", BASE), None)
  with pytest.raises(AdapterError, match="'mine' is given twice"):
    check_choices(("mine + mine:0.5", BASE), None)
  with pytest.raises(CheckpointError, match="nowhere"):
    check_choices(("mine", BASE), tmp_path / "nowhere")
  # The same name, other numbers: another adapter.
  before = check_choices(("mine", BASE), None)
  install_adapter(an_adapter("mine", sha256, 2.0), replace=True)
  assert check_choices(("mine", BASE), None) != before


def test_a_damaged_adapter_is_refused_by_name_and_else_does_no_harm(
  tmp_path, monkeypatch
):
  """A player who named it must not find out on stage that it is missing."""
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path))
  sha256 = read_config(embedded_path())["sha256"]
  install_adapter(an_adapter("mine", sha256))
  install_adapter(an_adapter("hers", sha256))
  for name, data in (("cut", b"damaged"), ("deep", b"[" * 200_000)):
    (tmp_path / f"{name}.safetensors").write_bytes(data)
  (tmp_path / "folder.safetensors").mkdir()
  os.mkfifo(tmp_path / "pipe.safetensors")
  (tmp_path / "link.safetensors").symlink_to("gone.safetensors")
  alone = check_choices(("mine", "hers", "mine + hers", BASE), None)
  assert set(alone) == {"mine", "hers"}
  for name in ("cut", "deep", "folder", "pipe", "link"):
    path = tmp_path / f"{name}.safetensors"
    with pytest.raises((AdapterError, OSError)) as caught:
      check_choices(("mine", f"hers + {name}", BASE), None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(-30, 30), st.integers(1, 5))
def test_stepping_goes_round(steps, count):
  controls = Controls(adapters=tuple(map(str, range(count))))
  there = changed(controls, "adapter_step", steps)
  assert changed(there, "adapter_step", -steps) == controls
  assert changed(controls, "adapter_step", steps + count) == there


@given(st.integers(0, 127), st.integers(1, 8))
def test_a_knob_shares_out_its_way(position, count):
  controls = Controls(adapters=tuple(map(str, range(count))))
  chosen = changed(controls, "adapter_share", position / 128).adapter
  assert abs((chosen - 0.5) / count - position / 128) <= 0.5 / count


@pytest.mark.parametrize(
  ("name", "value", "said"),
  [
    ("adapter", 4, "no adapter 4; there are 3"),
    ("adapter", 0, "no adapter 0"),
    ("adapter", True, "no adapter True"),
    ("adapter_step", 0.5, "whole number, got 0.5"),
    ("adapter_share", 1.0, r"in \[0, 1\), got 1.0"),
    ("adapters", "me", "a list of names, got 'me'"),
    ("adapters", (1,), "a list of names"),
  ],
)
def test_what_cannot_be_chosen(name, value, said):
  with pytest.raises(ValueError, match=said):
    changed(Controls(adapters=("a", "b", "")), name, value)


def test_without_adapters_there_is_nothing_to_choose():
  for name, value in (("adapter", 2), ("adapter_step", 1)):
    with pytest.raises(ValueError, match="no switchable adapters"):
      changed(Controls(), name, value)
