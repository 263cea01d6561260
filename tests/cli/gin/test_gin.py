"""Runs from gin files: every file builds, and what is wrong is one line."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.cli.evaluate import command as evaluate_command
from magenta_midi.cli.finetune import command as finetune_command
from magenta_midi.cli.finetune import config_of as finetune_config_of
from magenta_midi.cli.generate import command as generate_command
from magenta_midi.cli.gin import statements as gin_statements
from magenta_midi.cli.gin.options import gin_source
from magenta_midi.cli.gin.statements import GinSource
from magenta_midi.cli.gin.train_run import TrainRun, gin_train_run
from magenta_midi.cli.main import main
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.train import command as train_command
from magenta_midi.midi.score import Score
from magenta_midi.model.config import PRESETS
from magenta_midi.tokens.codec import codec_names, get_codec
from magenta_midi.train.train import (
  TrainConfig,
  check_settings,
  model_config,
  style_rows,
)

pytest.importorskip("gin")

CHECKOUT = Path(__file__).resolve().parents[3]
GIN = CHECKOUT / "gin_configs"
PRETRAIN = "gin_configs/runs/pretrain.gin"
REQUIRED = ("MIXTURE_OR_TASK_NAME='DIR'", "TRAIN_STEPS=5")
TINY = (
  "MODEL='tiny'",
  "BATCH_SIZE=1",
  "TASK_FEATURE_LENGTHS={'inputs': 200, 'targets': 200}",
  "TrainConfig.sample_s=0.0",
)


def built(*flags: str, files: tuple[str, ...] = (PRETRAIN,)) -> TrainRun:
  return gin_train_run(GinSource(files, (*REQUIRED, *flags)), {})


def refused(capsys, *args: object) -> str:
  with pytest.raises(SystemExit) as end:
    main([str(arg) for arg in args])
  err = capsys.readouterr().err
  assert end.value.code == 2, err
  (line,) = err.strip().splitlines()
  return line


def in_comment(file: Path) -> list[str]:
  """The arguments of the command that opens a gin file."""
  comment = "".join(
    line[1:]
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True)
    if line[0] == "#"
  )
  text = comment[comment.index("magenta-midi ") :].replace("\\\n", " ")
  return shlex.split(text.partition("\n")[0])[1:]


COMMANDS = dict(
  train=train_command,
  generate=generate_command,
  evaluate=evaluate_command,
  finetune=finetune_command,
)


def parsed(args: list[str]) -> click.Context:
  return COMMANDS[args[0]].make_context(args[0], args[1:])


@pytest.mark.parametrize(
  "file", sorted(GIN.rglob("*.gin")), ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_the_command_that_opens_a_file_builds(file, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  args = in_comment(file)
  assert any(str(file.relative_to(CHECKOUT)) in arg for arg in args)
  with parsed(args):
    if args[0] != "train":
      return
    run = gin_train_run(gin_source(), {})
  codec = get_codec(run.codec)
  rows = style_rows(run.config)
  check_settings(run.config, codec, run.out)
  shape = model_config(run.config, codec, rows)
  assert shape.embed_dim == PRESETS[run.config.preset]["embed_dim"]
  assert run.mixture == ("DIR",)


def test_a_task_and_the_codecs_settings_are_bound():
  run = built()
  assert (run.task_module, run.codec_settings) == (None, {})
  run = built(
    "MIXTURE_OR_TASK_MODULE='my.tasks'",
    "train.codec_settings={'releases': True}",
  )
  assert (run.mixture, run.task_module) == (("DIR",), "my.tasks")
  assert get_codec(run.codec, **run.codec_settings).config.releases
  # What is saved gives the same.
  assert "MIXTURE_OR_TASK_MODULE = 'my.tasks'" in run.gin
  with pytest.raises(ValueError, match=r"MODULE: .*module must be text in quo"):
    built("MIXTURE_OR_TASK_MODULE=3")


def test_the_operative_config_lists_all_settings():
  text = built("MODEL_DIR='a;b'").gin
  titles = [line for line in text.splitlines() if line.endswith(":")]
  assert titles == [
    "# Macros:",
    "# Parameters for Augmentation:",
    "# Parameters for context_seconds:",
    "# Parameters for DepthformerConfig:",
    "# Parameters for frames_per_batch:",
    "# Parameters for target_seconds:",
    "# Parameters for train:",
    "# Parameters for TrainConfig:",
  ]
  assert "MODEL_DIR = 'a;b'" in text
  assert "TrainConfig.model = @DepthformerConfig()" in text
  for field in dataclasses.fields(TrainConfig):
    assert f"TrainConfig.{field.name} = " in text


def test_a_macro_that_refers_to_itself_is_refused():
  with pytest.raises(click.ClickException, match="refers to itself"):
    built("OPTIMIZER=%STYLE", "STYLE=%OPTIMIZER")


def test_options_replace_what_files_say_of_task_and_codec():
  run = gin_train_run(
    GinSource((PRETRAIN,), REQUIRED),
    dict(
      task_module=("--task-module", "tasks"),
      codec_settings=("--set", {"releases": True}),
    ),
  )
  assert run.task_module == "tasks"
  assert run.codec_settings == {"releases": True}


def test_there_is_a_file_for_each_size_and_codec():
  assert {file.stem for file in GIN.glob("size/*")} == set(PRESETS)
  assert {file.stem for file in GIN.glob("codec/*")} == set(codec_names())


def test_pretrain_is_what_the_options_give_by_default():
  assert built().config == TrainConfig(steps=5)


@pytest.mark.parametrize(
  ("flag", "field", "value"),
  [
    ("MODEL='base'", "preset", "base"),
    ("OPTIMIZER='adafactor'", "optimizer", "adafactor"),
    ("INITIAL_CHECKPOINT_PATH='a/b'", "init_from", "a/b"),
    ("DROPOUT_RATE=0.3", "model", {"dropout_rate": 0.3}),
    ("DepthformerConfig.encoder_layers=3", "model", {"encoder_layers": 3}),
    ("TRAIN_STEPS=1e3", "steps", 1000),
    ("STYLE='descriptors'", "style", "descriptors"),
    # 10 ms steps; the longest shape is 256 frames, and 192 at 1.5 each.
    ("TASK_FEATURE_LENGTHS={'inputs': 500, 'targets': 200}", "target_s", 2.0),
    ("TASK_FEATURE_LENGTHS={'inputs': 500, 'targets': 200}", "context_s", 5.0),
    ("BATCH_SIZE=4", "frames_per_batch", 4 * (256 + 288)),
    ("TrainConfig.learning_rate=1", "learning_rate", 1.0),
    ("Augmentation.tempo=[1, 1]", "augmentation.tempo", (1.0, 1.0)),
  ],
)
def test_bindings(flag, field, value):
  found = built(flag).config
  for name in field.split("."):
    found = getattr(found, name)
  assert found == value
  assert type(found) is type(value)


def test_mixtures():
  def mixture(text: str) -> tuple[str, ...]:
    return built(f"MIXTURE_OR_TASK_NAME={text}").mixture

  assert mixture("'a:0.3, b:0.7'") == ("a:0.3", "b:0.7")
  assert mixture("['a, and b', 'c']") == ("a, and b", "c")
  with pytest.raises(ValueError, match="must name a folder of MIDI files"):
    mixture("''")


@given(
  steps=st.integers(1, 10**9),
  rate=st.floats(1e-9, 1.0),
  shares=st.dictionaries(
    st.sampled_from(["solo", "hands", "turns"]),
    st.floats(0.01, 1),
    min_size=1,
  ),
  dropout=st.none() | st.floats(0, 0.9),
  tempo=st.tuples(st.floats(0.5, 1), st.floats(1, 2)),
  folder=st.text(min_size=1).filter(lambda t: t.strip() and "," not in t),
  batch=st.none() | st.integers(1, 1000),
)
@settings(max_examples=25)
def test_the_operative_config_gives_the_same_run(
  tmp_path_factory, steps, rate, shares, dropout, tempo, folder, batch
):
  run = built(
    f"TRAIN_STEPS={steps}",
    f"TrainConfig.learning_rate={rate!r}",
    f"TrainConfig.partners={shares!r}",
    f"DROPOUT_RATE={dropout!r}",
    f"Augmentation.tempo={tempo!r}",
    f"MIXTURE_OR_TASK_NAME={[folder]!r}",
    f"BATCH_SIZE={batch!r}",
  )
  file = tmp_path_factory.mktemp("gin") / "config.gin"
  file.write_text(run.gin, encoding="utf-8")
  assert gin_train_run(GinSource((str(file),)), {}) == run


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--gin.TRAIN_STEP=3"], r"TRAIN_STEP\. Did you mean TRAIN_STEPS\?"),
    (
      ["--gin.TrainConfig.learning_rat=1"],
      r"TrainConfig\.learning_rat\. Did you mean TrainConfig\.learning_rate\?",
    ),
    (
      ["--gin.TrainConfg.clip=1"],
      r"TrainConfg\.clip\. Did you mean TrainConfig\.clip\?",
    ),
    (["--gin.clip=1"], r"called clip\. Did you mean TrainConfig\.clip\?"),
    (
      ["--gin.TrainConfig.clip=%LEARNIN_RATE"],
      r"--gin\.TrainConfig\.clip: .*%LEARNIN_RATE\. Did you mean %LEARNING_",
    ),
    (
      ["--gin.TrainConfig.augmentation=@Augmentatoin()"],
      r"@Augmentatoin\. Did you mean @Augmentation\?",
    ),
    (["--gin.MODEL=base"], r"""quotes .*: --gin\.MODEL='"base"'$"""),
    (["--gin.MODEL"], r"--gin\.MODEL: expected a value"),
    (["--gin.MODEL='huge'"], r"unknown preset 'huge'"),
    (["--gin.CODEC='huge'"], r"codec must be one of: event, note"),
    (["--gin.TRAIN_STEPS='a'"], r"^\S+ --gin\.TRAIN_STEPS: .*an integer"),
    (["--gin.TRAIN_STEPS=0"], r"steps must be a whole number from 1 .*, got 0"),
    (["--gin.OPTIMIZER='sgd'"], r"must be 'muon_drawn' or .*got 'sgd'"),
    (["--gin.BATCH_SIZE=0"], r"BATCH_SIZE must be at least 1, got 0"),
    (
      ["--gin.TASK_FEATURE_LENGTHS={'input': 3}"],
      r"must be {'inputs': STEPS, 'targets': STEPS}, got {'input': 3}",
    ),
    (
      ["--gin.BATCH_SIZE=4", "--gin.TrainConfig.frames_per_batch=99"],
      r"--gin\.BATCH_SIZE: has no effect",
    ),
    (["--steps", "3"], r"--steps and --gin\.TRAIN_STEPS give the same"),
    (["--gin.a/TrainConfig.clip=1"], r"there are no scopes here"),
    (["--gin_file", "nope.gin"], r"nope\.gin: there is no such file"),
    (["--gin.DepthformerConfig.levels=3"], r"nothing is called Depthformer"),
    (
      ["--gin.DROPOUT_RATE=2.0"],
      r"dropout_rate must be a number .* below 1, got 2",
    ),
  ],
)
def test_what_is_wrong_is_named(capsys, flags, message):
  flags = [*(f"--gin.{flag}" for flag in REQUIRED), *flags]
  line = refused(capsys, "train", "--gin_file", PRETRAIN, *flags)
  assert re.search(message, line), line


@pytest.mark.parametrize("given", [(), REQUIRED[:1], REQUIRED[1:]])
def test_what_is_required_is_said_with_how_to_give_it(capsys, given):
  flags = [f"--gin.{flag}" for flag in given]
  line = refused(capsys, "train", "--gin_file", PRETRAIN, *flags)
  missing = "TRAIN_STEPS" if given == REQUIRED[:1] else "MIXTURE_OR_TASK_NAME"
  assert f"{missing} is required. Give it: --gin.{missing}=" in line


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("TRAIN_STEP = 5", r"mine\.gin:2: .*TRAIN_STEP\. .* TRAIN_STEPS\?"),
    ("TrainConfig:\n  clipp = 1", r"mine\.gin:3: .*TrainConfig\.clip\?"),
    ("TrainConfg:\n  clip = 1", r"mine\.gin:2: .*mean TrainConfig\?"),
    ("import os", r"mine\.gin:2: nothing is imported"),
    ("MODEL = 'a", r"mine\.gin:2: no gin statement"),
    ("MODEL = [1,\n", r"mine\.gin:\d+: no gin statement"),
    ("MODEL 3", r"mine\.gin:2: no gin statement"),
    ('include "size/none.gin"', r"includes size/none\.gin, but .* Looked in"),
    ('include "mine.gin"', r"mine\.gin: includes itself"),
    ("generate.seed = 3", r"mine\.gin:2: nothing is called generate\.seed"),
  ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(
  capsys, tmp_path, text, message
):
  file = tmp_path / "mine.gin"
  file.write_text(f'include "runs/pretrain.gin"\n{text}\n')
  line = refused(capsys, "train", "--gin_file", file)
  assert re.search(message, line), line


def test_files_are_found_from_anywhere(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  mine = tmp_path / "mine.gin"
  mine.write_text('include "runs/pretrain.gin"\ninclude "size/base.gin"\n')
  assert built(files=(PRETRAIN,)).config.preset == "small"
  assert built(files=("runs/pretrain.gin",)).config.preset == "small"
  assert built(files=("mine.gin",)).config.preset == "base"
  # What is beside the file, and what the search paths hold, come first.
  (tmp_path / "size").mkdir()
  (tmp_path / "size" / "base.gin").write_text("MODEL = 'tiny'\n")
  assert built(files=("mine.gin",)).config.preset == "tiny"
  monkeypatch.chdir(CHECKOUT)
  assert built(files=(str(mine),)).config.preset == "tiny"
  source = GinSource(("mine.gin",), REQUIRED, (str(tmp_path),))
  assert gin_train_run(source, {}).config.preset == "tiny"


def test_an_installed_package_says_where_the_files_are(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(gin_statements, "CHECKOUT", tmp_path / "site-packages")
  with pytest.raises(click.ClickException, match="source checkout"):
    built()
  source = GinSource(("runs/pretrain.gin",), REQUIRED, (str(GIN),))
  assert gin_train_run(source, {}).config.preset == "small"


@pytest.mark.parametrize(
  "flags",
  [
    ["--gin_file=x.gin", "--gin.A.b=[1, 2]", "--gin_search_paths=p,q"],
    ["--gin_file", "x.gin", "--gin.A.b", "[1, 2]", "--gin_search_paths", "p,q"],
    [
      *("--gin_file=x.gin", "--gin_bindings=A.b=[1, 2]"),
      *("--gin_search_paths=p", "--gin_search_paths=q"),
    ],
  ],
)
def test_forms_of_the_flags(flags):
  with parsed(["train", *flags]):
    assert gin_source() == GinSource(("x.gin",), ("A.b=[1, 2]",), ("p", "q"))


def test_without_gin_a_folder_is_required(capsys):
  line = refused(capsys, "train", "--steps", 2)
  assert "Missing option '--data' (or '--gin_file')" in line


def test_options_beside_gin_replace_what_files_bind():
  source = GinSource((PRETRAIN,), REQUIRED[:1])

  def config(**options: object) -> TrainConfig:
    given = {name: (f"--{name}", value) for name, value in options.items()}
    return gin_train_run(source, given).config

  assert config(steps=7) == TrainConfig(steps=7)
  assert config(minutes=3.0) == TrainConfig(minutes=3.0)
  assert config(steps=7, target_s=2.0).target_s == 2.0
  both = config(steps=7, model={"mlp_dim": 8})
  assert both.model == {"mlp_dim": 8}
  with pytest.raises(ValueError, match="either steps or minutes"):
    config(steps=7, minutes=3.0)


def test_generate_and_evaluate_take_their_options_from_gin(tmp_path):
  infer = ["--gin_file=runs/infer.gin", "--gin.generate.prompt='calm'"]
  with parsed(["generate", *infer, "--seed", "3"]) as ctx:
    assert ctx.params["seconds"] == 30.0
    assert ctx.params["out"] == Path("out/infer.mid")
    assert ctx.params["prompts"] == ("calm",)
    assert ctx.params["seed"] == 3
    assert ctx.params["checkpoint"] is None
  several = "--gin.generate.temperature=[1.0, 0.9, 1.0, 1.0]"
  with parsed(["generate", *infer, several]) as ctx:
    assert ctx.params["temperature"] == "1.0,0.9,1.0,1.0"
  scored = ["--gin_file=runs/eval.gin", "--gin.SPLIT='test'"]
  with parsed(
    ["evaluate", *scored, "--gin.MIXTURE_OR_TASK_NAME=['a', 'b']"]
  ) as ctx:
    assert ctx.params["paths"] == (Path("a"), Path("b"))
    assert ctx.params["split"] == "test"


def test_finetune_takes_its_strategy_from_gin():
  file = "--gin_file=runs/finetune_lora.gin"
  with parsed(["finetune", "takes", "--name", "me", file]) as ctx:
    config = finetune_config_of(None, ctx.params)
    assert ctx.params["rehearsal"] == "itself"
  assert config.minutes == 20.0 and config.lora.rank == 16
  assert config.stack_rates["encoder"] < config.stack_rates["depth"] == 1.0
  starts = [config.unfreeze[s] for s in ("depth", "temporal", "encoder")]
  assert starts == sorted(starts) and starts[0] == 0.0
  assert config.early_stopping == 4 and config.rehearsal_share == 0.3
  # An option beside it replaces what the file binds.
  given = ["--unfreeze", "encoder:0.5", "--steps", "9"]
  with parsed(["finetune", "takes", "--name", "me", file, *given]) as ctx:
    config = finetune_config_of(None, ctx.params)
  assert config.unfreeze == {"encoder": 0.5}
  assert (config.steps, config.minutes) == (9, None)
  wrong = "--gin.UNFREEZE={'encoder': 'late'}"
  with (
    parsed(["finetune", "takes", "--name", "me", file, wrong]) as ctx,
    pytest.raises(UserError, match="--unfreeze encoder:late: expected PART"),
  ):
    finetune_config_of(None, ctx.params)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["generate", "--gin.generate.sed=3"], "Did you mean generate.seed?"),
    (["generate", "--gin.SECOND=3"], "Did you mean SECONDS?"),
    (["generate", "--gin.SECONDS='a'"], "--seconds must be a number above 0"),
    (
      ["generate", "--gin.generate.seed=3", "--seed", "4"],
      "--seed and --gin.generate.seed give the same",
    ),
    (["evaluate"], "MIXTURE_OR_TASK_NAME is required. Give it: --gin.MIX"),
    (["evaluate", "--gin.TrainConfig.clip=1"], "nothing is called TrainConfig"),
  ],
)
def test_generate_and_evaluate_name_what_is_wrong(capsys, args, message):
  name = dict(generate="infer", evaluate="eval")[args[0]]
  line = refused(capsys, *args, f"--gin_file=runs/{name}.gin")
  assert message in line


@pytest.fixture(scope="module")
def music(tmp_path_factory):
  folder = tmp_path_factory.mktemp("music")
  rng = np.random.default_rng(0)
  for piece in range(3):
    Score.from_arrays(
      onset_s=np.sort(rng.uniform(0, 20, 60)),
      duration_s=rng.uniform(0.1, 1, 60),
      key=rng.integers(40, 80, 60),
      velocity=rng.integers(30, 100, 60),
    ).to_file(folder / f"{piece}.mid")
  return folder


def train(capsys, *args: object) -> Path:
  """Runs, and returns the run's folder."""
  main(["train", *map(str, args), "--json"])
  out = capsys.readouterr().out
  return Path(json.loads(out.strip().splitlines()[-1])["checkpoint"]).parent


