"""A duet's stream equals one pass over its frames, whatever led there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.generate.duet.event_draws import paced, timed_gumbel
from magenta_midi.generate.duet.functions import DuetFunctions
from magenta_midi.generate.duet.stream import DuetStream, PlanSettings
from magenta_midi.generate.sampling import Sampling, level_sampling
from magenta_midi.midi.outline import Outline
from magenta_midi.model.depthformer import Frames as Ids
from magenta_midi.model.depthformer import OutlineFrames
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.note.codec import PEDAL_DOWN
from magenta_midi.tokens.outline_rows import ROWS, outline_frames
from magenta_midi.tokens.vocabulary import UNUSED

CONTEXT = 16
STYLE = np.array([1, 2, 0, 0, 0, 0], np.int32)
EARLIEST, FREE = 0, 2**30


ROTARY = {"rotary_time": 3, "rotary_key": 3}
OUTLINED = ROTARY | {"outline_rows": ROWS}


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(parts=9, style_vocab_size=7)


@pytest.fixture(scope="module")
def functions(generator):
  return make(generator)


@pytest.fixture(
  scope="module",
  params=[{}, ROTARY, OUTLINED],
  ids=["index", "rotary", "outline"],
)
def pair(request):
  """A model and its functions, also with rotary positions and an outline."""
  made = tiny_generator(parts=9, style_vocab_size=7, **request.param)
  return made, make(made)


def make(generator, **options):
  return DuetFunctions(
    generator.model,
    generator.codec,
    context_sizes=(CONTEXT,),
    slots=48,
    max_events=8,
    **options,
  )


def a_context(codec, seed):
  rng = np.random.default_rng(seed)
  count = rng.integers(1, CONTEXT)
  ids = np.zeros((1, CONTEXT, 4), np.int32)
  time = np.zeros((1, CONTEXT), np.int32)
  part = np.zeros((1, CONTEXT), np.int32)
  codes = np.stack(
    [rng.integers(0, n, count) for n in (100, 128, 32, 64)], axis=1
  )
  ids[0, :count] = codec.vocabulary.to_ids(codes.astype(np.int32))
  time[0, :count] = np.sort(rng.integers(-1000, 0, count))
  part[0, :count] = rng.integers(0, 9, count)
  return Ids(ids, time, part)


def outline_of(config):
  """Beats and a chord, for a model that has an input for them."""
  if not config.outline_rows:
    return None
  outline = Outline.of(
    [(400 * i, i % 3, 3) for i in range(9)], [(0, 2, 9, (2,))]
  )
  frames = outline_frames(outline, 1500, 10)
  return OutlineFrames(*(array[None] for array in frames))


def begin(functions, context, origin=0):
  *_, state = functions.encode(context, STYLE, outline_of(functions.config))
  return DuetStream(functions, state, origin, functions.codec.init_rules())


def plan_settings(seed=0, temperature=1.0, **changes):
  sampling = level_sampling(Sampling(temperature=temperature), 4)
  return PlanSettings(sampling, np.ones(128, bool), seed=seed)._replace(
    **changes
  )


def partner_frames(rng, count, after):
  codes = np.full((count, 4), UNUSED, np.int32)
  codes[:, 1] = rng.integers(0, 128, count)
  codes[:, 2], codes[:, 3] = rng.integers(0, 32, count), 63
  if rng.random() < 0.2:
    codes[0] = [UNUSED, PEDAL_DOWN, UNUSED, UNUSED]
  step = after + np.sort(rng.integers(0, 20, count))
  return codes, step.astype(np.int32), np.full(count, rng.integers(1, 9))


def whole_pass(generator, context, frames, probe):
  """Log probabilities of `probe` as the next own frame, in one pass."""
  vocabulary = generator.codec.vocabulary
  count = len(frames.step) + 1
  ids = np.zeros((1, count, 4), np.int32)
  ids[0, 1:] = vocabulary.to_ids(frames.codes)
  time = np.append(0, frames.step)[None].astype(np.int32)
  part = np.append(0, frames.part)[None].astype(np.int32)
  targets = np.broadcast_to(vocabulary.to_ids(probe), (1, count, 4))
  logits = generator.model(
    Ids(*(jnp.asarray(x) for x in context)),
    Ids(jnp.asarray(ids), jnp.asarray(time), jnp.asarray(part)),
    jnp.asarray(targets),
    jnp.asarray(STYLE[None]),
    jax.tree.map(jnp.asarray, outline_of(generator.config)),
  )
  found = []
  for level, x in enumerate(logits):
    row = np.asarray(x[0, -1], np.float64)
    row = row - row.max()
    found.append(row[probe[level]] - np.log(np.exp(row).sum()))
  return np.array(found)


OPERATIONS = st.lists(
  st.tuples(
    st.sampled_from(["partner", "plan", "commit", "roll back", "own"]),
    st.integers(1, 7),
    st.integers(0, 2**31),
  ),
  max_size=8,
)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), OPERATIONS)
def test_any_order_of_calls_equals_one_pass(pair, seed, operations):
  generator, functions = pair
  context = a_context(generator.codec, seed)
  stream = begin(functions, context)
  latest = 0
  for name, count, op_seed in operations:
    rng = np.random.default_rng(op_seed)
    if name == "partner" and stream.room >= count:
      codes, step, part = partner_frames(rng, count, latest)
      stream.append(codes, step, part)
      latest = max(latest, int(step[-1]))
    elif name == "own" and stream.room:
      step = int(stream.rules.step) + int(rng.integers(0, 30))
      codes = np.array([[0, rng.integers(0, 128), 9, 9]], np.int32)
      stream.append(codes, np.array([step], np.int32), np.zeros(1, np.int32))
    elif name == "plan":
      stream.plan(
        plan_settings(op_seed % 1000), events=count, earliest_step=latest
      )
    elif name == "commit":
      stream.commit(min(count, len(stream.planned.frames.step)))
    elif name == "roll back":
      stream.roll_back(max(1, stream.length - count))
  probe = np.array([3, 60, 11, 20], np.int32)
  np.testing.assert_allclose(
    stream.next_log_p(probe),
    whole_pass(generator, context, stream.frames, probe),
    atol=2e-5,
  )


def test_re_basing_equals_starting_fresh(pair):
  """A refresh carries nothing over but what it is given."""
  generator, functions = pair
  rng = np.random.default_rng(1)
  old = begin(functions, a_context(generator.codec, 1))
  old.append(*partner_frames(rng, 5, 0))
  context = a_context(generator.codec, 2)
  since = partner_frames(rng, 3, 4)
  refreshed, fresh = begin(functions, context), begin(functions, context)
  refreshed.append(*since)
  for row in range(3):
    fresh.append(*(field[row : row + 1] for field in since))
  probe = np.array([3, 60, 11, 20], np.int32)
  np.testing.assert_allclose(
    refreshed.next_log_p(probe), fresh.next_log_p(probe), atol=2e-5
  )


def test_a_plan_is_the_same_however_it_is_cut(generator, functions):
  context = a_context(generator.codec, 4)
  whole, cut = begin(functions, context), begin(functions, context)
  once = whole.plan(plan_settings(7), events=6, earliest_step=0)
  for _ in range(6):
    cut.plan(plan_settings(7), events=1, earliest_step=0)
  for a, b in zip(once.frames, cut.planned.frames, strict=True):
    np.testing.assert_array_equal(a, b)
  committed = cut.commit(2)
  np.testing.assert_array_equal(committed.codes, once.frames.codes[:2])
  np.testing.assert_array_equal(cut.planned.frames.codes, once.frames.codes[2:])


def test_nothing_is_planned_before_what_is_committed(generator, functions):
  stream = begin(functions, a_context(generator.codec, 3))
  for earliest in (0, 17, 120, 399):
    stream.drop_plan()
    plan = stream.plan(plan_settings(1), events=8, earliest_step=earliest)
    assert np.all(plan.frames.step >= earliest)


def test_the_first_event_comes_in_time_and_is_no_end(generator, functions):
  for seed in range(20):
    stream = begin(functions, a_context(generator.codec, seed))
    plan = stream.plan(
      plan_settings(seed),
      events=1,
      earliest_step=10,
      latest_step=25,
      may_end=False,
    )
    assert 10 <= plan.frames.step[0] < 25


def test_gaps_are_bounded_and_a_note_comes_first(generator, functions):
  pedals = 0
  keys = np.zeros(128, bool)
  keys[60] = True  # so that the pedal is as likely
  for seed in range(30):
    stream = begin(functions, a_context(generator.codec, seed))
    wanted = plan_settings(seed, keys=keys)
    free = stream.plan(wanted, events=1, earliest_step=0)
    pedals += int(np.sum(free.frames.codes[:1, 1] >= PEDAL_DOWN))
    stream.drop_plan()
    plan = stream.plan(
      wanted,
      events=8,
      earliest_step=0,
      max_gap=60,
      note_first=True,
      may_end=False,
    )
    assert plan.frames.codes[0, 1] < PEDAL_DOWN
    assert np.all(np.diff(plan.frames.step, prepend=0) <= 60)
    assert len(plan.frames.step) == 8
  assert pedals  # else the first claim were empty


def test_the_pedal_stays_up_where_it_may_not_go_down(generator, functions):
  keys = np.zeros(128, bool)
  keys[60] = True  # so that the pedal is as likely
  downs = {True: 0, False: 0}
  for seed in range(30):
    stream = begin(functions, a_context(generator.codec, seed))
    for pedals in downs:
      wanted = plan_settings(seed, keys=keys, pedals=pedals)
      plan = stream.plan(wanted, events=8, earliest_step=0)
      downs[pedals] += int(np.sum(plan.frames.codes[:, 1] == PEDAL_DOWN))
      stream.drop_plan()
  assert downs[True] > 0 == downs[False]


def test_only_allowed_keys_are_struck(generator, functions):
  keys = np.zeros(128, bool)
  keys[[61, 70, 75]] = True
  struck = set()
  for seed in range(10):
    stream = begin(functions, a_context(generator.codec, seed))
    plan = stream.plan(
      plan_settings(seed, keys=keys), events=8, earliest_step=0
    )
    codes = plan.frames.codes
    # Several keys of one step ascend, so a chord may run out of allowed ones.
    struck |= set(codes[codes[:, 0] > 0, 1].tolist())
  assert struck & {61, 70, 75}
  assert struck <= {61, 70, 75, 128, 129}


def test_a_stream_that_is_full_says_so(generator, functions):
  stream = begin(functions, a_context(generator.codec, 0))
  rng = np.random.default_rng(0)
  stream.append(*partner_frames(rng, stream.room, 0))
  with pytest.raises(ValueError, match="Re-base it"):
    stream.append(*partner_frames(rng, 1, 50))
  with pytest.raises(ValueError, match=r"length must be in 1\.\."):
    stream.roll_back(0)
  with pytest.raises(ValueError, match="planned events"):
    stream.commit(1)


def test_guidance_weighs_the_style(generator):
  """With guidance 0 the guided functions draw what the plain ones do."""
  guided, plain = make(generator, guided=True), make(generator)
  context = a_context(generator.codec, 5)
  plans = []
  for functions, weight in ((plain, 0.0), (guided, 0.0), (guided, 40.0)):
    stream = begin(functions, context)
    plan = stream.plan(
      plan_settings(3, guidance=weight), events=8, earliest_step=0
    )
    plans.append(plan.frames.codes)
  np.testing.assert_array_equal(plans[0], plans[1])
  assert not np.array_equal(plans[1], plans[2])


def test_noise_is_gumbel_and_belongs_to_its_moment():
  moment, salt = jnp.arange(20_000), jnp.zeros(20_000, jnp.int32)
  noise = np.asarray(timed_gumbel(jnp.uint32(3), 0, moment, salt))
  assert abs(noise.mean() - 0.5772) < 0.03
  assert abs(noise.std() - np.pi / np.sqrt(6)) < 0.03
  again = np.asarray(timed_gumbel(jnp.uint32(3), 0, moment[500:], salt[500:]))
  np.testing.assert_array_equal(noise[500:], again)
  for other in (
    timed_gumbel(jnp.uint32(4), 0, moment, salt),
    timed_gumbel(jnp.uint32(3), 1, moment, salt),
    timed_gumbel(jnp.uint32(3), 0, moment, salt + 1),
    timed_gumbel(jnp.uint32(3), 0, moment + 1, salt),
  ):
    assert abs(np.corrcoef(noise, np.asarray(other))[0, 1]) < 0.03


@pytest.mark.parametrize("pace", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_pace_scales_each_hazard(pace):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=60).astype(np.float32) * 2
  logits[1:8] = -1e30
  p = np.exp(logits.astype(np.float64))
  p /= p.sum()
  new = np.asarray(paced(jnp.asarray(logits), jnp.float32(pace)), np.float64)
  new = np.exp(new)
  new /= new.sum()
  np.testing.assert_allclose(new[0], p[0], rtol=1e-3)
  assert np.all(new[1:8] == 0)
  for at in range(8, 59):
    hazard = p[at] / p[at:].sum()
    found = new[at] / new[at:].sum()
    np.testing.assert_allclose(found, 1 - (1 - hazard) ** pace, rtol=2e-3)
