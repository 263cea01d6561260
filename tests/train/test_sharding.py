"""Many devices: the same losses; a state restores onto another mesh."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from magenta_midi.model.checkpoint import parameter_shapes
from magenta_midi.model.config import PRESETS, preset
from magenta_midi.model.logical_axes import NAMES, logical_axes
from magenta_midi.train.sharding import (
  AXES,
  RULES,
  host_rows,
  join_hosts,
  make_mesh,
  path_name,
)

# A run of which programs in processes of their own train a few steps.
RUN = """
import json, sys
from pathlib import Path
import jax, numpy as np
from magenta_midi.train.sharding import join_hosts
join_hosts()
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import flat_parameters
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.data.corpus import pack_scores
from magenta_midi.train.run_store import (
  RunStore,
  restore_state,
  save_state,
)
from magenta_midi.train.trainer import Trainer
from magenta_midi.train.train import TrainConfig

random = np.random.default_rng(0)
onset = np.arange(0, 60, 0.5)
corpus = pack_scores([("piece", Score.from_arrays(
  onset_s=onset, duration_s=np.full(len(onset), 0.2),
  key=random.integers(50, 70, len(onset)),
  velocity=np.full(len(onset), 66)))])

def trainer(mesh, **changes):
  return Trainer(
    TrainConfig(
      preset="tiny", steps=20, warmup_steps=5, frames_per_batch=800, mesh=mesh,
      model=dict(temporal_layers=1), ema_decay=0.9, **changes),
    NoteCodec(), [corpus], [1.0])

def losses(run, steps):
  return [np.asarray(run.train_step(run.step / 20)) for _ in range(steps)]

"""
# Losses of 20 steps on each mesh, in one process with 8 devices; float32 sums
# come in another order. Then the state of one mesh on others.
MESHES = """
meshes = [{}, {"data": 8}, {"fsdp": 4}, {"model": 2},
          {"data": 2, "fsdp": 2, "model": 2}]
found = {}
runs = {}
for mesh in meshes:
  run = trainer(mesh)
  name = json.dumps(mesh)
  found[name] = [float(x.sum()) for x in losses(run, 20)]
  runs[name] = run
mesh = json.dumps(meshes[-1])
kernel = runs[mesh].params["encoder_layers"][0]["mlp"]["wi_0"]["kernel"]
found["spec"] = list(kernel[...].sharding.spec)
mu = [x for path, x in jax.tree_util.tree_leaves_with_path(
  runs[mesh]._learned.optimizer) if x.shape == kernel.shape]
found["moments split"] = all(not x.sharding.is_fully_replicated for x in mu)
with RunStore(Path(sys.argv[1])) as store:
  save_state(store, runs[mesh])
  store.wait()
  further = losses(runs[mesh], 3)
  for other in ({}, {"data": 2, "model": 4}):
    moved = trainer(other)
    restore_state(store, moved)
    found["after " + json.dumps(other)] = float(
      np.abs(np.array(losses(moved, 3)) - further).max())
print(json.dumps(found))
"""


# Losses of 4 steps, of which the last 2 after a restart as so many hosts, with
# examples cut by this one.
HOSTS = """
count = jax.process_count()
mesh = {"data": 2} if count == 2 else {}
first = trainer(mesh, source="numpy")
found = [float(x.sum()) for x in losses(first, 2)]
cut = first.stream.cut
with RunStore(Path(sys.argv[1])) as store:
  save_state(store, first)
  store.wait()
  second = trainer(mesh, source="numpy")
  restore_state(store, second)
found += [float(x.sum()) for x in losses(second, 2)]
weights = flat_parameters(second.current_model()).values()
print(json.dumps(dict(
  losses=found, cut=cut,
  weights=sum(float(np.abs(np.asarray(x)).sum()) for x in weights))))
