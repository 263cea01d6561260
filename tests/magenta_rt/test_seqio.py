"""seqio's tasks give the examples that the grain source gives."""

import importlib.util
import warnings

import numpy as np
import pytest

from magenta_midi.cli.main import main
from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.batches import BUCKETS, BatchStream
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.magenta_rt import feature_converter
from magenta_midi.magenta_rt.feature_converter import all_lengths, to_batch
from magenta_midi.magenta_rt.seqio_source import SeqioSource, registered_task
from magenta_midi.magenta_rt.seqio_tasks import (
  TaskSettings,
  register_folder,
  register_mixture,
  register_task,
  task_name,
)
from magenta_midi.midi.score import Score
from magenta_midi.style.registry import get_style_model
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.grain_source import GrainSource
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.sharding import HostRows
from magenta_midi.train.trainer import Trainer

CODEC = NoteCodec()
DUET = dict(solo=0.4, hands=0.4, turns=0.2)


@pytest.fixture(scope="module")
def seqio():
  with warnings.catch_warnings():
    # TensorFlow and what it imports.
    warnings.simplefilter("ignore")
    return pytest.importorskip("seqio")


def music(seed, notes=300, key=40):
  rng = np.random.default_rng(seed)
  return Score.from_arrays(
    onset_s=np.cumsum(rng.exponential(0.15, notes)),
    duration_s=rng.uniform(0.05, 3.0, notes),
    key=rng.integers(key, key + 30, notes),
    velocity=rng.integers(20, 110, notes),
    pedal=[(0.7 * i, i % 2 == 0) for i in range(40)],
  )


CORPUS = pack_scores([("a", music(0)), ("b", music(1))])


def dataset(seqio, name, lengths, *, style_slots=0, count=64, **options):
  converter = feature_converter.MidiFeatureConverter(style_slots=style_slots)
  values = dict(dataset_split="train", shuffle=True, seed=3, batch_size=count)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    found = seqio.get_dataset(
      name, lengths, converter, **(values | options), verbose=False
    )
    return found.as_numpy_iterator()


def rows_of(batch, context, target):
  """Each example of a batch, padded, as bytes."""
  sizes = dict(context_ids=context, context_time=context, context_part=context)
  padded = []
  for name, array in batch._asdict().items():
    if array is not None and name != "style":
      width = sizes.get(name, target) - array.shape[1]
      after = [(0, 0), (0, width)] + [(0, 0)] * (array.ndim - 2)
      array = np.pad(array, after)
    if array is not None:
      padded.append(np.asarray(array, np.int32).reshape(len(array), -1))
  return [row.tobytes() for row in np.concatenate(padded, axis=1)]


@pytest.mark.parametrize(
  ("codec", "partners", "styled"),
  [
    (NoteCodec(), DUET, False),
    (NoteCodec(), dict(solo=1.0), True),
    (EventCodec(), dict(solo=1.0), False),
  ],
)
def test_both_give_the_same_examples(seqio, codec, partners, styled):
  style = StyleRows(get_style_model("descriptors"), seed=3)
  settings = TaskSettings(
    codec=codec, partners=partners, style=style if styled else None
  )
  name = register_task("same", lambda split: CORPUS, settings)
  context, target = BUCKETS[codec.name][-1]
  batches = dataset(
    seqio,
    name,
    dict(inputs=context, targets=target),
    style_slots=style.slots if styled else 0,
  )
  # The first pool.
  found = [
    row
    for _ in range(16)
    for row in rows_of(to_batch(next(batches)), context, target)
  ]
  assert len(found) == 1024
  source = GrainSource(
    BatchStream(
      codec=codec,
      corpora=[CORPUS],
      shares=[1.0],
      augmentation=settings.augmentation,
      frames_per_batch=2000,
      target_steps=400,
      context_steps=1000,
      seed=3,
      partners=partners,
      style=settings.style,
    )
  )
  given = []
  while source.state()["pool"] < 2:
    given += rows_of(source.next(), context, target)
  source.close()
  # The last batch is of the second pool, of which some is in its ones.
  assert len(given) > 900
  assert len(set(given[:800]) - set(found)) == 0


