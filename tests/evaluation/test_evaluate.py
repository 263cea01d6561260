"""The held-out protocol counts everything once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.data.corpus import join_corpora, pack_scores
from magenta_midi.data.examples.examples import cut_examples
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.evaluation.evaluate import Players, evaluate, protocol_windows
from magenta_midi.evaluation.losses import level_logits
from magenta_midi.midi.score import Score
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED

CODEC = NoteCodec()
EVENT = EventCodec()


def random_score(seed: int, seconds: float) -> Score:
  rng = np.random.default_rng(seed)
  count = int(seconds * 9)
  onset = np.sort(rng.uniform(0, seconds, count)).round(3)
  onset[0] = 0.0
  return Score.from_arrays(
    onset_s=onset,
    duration_s=rng.uniform(0.05, 2.0, count).round(3),
    key=rng.integers(30, 90, count),
    velocity=rng.integers(20, 110, count),
    pedal=[(t, i % 2 == 0) for i, t in enumerate(np.arange(0.5, seconds, 0.9))],
  )


@pytest.fixture(scope="module")
def corpus():
  return pack_scores(
    [("a", random_score(0, 21.0)), ("b", random_score(1, 7.0))]
  )


def uniform_model(codec=CODEC):
  """A model that finds every code of a level equally likely."""
  config = preset(
    "tiny", level_sizes=codec.vocabulary.level_sizes, reserved=RESERVED
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.logits_dense.kernel[...] = 0 * model.logits_dense.kernel[...]
  model.eval()
  return model


def test_a_uniform_model_costs_what_can_be_counted(corpus):
  found = evaluate(uniform_model(), CODEC, corpus)
  notes = [np.count_nonzero(corpus.piece(i)["key"] < 128) for i in range(2)]
  pedals = [np.count_nonzero(corpus.piece(i)["key"] >= 128) for i in range(2)]
  assert found.notes.tolist() == notes
  sizes = np.log([401, 130, 32, 64])
  for index in range(2):
    np.testing.assert_allclose(
      found.nats[index, :4], sizes * notes[index], rtol=1e-4
    )
    np.testing.assert_allclose(
      found.nats[index, 4], (sizes[0] + sizes[1]) * pedals[index], rtol=1e-4
    )
  # END of a chunk: the uniform chance of END or of an onset past 2 s.
  chunks = [11, 4]
  ends = []
  for index in range(2):
    events = corpus.piece(index)
    step = np.floor(events["time_ms"] / 10 + 0.5).astype(int)
    total = 0.0
    for chunk in range(chunks[index]):
      inside = step[(step >= chunk * 200) & (step < chunk * 200 + 200)]
      last = inside[-1] - chunk * 200 if len(inside) else 0
      total += np.log(401 / (401 - (200 - last)))
    ends.append(total)
  np.testing.assert_allclose(found.nats[:, 5], ends, rtol=1e-3)
  assert found.seconds.tolist() == [22.0, 8.0]


def test_tokens_of_event_are_counted_by_kind(corpus):
  found = evaluate(uniform_model(EVENT), EVENT, corpus)
  config = EVENT.config
  figures = found.figures()
  assert list(figures["levels"]) == [
    *("time_shift", "note_on", "velocity", "note_off")
  ]
  parts = sum(figures["levels"].values()) + figures["pedal"] + figures["end"]
  assert parts == pytest.approx(figures["nats_per_note"])
  edges = (0, 200, 328, 456, 488, 490)
  for index, seconds in enumerate((22, 8)):
    score = unpack_piece(corpus.piece(index))
    counts, end = np.zeros(5), 0.0
    for start in range(0, seconds, 2):
      own = EVENT.encode_targets(score, float(start), seconds=2.0)
      counts += np.histogram(own.codes[:, 0], edges)[0]
      # EOS, or any of the time shifts to the chunk's end or past it.
      last = int(own.step[-1]) if len(own.step) else 0
      end += np.log(config.size / (1 + last + 1))
    shift, on, off, velocity, pedal = counts * np.log(config.size)
    np.testing.assert_allclose(
      found.nats[index],
      [shift, on, velocity, off, pedal, end],
      rtol=1e-4,
    )
    assert found.notes[index] == counts[1]


def test_windows_cover_every_event_once(corpus):
  windows = protocol_windows(corpus, 1000)
  for piece in range(2):
    events = corpus.piece(piece)
    step = np.floor(events["time_ms"] / 10 + 0.5).astype(int)
    now = windows["now_ms"][windows["piece"] == piece] // 10
    counts = [np.count_nonzero((step >= n) & (step < n + 200)) for n in now]
    assert sum(counts) == len(events)


def test_pieces_are_scored_alike_alone_and_together(corpus):
  model = tiny_generator().model
  both = evaluate(model, CODEC, corpus)
  alone = evaluate(model, CODEC, pack_scores([("b", random_score(1, 7.0))]))
  np.testing.assert_allclose(both.nats[1], alone.nats[0], rtol=1e-4)
  joined = join_corpora([corpus, corpus])
  assert joined is not None
  twice = evaluate(model, CODEC, joined)
  np.testing.assert_allclose(twice.nats[2:], both.nats, rtol=1e-4)
  low, high = twice.interval()
  assert low <= twice.nats_per_note <= high


def test_removing_the_context_changes_the_score(corpus):
  model = tiny_generator().model
  with_context = evaluate(model, CODEC, corpus)
  without = evaluate(model, CODEC, corpus, context=False)
  assert abs(with_context.nats_per_note - without.nats_per_note) > 1e-4
  assert jax.default_backend() == "cpu"


@pytest.fixture(scope="module")
def duet():
  """A melody over chords, 7 s; no key is in both."""
  rng = np.random.default_rng(5)
  onset = np.sort(rng.uniform(0, 7, 60)).round(3)
  onset[:2] = 0.0
  part = rng.integers(0, 2, 60)
  part[:2] = 0, 1
  return Score.from_arrays(
    onset_s=onset,
    duration_s=rng.uniform(0.05, 2.0, 60).round(3),
    key=np.where(part == 0, 70, 40) + rng.integers(0, 25, 60),
    velocity=rng.integers(20, 110, 60),
    part=part,
    pedal=[(t, i % 2 == 0, 1) for i, t in enumerate(np.arange(0.5, 7, 0.9))],
    part_names=("melody", "piano"),
  )


def duet_model():
  config = preset(
    "tiny",
    level_sizes=CODEC.vocabulary.level_sizes,
    reserved=RESERVED,
    parts=9,
  )
  model = Depthformer(config, rngs=nnx.Rngs(4))
  # Far from uniform, so that nothing is right by chance.
  model.logits_dense.kernel[...] = 8 * model.logits_dense.kernel[...]
  model.eval()
  return model


def slow_nats(model, codec, corpus, players):
  """The same sum, event by event."""
  examples = players.split(protocol_windows(corpus, 1000), corpus)
  total, notes, late = 0.0, 0, players.delay_ms // 10
  batch, _ = cut_examples(
    codec,
    [corpus],
    examples,
    context_frames=128,
    target_frames=64,
    target_steps=200,
  )
  logits = [
    np.asarray(x, np.float64)
    for x in level_logits(model, jax.tree.map(jnp.asarray, batch))
  ]
  codes = codec.vocabulary.to_codes(batch.targets)
  for row in range(len(examples)):
    frames = int(batch.weights[row, :, 0].sum()) - 1
    own_step = earliest = 0
    for position in range(frames + 1):
      if position and batch.input_part[row, position]:
        earliest = int(batch.input_time[row, position]) + late + 1
      elif position:
        own_step = int(batch.input_time[row, position])
      logit = logits[0][row, position]
      chance = np.exp(logit - logit.max())
      step = own_step + np.arange(401.0)
      step[-1] = np.inf
      chance = np.where(step >= earliest, chance, 0)
      chance /= chance.sum()
      until = 200
      if position < frames:
        if batch.input_part[row, position + 1] == 0:
          code = codes[row, position]
          total -= np.log(chance[code[0]])
          for level in range(1, 4):
            if code[level] >= 0:
              logit = logits[level][row, position]
              odds = np.exp(logit - logit.max())
              total -= np.log(odds[code[level]] / odds.sum())
          notes += code[1] < 128
          continue
        until = int(batch.input_time[row, position + 1]) + late + 1
      until = max(min(until, 200), earliest)
      total -= np.log(chance[step >= until].sum())
  return total, notes


@pytest.mark.parametrize(
  ("mode", "swapped", "delay_ms"),
  [("tracks", False, 0), ("tracks", True, 150), ("hands", True, 57)],
)
def test_own_nats_beside_a_partner(duet, mode, swapped, delay_ms):
  corpus = pack_scores([("duet", duet)])
  players = Players(mode=mode, swapped=swapped, delay_ms=delay_ms)
  model = duet_model()
  found = evaluate(model, CODEC, corpus, players=players)
  total, notes = slow_nats(model, CODEC, corpus, players)
  assert found.notes.sum() == notes
  if mode == "tracks":
    assert notes == np.count_nonzero(duet.notes["part"] == int(swapped))
  assert found.nats.sum() == pytest.approx(total, rel=1e-3)


def test_a_partner_not_heard_is_not_there(duet):
  model = duet_model()
  corpus = pack_scores([("duet", duet)])
  deaf = Players(mode="tracks", delay_ms=40, other_part=False)
  alone = evaluate(model, CODEC, pack_scores([("melody", duet.select(0))]))
  found = evaluate(model, CODEC, corpus, players=deaf)
  np.testing.assert_allclose(found.nats, alone.nats, rtol=1e-4)
  heard = evaluate(
    model, CODEC, corpus, players=Players(mode="tracks", delay_ms=40)
  )
  assert abs(heard.nats.sum() / alone.nats.sum() - 1) > 1e-3


@pytest.mark.parametrize(
  ("players", "message"),
  [
    (Players(mode="trio"), "mode must be one of solo, tracks"),
    (Players(mode="hands", delay_ms=151), r"delay_ms must be in 0..150"),
    (Players(mode="tracks"), "no piece has a track named melody"),
  ],
)
def test_players_that_cannot_be(corpus, players, message):
  with pytest.raises(ValueError, match=message):
    evaluate(duet_model(), CODEC, corpus, players=players)
