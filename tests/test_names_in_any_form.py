"""Names typed on one system and stored by another are the same names.

macOS decomposes names (NFD), keyboards of other systems type them composed
(NFC). Linux takes the two for different names.
"""

import re
import shutil
import unicodedata
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.cli import phrases
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import style_items, weighted_folder
from magenta_midi.data.corpus import read_corpus
from magenta_midi.data.prepare import prepare
from magenta_midi.live.engine.adapter_choices import adapter_choices
from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.port_names import display_names, find_port
from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.live.recording.library import find_session
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.adapter_file import (
  Adapter,
  AdapterError,
  check_name,
  read_adapter,
)
from magenta_midi.model.lora.adapter_library import (
  find_adapter,
  install_adapter,
  installed_adapters,
  installed_names,
  is_adapter,
  load_adapters,
  remove_adapter,
)
from magenta_midi.model.lora.lora import LoraConfig, LowRank
from magenta_midi.plain_text import existing_path
from magenta_midi.style import DescriptorStyle
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.text.facts import read_facts
from tests.support.command_line import run_json

NAMES = ("오할림", "Dvořák", "がくや", "Jürgen")
FORMS = ("NFC", "NFD")


def nfc(text):
  return unicodedata.normalize("NFC", text)


def nfd(text):
  return unicodedata.normalize("NFD", text)


def an_adapter(name):
  pair = LowRank(np.ones((2, 1), np.float32), np.ones((1, 2), np.float32))
  return Adapter(
    name=name,
    factors={"k": pair},
    config=LoraConfig(rank=1),
    base="embedded",
    base_sha256="00",
    codec={},
  )


@pytest.fixture(params=FORMS)
def on_disk(request):
  return lambda text: unicodedata.normalize(request.param, text)


