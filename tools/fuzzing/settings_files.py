"""Settings as fuzzed: gin files, OSC packets, and what a computer keeps."""

import random
import struct
from pathlib import Path
from typing import Any

from tools.fuzzing.kind import Kind, written
from tools.fuzzing.mutations import (
  mutated_bytes,
  mutated_json,
  mutated_text,
)

__all__ = ["KINDS"]


def _make_gin(folder: Path) -> str:
  del folder
  return (
    "# Settings\n"
    'MIXTURE_OR_TASK_NAME = "music"\n'
    "TRAIN_STEPS = 2\nA = %B\nB = 0.01\n"
    "TrainConfig.steps = %TRAIN_STEPS\n"
    "TrainConfig.minutes = None\n"
    "TrainConfig.learning_rate = %A\n"
    'TrainConfig.partners = {"solo": 1.0, "turns": 0.5}\n'
    "DepthformerConfig.encoder_layers = 2\n"
    "train.mixture_or_task_name = %MIXTURE_OR_TASK_NAME\n"
    'train.codec = "note"\n'
    'train.codec_settings = {"chunk_s": 2.0}\n'
    "TrainConfig:\n  seed = 3\n  target_s = 4.0\n"
  )


def _gin_word(rng: random.Random) -> str:
  return rng.choice(_GIN_WORDS)


_GIN_WORDS = [
  *("=", "[", "{", "}", "(", ",", ":", "\\", "$", "@", "-", '"', "\n", "]]]"),
  *("\x0c", "\t", "가", "0777", "1_0", "...", "1j", "None", "True", "include"),
  *("%A", "%B", "%NOSUCH", "@TrainConfig()", "@os.system()", "'x'", "1e999"),
  "[" * 40,
  "[%A,%A]",
  "{[1]:2}",
  "9" * 5000,
  '"""',
  "__import__('os')",
  "include 'x.gin'\n",
  "import os\n",
  "A = %A\n",
  "TrainConfig.seed = 1e30\n",
  "TrainConfig.steps = -1\n",
  "a/b.c = 1\n",
]


def _write_gin(folder: Path, text: str, rng: random.Random) -> Path:
  return written(folder / "x.gin", mutated_text(text, rng, _gin_word))


def _read_gin(folder: Path) -> None:
  from magenta_midi.cli.gin.statements import GinSource
  from magenta_midi.cli.gin.train_run import gin_train_run

  source = GinSource((str(folder / "x.gin"),), (), (str(folder),))
  gin_train_run(source, {})


def _make_osc(folder: Path) -> list[bytes]:
  from magenta_midi.live.io.osc_packet import pack

  del folder
  messages = [
    pack("/temperature", 1.0),
    pack("/prompt", "slow ballad", 1.0),
    pack("/adapter", 1),
    pack("/register", 40, 80),
    pack("/mode", "listen"),
    pack("/mute", 1),
    pack("/hand_over"),
  ]
  bundle = b"#bundle\0" + bytes(8)
  for message in messages:
    bundle += struct.pack(">i", len(message)) + message
  nested = bundle
  for _ in range(6):
    nested = b"#bundle\0" + bytes(8) + struct.pack(">i", len(nested)) + nested
  tagged = b"/x\0\0,hdtcrmbTFNI[s]\0\0\0" + bytes(64)
  return [*messages, bundle, nested, tagged]


def _write_osc(folder: Path, seeds: list[bytes], rng: random.Random) -> Path:
  data = mutated_bytes(rng.choice(seeds), rng)
  return written(folder / "x.osc", data[:65_507])


def _read_osc(folder: Path) -> None:
  from magenta_midi.live.io.osc import OscInput
  from magenta_midi.live.io.osc_packet import unpack

  packet = (folder / "x.osc").read_bytes()
  with OscInput(0) as listener:
    listener._take(packet, [])
    assert "\n" not in listener.problem
  unpack(packet)


_SETTINGS: dict[str, Any] = {
  "controls.json": {
    "bindings": [
      {"channel": 1, "controller": 7, "target": "temperature"},
      {"channel": 16, "controller": 119, "target": "panic"},
    ]
  },
  "calibration.json": {
    "keyboard": "x",
    "velocity_low": 20,
    "velocity_typical": 64,
    "velocity_high": 110,
    "pedal_inverted": False,
    "pedal_continuous": True,
    "pedal_down_at": 64,
    "round_trip_ms": 2.5,
  },
  "costs.json": {
    name: {"base": 1.0, "each": 0.5}
    for name in ("none", "react", "refresh", "deeper", "encode", "reply")
  },
  "settings.json": {
    "model": {"embed_dim": 8, "num_heads": 2, "vocab_size": 128},
    "codec": {"name": "note", "settings": {}},
    "notes": {},
  },
  "macros.json": {"EMBED_DIM": 8, "NUM_LEVELS": 4, "ACTIVATION_DTYPE": "x"},
}


def _write_settings(folder: Path, made: Any, rng: random.Random) -> Path:
  del made
  for left in folder.iterdir():
    left.unlink()
  name = rng.choice(sorted(_SETTINGS))
  return written(folder / name, mutated_json(_SETTINGS[name], rng))


def _read_settings(folder: Path) -> None:
  from magenta_midi.live.io.calibration import Calibration
  from magenta_midi.live.io.control_map import ControlMap
  from magenta_midi.live.recording.costs import CostTable
  from magenta_midi.magenta_rt.config import complete_config, parse_settings

  (path,) = folder.iterdir()
  if path.name == "controls.json":
    ControlMap.load(path)
  elif path.name == "calibration.json":
    Calibration.read(path)
  elif path.name == "costs.json":
    CostTable.load(path)
  else:
    settings = parse_settings(path.read_text("utf-8", "replace"))
    complete_config(settings.fields, {"token_embedder.embedding": (128, 8)})


KINDS: dict[str, Kind] = {
  "gin": Kind(
    "gin files",
    _make_gin,
    _write_gin,
    _read_gin,
    ("builtins:ValueError", "builtins:OSError", "click:ClickException"),
  ),
  "osc": Kind(
    "OSC packets",
    _make_osc,
    _write_osc,
    _read_osc,
    ("magenta_midi.live.io.osc_packet:OscError",),
  ),
  "settings": Kind(
    "maps, calibrations, costs, settings to import",
    lambda folder: None,
    _write_settings,
    _read_settings,
    ("builtins:ValueError",),
  ),
}