def weights(run: Path) -> dict[str, bytes]:
  return {
    file.name: file.read_bytes()
    for file in (run / "checkpoint").iterdir()
    if file.suffix == ".safetensors"
  }


def test_pretrain_finetune_and_the_saved_config(capsys, tmp_path, music):
  """Two steps each; the same by options, and by the config of the run."""
  flags = [f"--gin.{flag}" for flag in TINY]
  flags += [f"--gin.MIXTURE_OR_TASK_NAME='{music}'", "--gin.TRAIN_STEPS=2"]
  first = train(
    capsys,
    *("--gin_file", PRETRAIN, *flags, f"--gin.MODEL_DIR='{tmp_path / 'a'}'"),
  )
  assert first == tmp_path / "a"
  again = train(
    capsys, "--gin_file", first / "config.gin", "--out", tmp_path / "b"
  )
  assert weights(again) == weights(first) != {}
  settings_of = (first / "run.json").read_text()
  assert (again / "run.json").read_text() == settings_of
  source = GinSource((str(first / "config.gin"),))
  assert (
    gin_train_run(source, {}).config == built(*TINY, "TRAIN_STEPS=2").config
  )
  tuned = train(
    capsys,
    *("--gin_file", "gin_configs/runs/finetune.gin", *flags),
    f"--gin.INITIAL_CHECKPOINT_PATH='{first / 'checkpoint'}'",
    *("--out", tmp_path / "c"),
  )
  notes = json.loads((tuned / "checkpoint" / "config.json").read_text())[
    "notes"
  ]
  assert notes["warm_start"]["arrays"] > 0
  # Another run's folder: nothing is overwritten.
  before = (first / "config.gin").read_bytes()
  line = refused(
    capsys,
    *("train", "--gin_file", PRETRAIN, *flags),
    *("--gin.TrainConfig.clip=2.0", "--out", first),
  )
  assert "clip was 1.0, now 2.0" in line
  assert (first / "config.gin").read_bytes() == before


