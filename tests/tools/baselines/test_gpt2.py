"""tools/baselines/gpt2.py: its tokens, its network, what it learns and scores.

Needs the extra `baseline`; what follows from the network alone does not.
"""

import dataclasses
import importlib
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.examples import NO_AUGMENTATION
from magenta_midi.evaluation.evaluate import Evaluation, protocol_windows
from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import NoteCodec, NoteCodecConfig
from magenta_midi.train.run_settings import TrainConfig

KINDS = ("remi", "midilike", "tsd")

needs_miditok = pytest.mark.skipif(
  importlib.util.find_spec("miditok") is None,
  reason="needs the extra baseline (MidiTok)",
)


@pytest.fixture
def tool():
  """Imports a module of the tool; some of them need MidiTok."""
  return lambda name: importlib.import_module(
    f"tools.baselines.gpt2_baseline.{name}"
  )


def played(seed: int, count: int = 160, key_step: int = 3) -> Score:
  """Chords, repeated keys, long notes and pedal, at times off the grid."""
  rng = np.random.default_rng(seed)
  onset = np.cumsum(rng.choice([0.0, 0.0, 0.113, 0.4, 1.0171], count))
  pedal = np.sort(rng.uniform(0, onset[-1], 30))
  return Score.from_arrays(
    onset_s=onset,
    duration_s=rng.choice([0.004, 0.1, 0.333, 2.5, 14.0], count),
    key=60 + key_step * rng.integers(-8, 9, count),
    velocity=rng.integers(1, 128, count),
    pedal=[(time, i % 2 == 0) for i, time in enumerate(pedal)],
  )


@pytest.fixture(scope="module")
def corpus():
  # A silent window in the second: REMI writes no bar before the next note.
  gap = Score.from_arrays(
    onset_s=[0.0, 7.3, 7.5],
    duration_s=[5.0, 0.1, 9.0],
    key=[60, 62, 60],
    velocity=[50, 60, 70],
  )
  return pack_scores([("a", played(0)), ("gap", gap), ("b", played(1, 60))])


def whole(tokens, corpus, piece):
  """All frames of a piece."""
  crops = importlib.import_module("tools.baselines.gpt2_baseline.crops")
  windows = importlib.import_module("magenta_midi.data.examples.examples")
  one = protocol_windows(corpus, 1000)
  one = one[one["piece"] == piece][:1]
  steps = int(corpus.lengths_ms[piece]) // 10 + 2
  sides = windows.cut_sides(tokens.codec, [corpus], one, steps)
  step, codes, now = crops.stack_frames(sides, one, 0)
  assert now == 0
  return step, codes