"""


def start(program, *arguments, **environment):
  return subprocess.Popen(
    [sys.executable, "-c", RUN + program, *map(str, arguments)],
    env=os.environ | dict(JAX_PLATFORMS="cpu") | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def result(process):
  out, errors = process.communicate()
  assert process.returncode == 0, errors[-3000:]
  return json.loads(out.splitlines()[-1])


@pytest.mark.slow
def test_two_hosts_learn_what_one_learns(tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  hosts = [
    start(
      HOSTS,
      tmp_path / "shared",
      MAGENTA_MIDI_HOSTS=f"{address},2,{index}",
    )
    for index in range(2)
  ]
  one, other = (result(host) for host in hosts)
  alone = result(start(HOSTS, tmp_path / "alone"))
  # The losses are those of all rows, whoever cut them.
  assert one["losses"] == other["losses"]
  assert one["losses"] == pytest.approx(alone["losses"], rel=1e-5)
  assert one["weights"] == pytest.approx(alone["weights"], rel=1e-5)
  assert one["cut"] + other["cut"] == alone["cut"]
  assert abs(one["cut"] - other["cut"]) <= 2


@pytest.mark.slow
def test_eight_devices_learn_what_one_learns(tmp_path):
  flags = os.environ.get("XLA_FLAGS", "")
  flags += " --xla_force_host_platform_device_count=8"
  found = result(start(MESHES, tmp_path / "state", XLA_FLAGS=flags))
  one = found.pop("{}")
  assert one[-1] < one[0] - 1, "it does not learn"
  assert found.pop("spec") == ["fsdp", "model"]
  assert found.pop("moments split")
  moved = {name: found.pop(name) for name in list(found) if "after" in name}
  assert len(moved) == 2 and max(moved.values()) < 2e-5, moved
  assert len(found) == 4
  for mesh, losses in found.items():
    assert losses == pytest.approx(one, rel=1e-5), mesh


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_has_named_axes(name):
  config = preset(name, level_sizes=(401, 130, 32, 64), reserved=6)
  shapes = parameter_shapes(config)
  assert shapes
  for parameter, shape in shapes.items():
    axes = logical_axes(parameter)
    assert len(axes) == len(shape), parameter
    assert set(axes) <= {None, *NAMES}
  assert set(RULES) == set(NAMES)


def test_paths_are_the_names_of_checkpoints():
  path = (jax.tree_util.GetAttrKey("mu"), *map(jax.tree_util.DictKey, "ab"))
  assert path_name(path) == "mu.a.b"


@dataclasses.dataclass(frozen=True)
class _Device:
  """What a mesh is asked of a device of some host."""

  process_index: int


@pytest.mark.parametrize(
  ("processes", "shape", "own", "expected"),
  [
    # Devices of 2 hosts, each with a block of rows of its own.
    ([0, 0, 1, 1], (4, 1, 1), 1, (1, 2, 2)),
    ([0, 0, 1, 1], (2, 1, 2), 1, (1, 2, 1)),
    ([0, 0, 1, 1], (1, 2, 2), 0, (0, 2, 1)),
    # Two hosts share each row.
    ([0, 1, 2, 3], (2, 1, 2), 3, (1, 2, 1)),
    ([0, 0, 1, 1], (1, 1, 4), 1, (0, 1, 1)),
    # Not in one block, or not in equal ones: each cuts all.
    ([0, 1, 0, 1], (4, 1, 1), 1, (0, 1, 4)),
    ([0, 1, 1, 1], (4, 1, 1), 0, (0, 4, 1)),
    ([0, 1, 1, 1], (4, 1, 1), 1, (0, 1, 4)),
  ],
)
def test_hosts_cut_the_rows_of_their_devices(
  monkeypatch, processes, shape, own, expected
):
  devices = np.array([_Device(index) for index in processes]).reshape(shape)
  mesh = jax.sharding.Mesh(devices, AXES)
  monkeypatch.setattr(jax, "process_index", lambda: own)
  assert host_rows(mesh) == expected


def test_what_cannot_be_meshed_is_refused(monkeypatch):
  assert make_mesh({}) is None
  with pytest.raises(ValueError, match=r"takes 4096 devices, there are \d+"):
    make_mesh({"data": 4096})
  monkeypatch.setenv("MAGENTA_MIDI_HOSTS", "host-0")
  with pytest.raises(ValueError, match=r"ADDRESS:PORT,COUNT,INDEX.*'host-0'"):
    join_hosts()
