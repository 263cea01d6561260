"""`train --set`: every field of a run is taken, or refused in one line."""

import dataclasses
import json
import sys

import pytest

from magenta_midi.cli.main import main
from magenta_midi.cli.train import _OPTIONS, _run_settings, _setting
from magenta_midi.train.run_settings import TrainConfig

# Field -> a value that is taken, as it is written, and others that are not,
# each with part of what is said.
FIELDS: dict[str, tuple[str, dict[str, str]]] = dict(
  optimizer=("muon", {"sgd": "'adam_relative' or 'adamw'", "": "got ''"}),
  schedule=("rsqrt", {"step": "'cosine' or 'constant'"}),
  warmup_steps=("7", {"-1": "must be a number from 0 to", "1.5": "an integer"}),
  rest_rate=("3", {"-1": "must be a number from 0 to"}),
  guard=("1", {"-1": "must be a number from 0 to"}),
  history_noise=("0.3", {"2": "from 0 to 1, got 2"}),
  hold=("0.5", {"1": "of at least 0 and below 1, got 1"}),
  weight_decay=("0.5", {"-1": "must be a number from 0 to"}),
  adam_b2=(
    "0.9",
    {
      "1": "of at least 0 and below 1, got 1",
      "NaN": "must be a number from -1000000000000000 to",
    },
  ),
  clip=(
    "2",
    {
      "0": "must be a number above 0 and at most",
      "Infinity": "must be a number from -1000000000000000 to",
    },
  ),
  z_loss=("1e-3", {"-1e-4": "must be a number from 0 to"}),
  label_smoothing=("0.1", {"1": "of at least 0 and below 1, got 1"}),
  clock=("processor", {"sun": "'wall' or 'processor', got 'sun'"}),
  level_weights=(
    '{"onset": 2}',
    {
      "2": "a {name: value}, got 2",
      '{"pitch": 2}': "pitch is no level of the codec 'note': onset, key",
      '{"key": 0}': "must be a number above 0 and at most",
    },
  ),
  teacher=("runs/big", {"5": "text in quotes or None", "none": "none"}),
  teacher_share=("0.3", {"2": "from 0 to 1, got 2"}),
  ema_decay=(
    "0.99",
    {"1.1": "of at least 0 and below 1, got 1.1", "much": "a number"},
  ),
  accumulate=("2", {"0": "a whole number from 1 to 1000000000, got 0"}),
  remat=("true", {"yes": "True or False, got 'yes'", "1": "got 1"}),
  dtype=("bfloat16", {"half": "'float32' or 'bfloat16' or None"}),
  mesh=(
    '{"data": 1}',
    {
      "8": "a {name: value}, got 8",
      '{"rows": 2}': "axis must be one of data, fsdp, model, got 'rows'",
      '{"data": 0}': "mesh['data'] must be a whole number from 1",
      '{"data": "x"}': "mesh['data'] must be an integer",
    },
  ),
  frames_per_batch=("500", {"0": "a whole number from 1 to 1000000000, got 0"}),
  shapes=("few", {"none": "must be 'all' or 'few', got 'none'"}),
  source=("numpy", {"seqio": "one of grain, numpy, got 'seqio'"}),
  workers=("2", {"-1": "must be a number from 0 to"}),
  context_s=("5", {"-3": "must be a number from 0 to 3600"}),
  augmentation=(
    '{"transpose": [-3, 3], "departures": 0}',
    {
      "1": "a {field: value} of transpose",
      '{"tmpo": [1, 1]}': "no field 'tmpo'. Known: transpose, tempo",
      '{"tempo": [1, 1, 1]}': "tempo must be (a number, a number)",
      '{"tempo": [1.1, 0.9]}': "low end first, got 1.1 to 0.9",
      '{"tempo": [0, 1]}': "must be positive, got 0.0",
      '{"departures": 3}': "from 0 to 1, got 3",
    },
  ),
  held_out_windows=("9", {"0": "a whole number from 1 to 1000000000, got 0"}),
  evaluate_every_min=("1.5", {"-1": "must be a number from 0 to"}),
  evaluate_every_steps=(
    "50",
    {"0": "a whole number from 1 to 1000000000, got 0"},
  ),
  early_stopping=(
    "3",
    {"-1": "must be a number from 0 to", "true": "got True"},
  ),
  save_every_min=("1", {"-1": "must be a number from 0 to"}),
  save_every_steps=("50", {"0": "a whole number from 1 to 1000000000, got 0"}),
  keep_best=("false", {"1": "True or False, got 1"}),
  sample_s=("0", {"-1": "must be a number from 0 to"}),
  storage=("int8", {"int4": "'float32' or 'bfloat16' or 'int8'"}),
)
# What an option gives.
BY_OPTION = tuple(_OPTIONS)


def refused(capsys, *words: str) -> str:
  options = ("--data", "nowhere", "--steps", "1", "--preset", "tiny")
  with pytest.raises(SystemExit) as ended:
    main(["train", *options, *words])
  assert ended.value.code == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  return line


def test_every_field_is_here():
  fields = {field.name for field in dataclasses.fields(TrainConfig)}
  assert {*FIELDS, *BY_OPTION} == fields
  assert not FIELDS.keys() & BY_OPTION


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_is_taken(field):
  text, _ = FIELDS[field]
  given = dict([_setting(f"{field}={text}")])
  found = _run_settings(given)
  # None is left as a field of the model.
  assert not given and found.keys() == {field}
  config = TrainConfig(steps=1, **found)
  assert getattr(config, field) != getattr(TrainConfig(steps=1), field)
  written = json.loads(json.dumps(dataclasses.asdict(config)))[field]
  try:
    value = json.loads(text)
  except ValueError:
    value = text
  if isinstance(value, dict):
    written = {name: written[name] for name in value}
  assert written == value


@pytest.mark.parametrize(
  ("field", "text"),
  [(field, text) for field, (_, bad) in FIELDS.items() for text in bad],
)
def test_a_value_that_cannot_be_is_one_line(capsys, field, text):
  line = refused(capsys, "--set", f"{field}={text}")
  assert field in line or field == "teacher"
  assert FIELDS[field][1][text] in line


@pytest.mark.parametrize("field", BY_OPTION)
def test_what_has_an_option_is_given_by_it(capsys, field):
  line = refused(capsys, "--set", f"{field}=1")
  assert line.endswith(f"--set {field}: give {_OPTIONS[field]} instead.")


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("ema_decay", "expected FIELD=VALUE"),
    ("=3", "expected FIELD=VALUE"),
    ("take_weights=1", "take_weights"),
    ("codec.release=true", "must be among"),
    ("codec.duration_bins=3", "duration_bins must be enough"),
    ("encoder_layer=2", "encoder_layer"),
    ("encoder_layers=many", "encoder_layers"),
    ("encoder_layers=-1", "encoder_layers"),
    ("dropout_rate=1.5", "dropout_rate"),
  ],
)
def test_what_is_no_setting_is_one_line(capsys, text, expected):
  assert expected in refused(capsys, "--set", text)


def test_a_task_without_its_module_or_without_seqio_is_one_line(
  capsys, monkeypatch
):
  assert "a seqio task needs --task-module too" in refused(capsys)
  # As where it is not installed.
  monkeypatch.setitem(sys.modules, "seqio", None)
  line = refused(capsys, "--task-module", "json")
  assert "pip install 'magenta-midi[seqio]'" in line


def test_two_fields_that_do_not_go_together_are_one_line(capsys):
  line = refused(
    capsys, "--set", "early_stopping=2", "--set", "keep_best=false"
  )
  assert "early_stopping needs keep_best" in line
