"""Settings for accelerators: taken, replaced, kept when a run goes on."""

import json
import os

import numpy as np
import pytest

from magenta_midi.cli.main import main
from magenta_midi.midi.score import Score
from magenta_midi.train import machine
from magenta_midi.train.machine import for_accelerator
from magenta_midi.train.run_settings import RUN, TrainConfig


@pytest.mark.parametrize(
  ("cores", "workers"), [(1, 0), (2, 0), (8, 6), (16, 14), (128, 14)]
)
def test_defaults_give_way(cores, workers):
  config = for_accelerator(TrainConfig(steps=1, seed=5), cores=cores)
  assert config.shapes == "few"
  assert config.frames_per_batch > 3 * TrainConfig.frames_per_batch
  assert config.workers == workers
  assert config.seed == 5


def test_what_was_given_stays():
  config = TrainConfig(steps=1, frames_per_batch=500)
  assert for_accelerator(config).frames_per_batch == 500
  config = for_accelerator(TrainConfig(steps=1), ("shapes", "workers"))
  assert (config.shapes, config.workers) == ("all", 0)


@pytest.mark.parametrize(
  ("before", "after"),
  [
    ("", "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"),
    (
      "--xla_gpu_autotune_level=4",
      "--xla_gpu_autotune_level=4 --xla_gpu_enable_triton_gemm=false",
    ),
  ],
)
def test_the_compiler_hurries_where_there_is_cuda(monkeypatch, before, after):
  monkeypatch.setenv("XLA_FLAGS", before)
  found = machine.importlib.util.find_spec
  plugins = {"jax_cuda12_plugin", "jax_cuda13_plugin"}
  monkeypatch.setattr(
    "importlib.util.find_spec",
    lambda name: None if name in plugins else found(name),
  )
  machine.quick_compiler()
  assert os.environ["XLA_FLAGS"] == before
  monkeypatch.setattr("importlib.util.find_spec", lambda name: name in plugins)
  machine.quick_compiler()
  assert os.environ["XLA_FLAGS"] == after


@pytest.fixture
def takes(tmp_path):
  folder = tmp_path / "takes"
  folder.mkdir()
  for index in range(3):
    Score.from_arrays(
      onset_s=np.arange(40) * 0.5,
      duration_s=np.full(40, 0.4),
      key=48 + index + np.arange(40) % 12,
      velocity=np.full(40, 64),
    ).to_file(folder / f"{index}.mid")
  (tmp_path / "takes.csv").write_text(
    "path,split\n" + "".join(f"{index}.mid,train\n" for index in range(3))
  )
  return folder


def test_a_run_goes_on_as_it_was_begun(takes, tmp_path):
  def train(out, *words):
    main(
      [
        *("train", "--data", str(takes), "--preset", "tiny"),
        *("--out", str(tmp_path / out), "--set", "frames_per_batch=300"),
        *("--set", "workers=0", "--steps", "2", "--set", "sample_s=0", *words),
      ]
    )
    return json.loads((tmp_path / out / RUN).read_text())

  stopped = ("--session-minutes", "1e-6")
  assert train("gpu", "--accelerator", *stopped)["shapes"] == "few"
  assert train("cpu", *stopped)["shapes"] == "all"
  for out in ("gpu", "cpu"):
    state = tmp_path / out / "state"
    before = {path.name for path in state.iterdir()}
    train(out)
    assert {path.name for path in state.iterdir()} != before
