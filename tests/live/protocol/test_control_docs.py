"""The page about live controls says what the program does."""

import re
from pathlib import Path

import pytest

from magenta_midi.live.io.control_map import TARGETS
from magenta_midi.live.io.key_map import KEYS, key_help
from magenta_midi.live.io.osc import ADDRESSES

PAGE = (
  Path(__file__).resolve().parents[3] / "docs" / "guides" / "live_controls.md"
)


@pytest.fixture(scope="module")
def page():
  return PAGE.read_text(encoding="utf-8")


def test_every_address_stands_with_its_arguments(page):
  rows = re.findall(r"^\| `(/\w+)` \| ([a-z ]*)\|", page, re.MULTILINE)
  found = {address: kinds.replace(" ", "") for address, kinds in rows}
  assert found == ADDRESSES


def test_every_key_stands_there(page):
  section = page.split("## Keys of the computer")[1].split("\n## ")[0]
  cells = " ".join(re.findall(r"^\| (`.+`) \|", section, re.MULTILINE))
  documented = set(re.findall(r"`([^`]+)`", cells))
  keys = {{" ": "space", "\t": "tab"}.get(key, key) for key in KEYS}
  plain = {key for key in keys if not key.isdigit() and key != "="}
  assert plain <= documented
  shown = {key for keys, _ in key_help() for key in keys.split()}
  assert documented - {"8", "1"} <= shown | {"1", "8"}


def test_every_target_stands_there(page):
  for target in TARGETS:
    if not re.fullmatch("prompt_[2-7]", target):
      assert re.search(rf"[` \n]{target}[` \n]", page), target
