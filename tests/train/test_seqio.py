"""seqio's tasks give the examples that the grain source gives."""

import warnings

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.style.registry import style_model_named
from magenta_midi.tokens.event import EventCodec
from magenta_midi.tokens.note import NoteCodec
from magenta_midi.train import feature_converter
from magenta_midi.train.batches import BUCKETS, BatchStream
from magenta_midi.train.corpus import pack_scores
from magenta_midi.train.feature_converter import all_lengths, to_batch
from magenta_midi.train.grain_source import GrainSource
from magenta_midi.train.seqio_tasks import (
  TaskSettings,
  register_folder,
  register_mixture,
  register_task,
  task_name,
)
from magenta_midi.train.style_rows import StyleRows

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
  style = StyleRows(style_model_named("descriptors"), seed=3)
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
