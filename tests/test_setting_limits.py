"""Numbers in the fields of all settings: what cannot be is refused by name."""

import ast
import dataclasses
import math
import typing
from pathlib import Path

import pytest

import magenta_midi
from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.piano.network import PianoCodecConfig
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.finetune.config import FinetuneConfig
from magenta_midi.generate.sampling import Sampling
from magenta_midi.live.engine.accompaniment import YieldSettings
from magenta_midi.live.engine.settings import EngineSettings
from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.session_settings import PortSettings, SessionSettings
from magenta_midi.magenta_rt.seqio_tasks import TaskSettings
from magenta_midi.model.config import preset
from magenta_midi.model.lora.lora import LoraConfig
from magenta_midi.server.settings import ServerSettings
from magenta_midi.style.midi_coca import MidiCoCaConfig
from magenta_midi.style.motion import StyleMotion
from magenta_midi.style.towers import TowerConfig
from magenta_midi.tokens.event.config import EventCodecConfig
from magenta_midi.tokens.grid import GridConfig
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.note.config import NoteCodecConfig
from magenta_midi.train.codec.trainer import CodecTrainConfig
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.style.data import CocaSizes
from magenta_midi.train.style.trainers import CocaConfig
from magenta_midi.transcribe.note_tracker import TrackerConfig
from magenta_midi.transcribe.transkun.config import TranskunConfig

SETTINGS = [
  TrainConfig(steps=1),
  TrainConfig(minutes=1.0),
  FinetuneConfig(steps=1),
  LoraConfig(),
  Augmentation(),
  preset("tiny", level_sizes=(8, 8), reserved=3),
  Sampling(),
  Sampling(temperature=(1.0, 1.0), top_k=(0, 0)),
  PianoCodecConfig(),
  CodecTrainConfig(steps=1),
  CocaConfig(),
  CocaSizes(),
  TowerConfig(width=8, heads=1, mlp_dim=8, layers=1),
  MidiCoCaConfig(vocab_size=8),
  EngineSettings(),
  TurnSettings(),
  YieldSettings(),
  Limits(),
  PortSettings(),
  SessionSettings(),
  ServerSettings(),
  Calibration(),
  StyleMotion(start=None, end=None),
  GridConfig(),
  NoteCodecConfig(),
  EventCodecConfig(),
  TaskSettings(codec=NoteCodec()),
  TrackerConfig(),
  TranskunConfig(),
  EncodecConfig(),
  InjectionControls(),
  InjectionSettings(source="live"),
]
# Made of settings that are checked, or without numbers.
INNER = {"ModelConfig", "PortConfig", "RecordingSettings"}
ENDINGS = ("Config", "Settings", "Sizes", "Sampling", "Limits", "Augmentation")
WRONG = {
  float: (math.nan, math.inf, -math.inf, 1e300, -1e300),
  int: (10**30, -(10**400)),
}


def numeric_fields():
  """(settings, field, types of its numbers, how many are in a tuple)."""
  for settings in SETTINGS:
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
      hint, value = hints[field.name], getattr(settings, field.name)
      kinds = {hint, *typing.get_args(hint)} & WRONG.keys()
      if kinds and not isinstance(value, dict):
        count = len(value) if isinstance(value, tuple) else 0
        yield settings, field.name, kinds, count


@pytest.mark.parametrize(
  ("settings", "name", "kinds", "count"),
  [
    pytest.param(*case, id=f"{type(case[0]).__name__}.{case[1]}")
    for case in numeric_fields()
  ],
)
def test_no_field_takes_a_number_that_cannot_be(settings, name, kinds, count):
  for value in (value for kind in kinds for value in WRONG[kind]):
    given = (value,) * count if count else value
    with pytest.raises(ValueError, match=name) as error:
      dataclasses.replace(settings, **{name: given})
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


def test_all_settings_are_among_those_above():
  known = {type(settings).__name__ for settings in SETTINGS} | INNER
  root = Path(magenta_midi.__file__).parent
  found = set()
  for path in root.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if (
        isinstance(node, ast.ClassDef)
        and node.name.endswith(ENDINGS)
        and "dataclass" in "".join(map(ast.unparse, node.decorator_list))
      ):
        found.add(node.name)
  assert "TrainConfig" in found
  assert found <= known, f"add to SETTINGS: {', '.join(sorted(found - known))}"