def test_options_and_gin_give_one_run(capsys, monkeypatch, tmp_path, music):
  runs = []

  def note(config, codec, corpora, shares, held_out, out, **rest):
    del held_out, out, rest
    runs.append((config, codec, [corpus.names for corpus in corpora], shares))

  monkeypatch.setattr("magenta_midi.train.train.train", note)
  main(
    [
      *("train", "--data", f"{music}:0.5", "--preset", "tiny", "--steps", "1"),
      *("--set", "mlp_dim=32", "--target-seconds", "2", "--seed", "3"),
      *("--out", str(tmp_path / "a")),
    ]
  )
  main(
    [
      *("train", "--gin_file", PRETRAIN, "--gin.MODEL='tiny'"),
      *("--gin.DepthformerConfig.mlp_dim=32", "--steps", "1", "--seed", "3"),
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 1000, 'targets': 200}",
      f"--gin.MIXTURE_OR_TASK_NAME='{music}:0.5'",
      *("--out", str(tmp_path / "b")),
    ]
  )
  assert runs[0] == runs[1]
  assert runs[0][0].model == {"mlp_dim": 32}


def test_as_a_module():
  """As `python -m t5x.train` is run; wrong, so that nothing is compiled."""
  found = subprocess.run(
    [sys.executable, "-m", "magenta_midi.cli.train", "--gin_file=no.gin"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 2
  assert found.stderr.startswith("magenta-midi: no.gin: there is no such file")
  assert len(found.stderr.splitlines()) == 1
