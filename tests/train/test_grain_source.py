"""The grain source gives the batches of a BatchStream, whoever cuts them."""

import gc
import threading
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.batches import BatchStream
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.data.examples.partners import SOLO
from magenta_midi.data.examples.pools import Pools
from magenta_midi.midi.score import Score
from magenta_midi.style.registry import get_style_model
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.grain_source import GrainSource
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.sources import BatchSource, make_source

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def corpus():
  rng = np.random.default_rng(0)
  onset = np.cumsum(rng.exponential(0.2, 400))
  return pack_scores(
    [
      (
        "piece",
        Score.from_arrays(
          onset_s=onset,
          duration_s=rng.uniform(0.05, 1.0, 400),
          key=rng.integers(40, 80, 400),
          velocity=rng.integers(20, 110, 400),
        ),
      )
    ]
  )


def stream(corpus, **changes):
  values: dict[str, Any] = dict(
    codec=CODEC,
    corpora=[corpus],
    shares=[1.0],
    augmentation=Augmentation(),
    frames_per_batch=2000,
    target_steps=400,
    context_steps=1000,
    seed=3,
    partners=dict(solo=0.5, hands=0.3, turns=0.2),
  )
  return BatchStream(**(values | changes))


def equal(a, b):
  for name, one, other in zip(a._fields, a, b, strict=True):
    if one is None:
      assert other is None
    else:
      np.testing.assert_array_equal(one, other, err_msg=name)


def same_state(a, b):
  a, b = dict(a), dict(b)
  np.testing.assert_array_equal(a.pop("examples"), b.pop("examples"))
  assert a == b


@pytest.mark.parametrize("ahead", [0, 3])
def test_the_thread_gives_the_streams_batches(corpus, ahead):
  plain, source = stream(corpus), GrainSource(stream(corpus), ahead=ahead)
  same_state(plain.state(), source.state())
  for _ in range(70):
    equal(plain.next(), source.next())
  # What was cut ahead is not counted, and is cut again.
  same_state(plain.state(), source.state())
  assert (source.cut, source.capped) == (plain.cut, plain.capped)
  assert source.cut > 1024
  resumed = GrainSource(stream(corpus), ahead=ahead)
  resumed.next()
  resumed.restore(source.state())
  other = stream(corpus)
  other.restore(source.state())
  for _ in range(30):
    batch = plain.next()
    equal(batch, resumed.next())
    equal(batch, other.next())
  source.close()
  resumed.close()


@pytest.mark.slow
def test_processes_give_the_streams_batches(corpus):
  style = StyleRows(get_style_model("descriptors"), seed=3)
  plain = stream(corpus, style=style)
  source = GrainSource(stream(corpus, style=style), workers=2)
  for _ in range(50):
    equal(plain.next(), source.next())
  same_state(plain.state(), source.state())
  # Continued by another number of them.
  fewer = GrainSource(stream(corpus, style=style), workers=1)
  fewer.restore(source.state())
  source.close()
  for _ in range(50):
    equal(plain.next(), fewer.next())
  same_state(plain.state(), fewer.state())
  fewer.close()


@settings(max_examples=5, deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 60), st.booleans())
def test_the_blocks_of_hosts_are_one_hosts_batch(
  corpus, count, multiple, given_out, styled
):
  style = None
  if styled:
    style = StyleRows(get_style_model("descriptors"), seed=3)
  whole = stream(corpus)
  for _ in range(given_out):
    whole.next()
  state = whole.state()
  # Continued by hosts, from the state of one.
  whole = stream(corpus, style=style)
  whole.restore(state)
  hosts = [
    stream(
      corpus,
      style=style,
      shard_index=index,
      shard_count=count,
      row_multiple=multiple,
    )
    for index in range(count)
  ]
  for host in hosts:
    host.restore(state)
  for _ in range(3):
    batch = whole.next()
    blocks = [host.next() for host in hosts]
    sizes = {len(block.targets) for block in blocks}
    assert len(sizes) == 1
    assert sizes.pop() % multiple == 0
    joined = type(batch)(
      *(
        None if arrays[0] is None else np.concatenate(arrays)
        for arrays in zip(*blocks, strict=True)
      )
    )
    rows = len(batch.targets)
    equal(
      batch,
      type(batch)(*(None if x is None else x[:rows] for x in joined)),
    )
    # What fills up the last blocks predicts nothing.
    assert not joined.weights[rows:].any()
    assert not joined.context_ids[rows:].any()
  for host in hosts:
    same_state(host.state(), whole.state())
  assert sum(host.cut for host in hosts) == whole.cut
  assert sum(host.capped for host in hosts) == whole.capped


@pytest.mark.parametrize("codec", [CODEC, EventCodec()])
def test_a_host_cuts_its_own_rows_only(corpus, codec, monkeypatch):
  cut = []
  whole = Pools.cut

  def counted(self, examples):
    cut.append(len(examples))
    return whole(self, examples)

  monkeypatch.setattr(Pools, "cut", counted)
  host = stream(
    corpus, codec=codec, partners=SOLO, shard_index=1, shard_count=4
  )
  for _ in range(20):
    host.next()
  pools = host.state()["pool"]
  planned = sum(len(ready.rows.examples) for ready in host._ready)
  if codec is CODEC:
    assert sum(cut) == host.cut + planned < 0.3 * 1024 * pools
  else:
    # Of tokens, only cutting tells how many there are.
    assert sum(cut) == 1024 * pools


def test_a_host_beyond_the_last_is_refused(corpus):
  with pytest.raises(ValueError, match=r"shard_index must be.*got 2 of 2"):
    stream(corpus, shard_index=2, shard_count=2)


def test_a_source_that_is_dropped_ends_its_thread(corpus):
  def prefetching():
    return [t for t in threading.enumerate() if "prefetch" in t.name]

  gc.collect()
  before = len(prefetching())
  source = GrainSource(stream(corpus))
  source.next()
  assert len(prefetching()) == before + 1
  del source
  gc.collect()
  assert len(prefetching()) == before


def test_what_goes_wrong_ahead_is_raised(corpus):
  def broken(index):
    raise OSError(f"pool {index} cannot be read")

  source = GrainSource(stream(corpus, open_pools=broken))
  with pytest.raises(OSError, match="pool 0 cannot be read"):
    source.next()
  source.close()


def test_a_runs_settings_say_who_cuts(corpus):
  def source(name):
    config = TrainConfig(steps=1, source=name, frames_per_batch=500)
    made = make_source(config, CODEC, [corpus], [1.0])
    assert isinstance(made, BatchSource)
    return made

  plain, grain = source("numpy"), source("grain")
  assert isinstance(plain, BatchStream)
  assert isinstance(grain, GrainSource)
  equal(plain.next(), grain.next())
  grain.close()
  with pytest.raises(ValueError, match="source must be one of grain, numpy"):
    TrainConfig(steps=1, source="seqio")