@needs_miditok
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_give_back_the_notes_on_the_codecs_grid(tool, corpus, kind):
  tokens = tool("music_tokens").MusicTokens(kind)
  for piece in range(len(corpus)):
    step, codes = whole(tokens, corpus, piece)
    stream = tokens.encode(step, codes)
    (track,) = tokens.decode(stream.ids).tracks
    found = track.notes.numpy()
    order = np.lexsort((found["pitch"], found["time"]))
    is_note = codes[:, 1] < 128
    onset, key = step[is_note], codes[is_note, 1]
    assert found["time"][order].tolist() == onset.tolist()
    assert found["pitch"][order].tolist() == key.tolist()
    # MidiTok's middle of each of 32 bins lies 1 above the codec's.
    assert (found["velocity"][order] // 4 == codes[is_note, 2]).all()
    lasts = found["duration"][order]
    wanted = tokens.duration_steps[codes[is_note, 3]]
    if kind == "midilike":
      # A note ends where its key begins again.
      for index in range(len(key)):
        again = np.flatnonzero((key == key[index]) & (onset > onset[index]))
        if len(again):
          gap = onset[again[0]] - onset[index]
          wanted[index] = min(wanted[index], gap)
    assert lasts.tolist() == wanted.tolist()
  assert (tokens.losses.clipped > 0) == (kind == "midilike")


@needs_miditok
@pytest.mark.parametrize("kind", KINDS)
def test_pedal_changes_keep_their_steps(tool, corpus, kind):
  tokens = tool("music_tokens").MusicTokens(kind)
  step, codes = whole(tokens, corpus, 0)
  stream = tokens.encode(step, codes)
  names = tokens.name_of[stream.ids]
  pedal = step[codes[:, 1] >= 128]
  assert tokens.losses.undone == 0
  assert stream.step[names == 4].tolist() == pedal.tolist()


@needs_miditok
def test_a_pedal_change_undone_at_once_is_left_out_and_counted(tool):
  tokens = tool("music_tokens").MusicTokens("remi")
  codes = np.array(
    [[0, 128, -1, -1], [0, 60, 9, 9]]
    + [[0, code, -1, -1] for code in (129, 128, 129)]
  )
  stream = tokens.encode(np.array([0, 0, 50, 50, 90]), codes)
  names = tokens.name_of[stream.ids]
  assert stream.step[names == 4].tolist() == [0, 90]
  assert tokens.losses.shares()["undone_pedals"] == pytest.approx(0.5)


@needs_miditok
def test_the_release_of_a_pedal_held_to_the_last_is_no_token(tool):
  tokens = tool("music_tokens").MusicTokens("tsd")
  codes = np.array([[0, 128, -1, -1], [0, 60, 9, 9]])
  stream = tokens.encode(np.array([0, 5]), codes)
  assert tokens.name_of[stream.ids].tolist() == [4, 0, 1, 2, 3]


@needs_miditok
@pytest.mark.parametrize("kind", KINDS)
def test_all_durations_of_the_codec_have_a_token(tool, kind):
  music = tool("music_tokens")
  for bins in (63, 990):
    tokens = music.MusicTokens(kind, bins)
    count = len(tokens.duration_steps)
    assert len(np.unique(tokens.duration_steps)) == count
    codes = np.zeros((count, 4), np.int64)
    codes[:, 1], codes[:, 3] = np.arange(count) % 128, np.arange(count)
    step = np.arange(count) * 2000
    (track,) = tokens.decode(tokens.encode(step, codes).ids).tracks
    assert track.notes.numpy()["duration"].tolist() == (
      tokens.duration_steps.tolist()
    )


@needs_miditok
def test_tokens_of_an_unknown_kind_are_refused(tool):
  with pytest.raises(ValueError, match=r"tokens must be one of .* got 'abc'"):
    tool("music_tokens").MusicTokens("abc")


@needs_miditok
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", ["window", "full"])
@pytest.mark.parametrize("length", [1024, 64])
def test_every_event_is_scored_once(tool, corpus, kind, context, length):
  tokens = tool("music_tokens").MusicTokens(kind)
  scoring = tool("scoring")
  windows = protocol_windows(corpus, 1000)
  parts = list(scoring.scored_parts(tokens, corpus, windows, context, length))
  assert max(len(part.ids) for part in parts) <= length
  for piece in range(len(corpus)):
    found = np.concatenate(
      [part.ids[part.scored] for part in parts if part.piece == piece]
    )
    wanted = tokens.encode(*whole(tokens, corpus, piece)).ids
    # In the same order, so the windows partition the piece. Time tokens are
    # the same but where 10 s before a window hold no event.
    events = [ids[tokens.name_of[ids] > 0] for ids in (found, wanted)]
    assert events[0].tolist() == events[1].tolist()
    if context == "full":
      assert found.tolist() == wanted.tolist()


@needs_miditok
@pytest.mark.parametrize("kind", KINDS)
def test_contexts_are_the_ten_seconds_before(tool, corpus, kind):
  tokens = tool("music_tokens").MusicTokens(kind)
  scoring = tool("scoring")
  windows = protocol_windows(corpus, 1000)
  piece = corpus.piece(0)
  chosen = windows[windows["piece"] == 0][6:12]
  parts = scoring.scored_parts(tokens, corpus, chosen, "window", 1024)
  for window, part in zip(chosen, parts, strict=True):
    names = tokens.name_of[part.ids]
    now = int(window["now_ms"])
    is_note = piece["key"] < 128
    # On the grid, which rounds half up.
    time = piece["time_ms"] + 5
    end = time + piece["duration_ms"]
    before = is_note & (time < now) & (time >= now - 10_000)
    sounding = is_note & (time < now - 10_000) & (end >= now - 9_990)
    notes = np.unique(
      np.stack([time // 10, piece["key"]], 1)[before | sounding], axis=0
    )
    context = np.count_nonzero((names == 1) & ~part.scored)
    if kind == "midilike":
      # A note that sounds at the start may be cut by its next at once.
      assert len(notes) - 2 <= context <= len(notes)
    else:
      assert context == len(notes)


@needs_miditok
def test_a_subset_of_windows_is_that_of_our_own_protocol(tool, corpus):
  tokens = tool("music_tokens").MusicTokens("remi")
  network = tool("network")
  shape = network.Gpt2Config(
    vocab_size=tokens.size, width=8, head_dim=4, layers=1, context=128
  )
  model = network.Gpt2(shape, nnx.Rngs(0))
  score = tool("scoring").score
  some, full = (
    score(model, tokens, corpus, windows=9, context=context)
    for context in ("window", "full")
  )
  windows = protocol_windows(corpus, 1000)
  windows = windows[np.linspace(0, len(windows) - 1, 9).astype(int)]
  counts = np.bincount(windows["piece"])
  assert some.seconds.tolist() == (2.0 * counts).tolist()
  notes = [0] * len(corpus)
  for window in windows:
    piece = corpus.piece(int(window["piece"]))
    # On the grid; of one step and key there is one note.
    step = (piece["time_ms"] + 5) // 10 - window["now_ms"] // 10
    here = (piece["key"] < 128) & (step >= 0) & (step < 200)
    pairs = np.stack([step, piece["key"]], 1)[here]
    notes[window["piece"]] += len(np.unique(pairs, axis=0))
  assert some.notes.tolist() == full.notes.tolist() == notes
  assert (some.nats[:, -1] == 0).all()


@pytest.fixture
def tiny(tool, monkeypatch):
  network = tool("network")
  # Three blocks of queries.
  monkeypatch.setattr(network, "_BLOCK", 8)
  shape = network.Gpt2Config(
    vocab_size=11, width=16, head_dim=8, layers=2, context=24
  )
  return network.Gpt2(shape, nnx.Rngs(0))


def test_no_position_sees_what_follows_or_another_segment(tiny):
  ids = jnp.asarray(np.random.default_rng(0).integers(0, 11, (1, 24)))
  places = jnp.arange(24)[None]
  segment = jnp.where(places < 18, 1, 2)
  graph, params = nnx.split(tiny)

  # By gradient, through the positions' embeddings: one row a position.
  @jax.jit
  @jax.grad
  def slope(params, place):
    model = nnx.merge(graph, params)
    return jnp.sum(model(ids, places, segment)[0, place])

  def sees(place):
    found = np.asarray(slope(params, place)["wpe"][...])
    return np.flatnonzero(np.abs(found).sum(axis=1)).tolist()

  assert sees(3) == list(range(4))
  assert sees(16) == list(range(17))
  assert sees(20) == [18, 19, 20]
  # A packed segment is as if it stood alone.
  position = jnp.where(places < 18, places, places - 18)
  forward = jax.jit(lambda params, *rows: nnx.merge(graph, params)(*rows))
  packed = forward(params, ids, position, segment)[:, 18:]
  alone = forward(
    params, ids[:, 18:], places[:, :6], jnp.ones_like(ids)[:, 18:]
  )
  np.testing.assert_allclose(packed, alone, rtol=1e-4, atol=1e-5)


def test_parameters_are_counted_as_they_are(tool, tiny):
  network = tool("network")
  leaves = jax.tree.leaves(nnx.state(tiny, nnx.Param))
  count = network.parameter_count(tiny.config)
  assert sum(leaf.size for leaf in leaves) == count
  # GPT-2 small, as published: 124,439,808.
  small = network.Gpt2Config(vocab_size=50257, width=768, layers=12)
  assert network.parameter_count(small) == 124_439_808


def test_layers_come_nearest_to_the_parameters(tool):
  network = tool("network")
  shape = network.Gpt2Config(vocab_size=430, width=256)
  layers = network.layers_for(9_121_996, shape)
  count = network.parameter_count(dataclasses.replace(shape, layers=layers))
  assert layers == 11
  assert count == pytest.approx(9_121_996, rel=0.02)


def test_a_width_that_heads_do_not_divide_is_refused(tool):
  with pytest.raises(ValueError, match="multiple of 64, got 100"):
    tool("network").Gpt2Config(vocab_size=5, width=100)


def settings(tool, tokens, **run):
  network = tool("network").Gpt2Config(
    vocab_size=tokens.size, width=16, head_dim=8, layers=1, context=64
  )
  return tool("training").BaselineConfig(
    tokens=tokens.kind,
    network=network,
    rows=4,
    run=TrainConfig(
      **(dict(steps=40, warmup_steps=5, held_out_windows=8) | run)
    ),
  )


@needs_miditok
def test_crops_fill_rows_and_repeat(tool, corpus):
  tokens = tool("music_tokens").MusicTokens("tsd")
  crops = tool("crops")
  augmentation = TrainConfig(steps=1).augmentation
  source = crops.CropSource(tokens, [corpus], [1.0], augmentation, 3, 256, 0)
  rows = source.batch(7)
  again = source.batch(7)
  other = source.batch(8)
  assert all((a == b).all() for a, b in zip(rows, again, strict=True))
  assert not (rows.targets == other.targets).all()
  used = rows.segment > 0
  assert used.mean() > 0.85
  # An id is what came before, BEGIN where a crop begins.
  assert (rows.ids[rows.position == 0] == 0).all()
  inside = used & (rows.position > 0)
  before = np.roll(rows.targets, 1, axis=1)
  assert (rows.ids[inside] == before[inside]).all()
  assert (rows.targets[used] > 0).all()
  assert source.notes(rows) == np.count_nonzero(
    tokens.name_of[rows.targets[used]] == 1
  )


@needs_miditok
def test_a_run_learns_and_its_file_scores_the_same(tool, tmp_path):
  score = Score.from_arrays(
    onset_s=np.arange(200) * 0.25,
    duration_s=np.full(200, 0.2),
    key=60 + np.array([0, 4, 7, 4])[np.arange(200) % 4],
    velocity=np.full(200, 66),
  )
  corpus = pack_scores([("a", score)])
  tokens = tool("music_tokens").MusicTokens("remi")
  training, scoring = tool("training"), tool("scoring")
  config = settings(
    tool,
    tokens,
    optimizer="adamw",
    learning_rate=0.02,
    augmentation=NO_AUGMENTATION,
  )
  found = training.train_baseline(
    config, tokens, [corpus], [1.0], corpus, tmp_path / "run"
  )
  rows = [
    json.loads(line)
    for line in (tmp_path / "run/log.jsonl").read_text().splitlines()
  ]
  nats = [row["nats"] for row in rows if "nats" in row]
  assert nats[-1] < 0.7 * nats[0]
  assert sum(rows[0]["levels"]) == pytest.approx(rows[0]["nats"])
  model, stored, facts = training.load_run(tmp_path / "run")
  assert (facts["step"], stored.kind) == (40, "remi")
  again = scoring.score(model, stored, corpus, windows=8)
  np.testing.assert_allclose(again.nats, found.nats, rtol=1e-4, atol=1e-4)


@needs_miditok
def test_an_interrupted_run_ends_where_an_unbroken_one_does(
  tool, corpus, tmp_path
):
  tokens = tool("music_tokens").MusicTokens("midilike")
  training = tool("training")
  config = settings(tool, tokens, steps=6)

  def train(out, stop_after=None):
    asked = []

    def should_stop():
      asked.append(None)
      return stop_after is not None and len(asked) > stop_after

    training.train_baseline(
      config, tokens, [corpus], [1.0], None, out, should_stop=should_stop
    )
    return training.load_run(out)

  train(tmp_path / "broken", stop_after=2)
  broken, _, facts = train(tmp_path / "broken")
  assert facts["step"] == 6
  unbroken, _, _ = train(tmp_path / "unbroken")
  one, other = (
    jax.tree.leaves(nnx.state(model, nnx.Param)) for model in (broken, unbroken)
  )
  assert all((a == b).all() for a, b in zip(one, other, strict=True))


@needs_miditok
def test_a_run_is_continued_with_its_settings_only(tool, corpus, tmp_path):
  tokens = tool("music_tokens").MusicTokens("tsd")
  training = tool("training")
  for steps, match in ((1, None), (2, r"other settings \(run\)")):
    config = settings(tool, tokens, steps=steps)
    arguments = (config, tokens, [corpus], [1.0], None, tmp_path)
    if match is None:
      training.train_baseline(*arguments)
      continue
    with pytest.raises(ValueError, match=match):
      training.train_baseline(*arguments)
  metadata = list((tmp_path / "state/1").rglob("*METADATA"))
  assert metadata
  for path in metadata:
    path.write_bytes(b"short")
  with pytest.raises(ValueError, match="cannot be read"):
    training.load_run(tmp_path)
  with pytest.raises(ValueError, match="holds no run"):
    training.load_run(tmp_path / "none")


def evaluation(nats, notes, seconds):
  parts = np.zeros((len(nats), 6))
  parts[:, 1] = nats
  return Evaluation(parts, np.array(notes), np.array(seconds))


def test_models_are_compared_piece_by_piece(tool):
  compare = tool("comparison").compare
  ours = evaluation([100.0, 300.0], [10, 20], [10.0, 30.0])
  more = evaluation([120.0, 360.0], [10, 20], [10.0, 30.0])
  figures = compare(dict(ours=ours, other=more), "ours")
  assert figures["ours"]["nats_per_second"]["value"] == pytest.approx(10.0)
  assert figures["ours"]["nats_per_note"]["value"] == pytest.approx(400 / 30)
  apart = figures["other"]["difference"]["nats_per_second"]
  # Each piece costs a fifth more: 2 a second, whichever pieces are drawn.
  assert apart["value"] == pytest.approx(2.0)
  assert apart["ci95"] == pytest.approx([2.0, 2.0])
  shorter = evaluation([1.0, 2.0], [10, 20], [10.0, 28.0])
  with pytest.raises(ValueError, match=r"40.0 s and other 38.0 s"):
    compare(dict(ours=ours, other=shorter), "ours")


@needs_miditok
def test_finer_durations_are_another_grid(tool):
  tokens = tool("music_tokens").MusicTokens("midilike", 990)
  assert tokens.codec == NoteCodec(config=NoteCodecConfig(duration_bins=990))