@pytest.fixture(params=FORMS)
def typed(request):
  return lambda text: unicodedata.normalize(request.param, text)


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_is_found_whatever_its_file_is_called(
  tmp_path, on_disk, typed, name
):
  file = install_adapter(an_adapter("x"), folder=tmp_path)
  file = file.rename(file.with_stem(on_disk(name)))
  assert installed_names(tmp_path) == [nfc(name)]
  assert installed_adapters(tmp_path) == [file]
  assert is_adapter(typed(name), tmp_path)
  assert find_adapter(typed(name), tmp_path).name == nfc(name)
  found = load_adapters([f"{typed(name)}:0.5"], tmp_path)
  assert [(a.name, scale) for a, scale in found] == [(nfc(name), 0.5)]
  assert find_adapter(str(tmp_path / f"{typed(name)}.safetensors")).name == "x"
  with pytest.raises(AdapterError, match="is installed already"):
    install_adapter(an_adapter(typed(name)), folder=tmp_path)
  # Replaced, not written beside it.
  install_adapter(an_adapter(typed(name)), folder=tmp_path, replace=True)
  assert installed_adapters(tmp_path) == [file]
  with pytest.raises(AdapterError, match="given twice"):
    load_adapters([typed(name), nfc(name)], tmp_path)
  assert remove_adapter(typed(name), tmp_path) == file
  assert installed_names(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_is_stored_composed(tmp_path, typed, name):
  path = install_adapter(an_adapter(typed(name)), folder=tmp_path)
  assert path.stem == nfc(name) == read_adapter(path).name
  assert check_name(typed(name)) == nfc(name)
  assert adapter_choices([f"{typed(name)}:0.5"])[0] == f"{nfc(name)}:0.5"


def test_of_two_files_of_one_name_the_composed_one_is_the_adapter(tmp_path):
  for number, form in enumerate(FORMS):
    file = install_adapter(an_adapter(f"x{number}"), folder=tmp_path)
    file.rename(file.with_stem(unicodedata.normalize(form, "오할림")))
  assert installed_names(tmp_path) == ["오할림"]
  assert [read_adapter(p).name for p in installed_adapters(tmp_path)] == ["x0"]


@pytest.mark.parametrize("name", NAMES)
def test_a_port_is_found(on_disk, typed, name):
  """MIDI systems name a port as the program that made it did."""
  names = [f"{on_disk(name)}:{on_disk(name)} MIDI 1 20:0", "Other 24:0"]
  for wanted in (name, f"{name} MIDI", f"{name}:{name} MIDI 1 20:0"):
    assert find_port(typed(wanted), names) == names[0]
  assert display_names(names) == [f"{nfc(name)}:{nfc(name)} MIDI 1", "Other"]


def test_a_calibration_is_kept_for_a_name(tmp_path, monkeypatch, on_disk):
  monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
  Calibration(velocity_low=33).save(on_disk("피아노"))
  assert Calibration.load(nfd("피아노")).velocity_low == 33
  assert Calibration.load(nfc("피아노")).velocity_low == 33


def test_a_session_is_found(tmp_path, on_disk, typed):
  folder = tmp_path / on_disk("첫 연주")
  folder.mkdir()
  (folder / "session.json").write_text("{}")
  for wanted in ("첫 연주", "첫"):
    assert find_session(tmp_path, typed(wanted)) == folder


def test_a_prompt_is_one_prompt(typed):
  controls = changed(Controls(), "prompt", ("느리게", 1.0))
  controls = changed(controls, "prompt", (typed("느리게"), 2.0))
  assert controls.prompts == (("느리게", 2.0),)


def test_a_prompt_is_one_vector():
  model = MidiCoCa.embedded()
  for text in ("느리고 조용한 발라드", "très doux", "ゆっくりとしたバラード"):
    composed, decomposed = model.embed(nfc(text)), model.embed(nfd(text))
    np.testing.assert_array_equal(composed, decomposed)


def test_a_path_is_found(tmp_path, on_disk, typed):
  file = tmp_path / on_disk("연주") / on_disk("첫 곡.mid")
  file.parent.mkdir()
  source = phrases.phrase_path("prelude")
  shutil.copy(source, file)
  other = str(tmp_path / typed("연주") / typed("첫 곡.mid"))
  assert existing_path(other) == file
  for name in ("새 곡.mid", "x.mid"):
    # A file to be written goes into the folder that is there.
    new = existing_path(tmp_path / typed("연주") / typed(name))
    assert new == file.parent / typed(name)
  assert weighted_folder(f"{other}:2") == (file, 2.0)
  [(score, _)] = style_items((other,))
  np.testing.assert_array_equal(score.notes, Score.from_file(source).notes)
  style = DescriptorStyle()
  np.testing.assert_array_equal(style.embed(other), style.embed(source))


def test_a_file_that_is_there_is_taken_as_it_is_named(tmp_path, typed):
  for form in FORMS:
    (tmp_path / unicodedata.normalize(form, "오")).write_text(form)
  assert existing_path(tmp_path / typed("오")) == tmp_path / typed("오")


@given(st.text(st.characters(exclude_characters="\0/"), max_size=20))
def test_a_path_that_is_not_there_does_not_change(tmp_path_factory, text):
  folder = tmp_path_factory.getbasetemp()
  path = folder / "no such folder" / text
  assert existing_path(path) == path


def test_a_command_finds_its_file(capsys, tmp_path, on_disk, typed):
  shutil.copy(phrases.phrase_path("prelude"), tmp_path / on_disk("곡.mid"))
  facts = run_json(capsys, "tokenize", tmp_path / typed("곡.mid"))
  score = Score.from_file(phrases.phrase_path("prelude"))
  assert facts["notes_in"] == len(score)


def test_the_list_of_a_corpus_names_its_files(tmp_path, on_disk, typed):
  """Its splits and facts hold for files that the disk spells otherwise."""
  corpus = tmp_path / "corpus"
  corpus.mkdir()
  name = "첫 곡.mid"
  shutil.copy(phrases.phrase_path("prelude"), corpus / on_disk(name))
  (tmp_path / "corpus.csv").write_text(
    f"path,split,composer\n{typed(name)},valid,Dvořák\n", encoding="utf-8"
  )
  found, _ = read_corpus(corpus, ("train", "valid"))
  assert [len(found[split].names) for split in ("train", "valid")] == [0, 1]
  [facts] = read_facts(corpus, found["valid"].names)
  assert facts.composer == "antonín dvořák"
  prepare(corpus, tmp_path / "packed", jobs=1)
  found, _ = read_corpus(tmp_path / "packed", ("train", "valid"))
  assert [len(found[split].names) for split in ("train", "valid")] == [0, 1]


def test_every_path_of_the_command_line_is_looked_up():
  folder = Path(phrases.__file__).parents[1]
  raw = [
    path.name
    for path in folder.rglob("*.py")
    if re.search(r"click\.(Path|File)\(", path.read_text(encoding="utf-8"))
  ]
  assert raw == []
  assert issubclass(FilePath, click.Path)