def test_hosts_share_each_example_once(seqio):
  settings = TaskSettings(codec=NoteCodec(), partners=DUET)
  name = register_task("shared", lambda split: CORPUS, settings)
  lengths = dict(inputs=256, targets=192)
  whole = to_batch(next(dataset(seqio, name, lengths, count=20)))
  for index in range(2):
    half = to_batch(
      next(
        dataset(
          seqio,
          name,
          lengths,
          count=10,
          shard_info=seqio.ShardInfo(index, 2),
        )
      )
    )
    for one, other in zip(half[:-1], whole[:-1], strict=True):
      np.testing.assert_array_equal(one, other[index::2])


def test_a_mixture_takes_its_shares(seqio):
  high = pack_scores([("high", music(2, key=80))])
  settings = TaskSettings(codec=NoteCodec())
  names = [
    register_task("low", lambda split: CORPUS, settings),
    register_task("high", lambda split: high, settings),
  ]
  mixture = register_mixture(
    "magenta_midi_low_and_high", dict(zip(names, (3.0, 1.0), strict=True))
  )
  lengths = dict(inputs=256, targets=96)
  batch = to_batch(next(dataset(seqio, mixture, lengths, count=1000)))
  first_key = (
    batch.targets[:, 0, 1] - NoteCodec().vocabulary.level_slice(1).start
  )
  note = (first_key >= 0) & (first_key < 128)
  share = np.mean(first_key[note] >= 74)
  assert 0.2 < share < 0.3
  with pytest.raises(ValueError, match=r"share of .*low must be positive"):
    register_mixture("none", {names[0]: 0.0})


