import dataclasses

import numpy as np
import pytest

from magenta_midi.midi import Score
from magenta_midi.midi.analysis.analysis import analyze
from magenta_midi.style import MASK_TOKEN, DescriptorStyle, StyleModel
from magenta_midi.style.descriptors import DESCRIPTORS
from magenta_midi.style.text.lexicon import LEXICON
from magenta_midi.style.text.words import MAX_TEXT

SLOW = "slow sparse ballad"
BUSY = "busy loud stride piano"


def cosine(model, a, b):
  return float(model.embed(a) @ model.embed(b))


def changed(score, **by):
  """The same notes, some fields changed by functions."""
  columns = {name: score.notes[name] for name in score.notes.dtype.names}
  columns |= {name: change(columns[name]) for name, change in by.items()}
  return Score.from_arrays(**columns, pedal=score.pedals)


def test_is_a_style_model(model):
  assert isinstance(model, StyleModel)
  assert (model.levels, model.table_rows) == (6, 1537)


def test_unit_vectors(model, slow, busy, tmp_path):
  slow.to_file(tmp_path / "slow.mid")
  for prompt in (
    SLOW,
    slow,
    tmp_path / "slow.mid",
    [(SLOW, 2.0), (busy, 1.0)],
    *LEXICON,
  ):
    embedding = model.embed(prompt)
    assert embedding.shape == (768,) and embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-6)


def test_the_same_in_another_model(model, slow):
  other = DescriptorStyle()
  assert (other.embed(slow) == model.embed(slow)).all()


def test_tokens_never_change_silently(model):
  # Golden values, printed by the left side: models were trained on them.
  tokens = model.tokenize(model.embed(SLOW)).tolist()
  assert tokens == [18, 344, 632, 922, 1144, 1400]


def test_text_finds_its_music(model, slow, busy):
  assert cosine(model, slow, SLOW) > cosine(model, slow, BUSY) + 0.5
  assert cosine(model, busy, BUSY) > cosine(model, busy, SLOW) + 0.5
  assert cosine(model, SLOW, slow) > cosine(model, SLOW, busy) + 0.5
  assert cosine(model, BUSY, busy) > cosine(model, BUSY, slow) + 0.5
  assert cosine(model, SLOW, BUSY) < 0


@pytest.mark.parametrize(
  ("less", "more", "changes"),
  [
    ("soft", "loud", dict(velocity=lambda v: v + 60)),
    ("low", "high", dict(key=lambda k: k + 24)),
    ("slow", "fast", dict(onset_s=lambda t: t / 4)),
    ("sparse", "dense", dict(onset_s=lambda t: t / 4)),
    ("staccato", "legato", dict(duration_s=lambda d: d * 4)),
  ],
)
def test_each_contrast(model, slow, less, more, changes):
  before = changed(slow, duration_s=lambda d: d / 4)
  after = changed(before, **changes)
  text = model.embed(more) - model.embed(less)
  assert model.embed(after) @ text > model.embed(before) @ text + 0.1


def test_negation_and_synonyms(model):
  assert cosine(model, "not loud", "soft") == pytest.approx(1, abs=1e-6)
  assert cosine(model, "quietly", "soft") == pytest.approx(1, abs=1e-6)
  assert cosine(model, "very slow, minor", "slow") > cosine(
    model, "slow, minor", "slow"
  )


def test_a_blend_lies_between(model, slow, busy):
  from_slow = [
    float(model.embed([(slow, 1 - w), (BUSY, w)]) @ model.embed(BUSY))
    for w in np.linspace(0, 1, 11)
  ]
  assert (np.diff(from_slow) > 0).all()


def test_blend_does_not_depend_on_the_scale_of_weights(model, slow):
  a = model.embed([(BUSY, 2.0), (slow, 1.0)])
  b = model.embed([(BUSY, 0.5), (slow, 0.25)])
  np.testing.assert_allclose(a, b, atol=1e-6)
  np.testing.assert_allclose(
    model.embed([(slow, 7.0)]), model.embed(slow), atol=1e-6
  )


def test_ranges(slow):
  analysis = analyze(slow)
  for descriptor in DESCRIPTORS:
    for name, value in (("low", -1), ("typical", 0), ("high", 1)):
      there = {descriptor.measure: getattr(descriptor, name)}
      at = dataclasses.replace(analysis, **there)
      assert descriptor.normalize(at) == pytest.approx(value)


def test_describe(model, busy):
  values = model.describe(busy)
  assert list(values) == [descriptor.name for descriptor in DESCRIPTORS]
  assert values["loudness"] > 0 > values["pedal"]
  only = model.describe("loud")
  assert only.pop("loudness") == pytest.approx(1)
  assert max(map(abs, only.values())) < 1e-6


def test_tokens(model, slow, busy):
  for prompt in (slow, busy, [(slow, 1), (busy, 1)], *LEXICON):
    embedding = model.embed(prompt)
    tokens = model.tokenize(embedding)
    assert tokens.dtype == np.int32 and tokens.shape == (6,)
    assert ((tokens - 1) // 256 == np.arange(6)).all()
    assert MASK_TOKEN not in tokens
    assert model.reconstruct(tokens) @ embedding > 0.98
  assert (
    model.tokenize(model.embed(slow)) != model.tokenize(model.embed(busy))
  ).any()


def test_every_direction_has_tokens(model):
  random = np.random.default_rng(0)
  for values in random.standard_normal((200, 12)):
    embedding = model._unit(values)
    tokens = model.tokenize(embedding)
    assert ((tokens - 1) // 256 == np.arange(6)).all()
    assert model.reconstruct(tokens) @ embedding > 0.98


@pytest.mark.parametrize(
  ("prompt", "message"),
  [
    ("piano music", "'piano music'. Words such as slow, .*MIDI file"),
    ("", "known word, got ''"),
    ("  \n ", "known word, got ''"),
    ("ねこ", "known word"),
    ("word " * 100, r"known word, got '.*\.\.\.'"),
    ("slow " * MAX_TEXT, "at most 2000 characters, got 10000"),
    ("loud, soft", "cancel out"),
    (Score.empty(), "2 onsets or more, got 0 notes"),
  ],
)
def test_refused(model, prompt, message):
  with pytest.raises(ValueError, match=message) as error:
    model.embed(prompt)
  assert "\n" not in str(error.value)


def test_refused_embedding(model):
  with pytest.raises(ValueError, match="768 finite numbers"):
    model.tokenize(np.full(768, np.nan, np.float32))