def test_other_splits_are_cut_every_two_seconds(seqio, tmp_path):
  for index in range(6):
    folder = tmp_path / "set"
    folder.mkdir(exist_ok=True)
    music(index, 60).to_file(folder / f"{index}.mid")
  listed = ["path,split", *(f"{i}.mid,train" for i in range(5)), "5.mid,valid"]
  (tmp_path / "set.csv").write_text("\n".join(listed) + "\n")
  name = register_folder(folder, TaskSettings(codec=NoteCodec()))
  assert name.endswith("_solo_set")
  lengths = dict(inputs=256, targets=192)
  windows = list(
    dataset(seqio, name, lengths, dataset_split="validation", count=1)
  )
  length_ms = pack_scores([("5", music(5, 60))]).lengths_ms[0]
  assert abs(len(windows) - (length_ms // 2000 + 1)) <= 1
  assert not windows[0]["encoder_input_tokens"].any()


@pytest.fixture
def registering(seqio, tmp_path, monkeypatch):
  """A user's module that registers a folder as a task, and the names."""
  for index in range(3):
    folder = tmp_path / "songs"
    folder.mkdir(exist_ok=True)
    music(index, 80).to_file(folder / f"{index}.mid")
  # Each test registers its own: seqio remembers.
  module = f"tasks_of_{tmp_path.name}".replace("-", "_")
  (tmp_path / f"{module}.py").write_text(f"""
from pathlib import Path
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.magenta_rt.seqio_tasks import *
name = {module!r}
folder = Path({str(folder)!r})
for partners in (dict(solo=1.0), dict(hands=1.0)):
  settings = TaskSettings(codec=NoteCodec(), partners=partners)
  register_folder(folder, settings, name=name)
""")
  monkeypatch.chdir(tmp_path)
  prefix = "magenta_midi_note_10ms_vel32_dur63_ctx10s_tgt4s_"
  return module, f"{prefix}solo_{module}", f"{prefix}hands_{module}"


def test_a_run_goes_on_in_a_task_where_it_stopped(registering):
  module, name, duet = registering
  registered_task(name, module, CODEC)
  config = TrainConfig(steps=9, frames_per_batch=3300)
  whole = SeqioSource(name, config, CODEC)
  batches = [whole.next() for _ in range(4)]
  assert {len(batch.targets) for batch in batches} == {6}
  assert whole.cut == 24
  resumed = SeqioSource(name, config, CODEC)
  early = SeqioSource(name, config, CODEC)
  early.next()
  early.next()
  resumed.restore(early.state())
  # Three hosts, each on two devices, and the last two batches.
  hosts = [
    SeqioSource(name, config, CODEC, block=HostRows(index, 3, 4))
    for index in range(3)
  ]
  for host in hosts:
    host.restore(early.state())
  for batch in batches[2:]:
    again = resumed.next()
    blocks = [host.next() for host in hosts]
    for field, wanted, found in zip(batch._fields, batch, again, strict=True):
      np.testing.assert_array_equal(wanted, found, err_msg=field)
      parts = [getattr(block, field) for block in blocks]
      if wanted is not None:
        assert {len(part) for part in parts} == {4}
        rows = [part[row] for row in range(2) for part in parts]
        np.testing.assert_array_equal(np.stack(rows), wanted, err_msg=field)
    assert not any(block.weights[2:].any() for block in blocks)
  with pytest.raises(ValueError, match="state is of folders, not of the seqio"):
    resumed.restore(dict(pool=1))
  with pytest.raises(ValueError, match=r"has two players\. Give --partners"):
    SeqioSource(duet, config, CODEC).next()


def test_a_model_is_trained_on_a_task(registering):
  module, name, _ = registering
  registered_task(name, module, CODEC)
  config = TrainConfig(preset="tiny", steps=4, frames_per_batch=1100)
  trainer = Trainer(
    config,
    CODEC,
    [],
    [],
    open_source=lambda block: SeqioSource(name, config, CODEC, block=block),
  )
  nats = [float(np.sum(trainer.train_step(0.5))) for _ in range(2)]
  assert 10 < nats[0] < 30
  assert trainer.stream.state() == dict(task=name, batches=2)


def test_train_takes_a_registered_task(registering, tmp_path, capfd):
  module, name, _ = registering
  common = ["--preset", "tiny", "--steps", "2", "--task-module", module]
  common += ["--set", "frames_per_batch=1100"]

  def trained(*words):
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(["train", *common, *words])
    except SystemExit as ended:
      assert ended.code == 2
    return " ".join(capfd.readouterr().err.split())

  for words, match in (
    (["--data", name, "--task-module", "no_such"], "is no module no_such,"),
    (["--data", "nothing"], "registers no seqio task or mixture 'nothing'"),
    (["--data", name, "--data", "b"], "expected one --data"),
    (["--data", name, "--codec", "event"], "Give the codec it was registered"),
  ):
    assert match in trained(*words, "--out", "none")
  assert not (tmp_path / "none").exists()
  said = trained("--data", name, "--out", "run")
  assert "a seqio task. Nothing is held out" in said
  if importlib.util.find_spec("tensorboardX") is None:
    # All of a run needs the extra `train` too.
    assert "pip install 'magenta-midi[train]'" in said
  else:
    assert (tmp_path / "run/checkpoint/config.json").is_file()


def test_names_carry_the_settings():
  settings = TaskSettings(codec=NoteCodec(), partners=DUET)
  assert task_name("pop 909", settings) == (
    "magenta_midi_note_10ms_vel32_dur63_ctx10s_tgt4s_solo40_hands40_turns20"
    "_pop_909"
  )
  event = TaskSettings(codec=EventCodec(), target_s=2.0)
  assert task_name("maestro", event) == (
    "magenta_midi_event_10ms_vel32_shift2_ctx10s_tgt2s_solo_maestro"
  )


def test_lengths_of_inputs_and_targets_are_enough():
  assert all_lengths(dict(inputs=9, targets=5)) == dict(
    inputs=9,
    inputs_time=9,
    inputs_part=9,
    heard=4,
    heard_time=4,
    heard_part=4,
    targets=5,
  )
  with pytest.raises(ValueError, match="got no targets"):
    all_lengths(dict(inputs=9))


def test_frames_of_several_levels_are_not_packed(seqio):
  with pytest.raises(ValueError, match=r"cannot be packed.*pack=False"):
    feature_converter.MidiFeatureConverter(pack=True)
