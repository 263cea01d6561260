"""Style and controls through the Python interface."""

import json
import math

import numpy as np
import pytest

from magenta_midi.api import CONTROL_GUIDANCE, DEFAULT_GUIDANCE, MagentaMidi
from magenta_midi.generate.sampling import Sampling
from magenta_midi.live.duet import Duet
from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import CheckpointError, save_checkpoint
from magenta_midi.style import StyleMotion
from magenta_midi.style.controls import ControlTargets
from magenta_midi.style.players import PLAYER_GUIDANCE
from magenta_midi.testing import (
  STYLE_ENTRY,
  tiny_generator,
  tiny_styled_generator,
)

PHRASE = Score.from_arrays(
  onset_s=np.arange(20) * 0.4,
  duration_s=np.full(20, 0.6),
  key=60 + np.arange(20) % 12,
  velocity=np.full(20, 70),
)
ASKED = ControlTargets(density=4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("styled")
  model = tiny_styled_generator().model
  save_checkpoint(folder, model, codec={"name": "note"}, style=STYLE_ENTRY)
  return folder


@pytest.fixture(scope="module")
def styled(folder):
  return MagentaMidi.load(folder)


@pytest.fixture(scope="module")
def plain():
  config = {"model": {"style_slots": 2}}
  return MagentaMidi(tiny_generator(), config, "tiny")


def test_a_text_that_says_nothing_is_no_style(styled):
  """The notes are those without a prompt, from the same seed."""
  lines = []
  nothing = styled.embed_style("쿠쿠루 삥뽕", on_remark=lines.append)
  assert nothing is None and len(lines) == 1
  assert styled.guidance_for(nothing) == 0.0
  plain, _ = styled.generate(4.0, seed=3)
  same, _ = styled.generate(4.0, style=nothing, seed=3)
  np.testing.assert_array_equal(same.notes, plain.notes)
  slow = styled.embed_style("slow")
  for prompt in (
    [("느리게", 1.0), ("쿠쿠루 삥뽕", 5.0)],
    [("slow", 1.0), (nothing, 5.0)],
  ):
    np.testing.assert_array_equal(styled.embed_style(prompt), slow)
  assert styled.embed_style([(nothing, 1.0)]) is None
  assert styled.embed_style([("slow", 0.0), ("쿠쿠루", 1.0)]) is None
  with pytest.raises(ValueError, match="positive sum"):
    styled.embed_style([("slow", 0.0)])


def logits(mm, **asked):
  """Log probability of the first code, with style and controls."""
  rows = mm.style_rows(**asked)
  state = mm.init_state(PHRASE)
  request = mm.generator.request(state, style=rows, limit=1, forced=1)
  return float(np.asarray(mm.generator.decode(request).log_p)[0, 0])


def test_style_and_controls_have_an_effect_alone_and_together(styled):
  style = styled.embed_style("slow sparse ballad")
  assert styled.uses_style and styled.uses_controls
  assert styled.style_model.name == STYLE_ENTRY["model"]
  assert not styled.style_rows().any()
  both = styled.style_rows(style, ASKED)
  np.testing.assert_array_equal(both[:6], styled.style_model.tokenize(style))
  found = [
    logits(styled),
    logits(styled, style=style),
    logits(styled, controls=ASKED),
    logits(styled, style=style, controls=ASKED),
  ]
  assert len(set(found)) == 4


def test_the_old_names_of_properties_warn(styled):
  with pytest.warns(DeprecationWarning, match="is now uses_style"):
    assert styled.hears_style
  with pytest.warns(DeprecationWarning, match="is now uses_controls"):
    assert styled.hears_controls


def test_guidance_is_given_if_style_or_controls_are_used(styled, plain):
  style = styled.embed_style("slow")
  assert styled.guidance_for() == 0.0
  assert styled.guidance_for(None, ControlTargets()) == 0.0
  assert styled.guidance_for(style) == DEFAULT_GUIDANCE
  assert styled.guidance_for(style, ASKED) == DEFAULT_GUIDANCE
  assert styled.guidance_for(style, players_alone=True) == PLAYER_GUIDANCE
  assert styled.guidance_for(None, ASKED) == CONTROL_GUIDANCE
  assert plain.guidance_for(style, ASKED, players_alone=True) == 0.0


def test_a_checkpoint_without_style_ignores_style_and_controls(plain):
  style = np.eye(1, 768, dtype=np.float32)[0]
  assert not (plain.uses_style or plain.uses_controls)
  music, _ = plain.generate(4.0, context=PHRASE, seed=3)
  again, _ = plain.generate(
    4.0, context=PHRASE, seed=3, style=style, controls=ASKED
  )
  assert music.notes.tolist() == again.notes.tolist()


def test_a_style_may_move_and_compiles_nothing(styled):
  slow, fast = map(styled.embed_style, ("slow", "fast loud"))
  motion = StyleMotion(start=slow, end=fast, start_s=0.0, seconds=4.0)
  styled.generator.warm_up(guided=True)
  styles = []
  request = styled.generator.request

  def noting(state, **settings):
    styles.append(settings["style"].tolist())
    return request(state, **settings)

  styled.generator.request = noting
  try:
    with CompilationCounter() as counter:
      styled.generate(8.0, style=motion, controls=ASKED, seed=1)
      styled.generate(2.0, style=fast, seed=1)
      styled.generate(2.0, controls=ASKED, seed=1)
  finally:
    styled.generator.request = request
  assert counter.count == 0
  chunks = list(dict.fromkeys(map(tuple, styles)))
  expected = [styled.style_rows(motion.at(t), ASKED) for t in (0.0, 2.0, 4.0)]
  assert chunks[:3] == [tuple(rows.tolist()) for rows in expected]


def test_a_register_limits_keys_with_any_checkpoint(styled, plain):
  within = ControlTargets(register=(48.0, 60.0))
  for mm in (styled, plain):
    state = mm.init_state(PHRASE)
    for seed in range(3):
      chunk, state = mm.generate_chunk(state, seed=seed, controls=within)
      key = chunk.score.notes["key"]
      assert ((key >= 48) & (key <= 60)).all()


def test_invalid_embeddings_are_refused(styled):
  with pytest.raises(ValueError, match=r"shape \(768,\), got \(6,\)"):
    styled.generate(2.0, style=np.zeros(6, np.float32))
  with pytest.raises(
    ValueError, match="pedal must be a number from 0 to 1, got 2"
  ):
    styled.generate(2.0, controls=ControlTargets(pedal=2.0))


def test_a_checkpoint_whose_style_does_not_fit_is_refused(folder, tmp_path):
  for path in folder.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  config = json.loads((folder / "config.json").read_text())
  config["style"]["levels"] = 5
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(CheckpointError, match=r"need 9 style slots"):
    MagentaMidi.load(tmp_path)


def test_music_without_context_begins_at_once():
  mm = MagentaMidi.load()
  for seed in range(4):
    music, _ = mm.generate(2.0, seed=seed)
    assert len(music) and music.notes["onset_s"][0] <= 0.5, seed
  # The likeliest start is silence; it is not taken.
  greedy = Sampling(temperature=0.0)
  music, _ = mm.generate(8.0, sampling=greedy)
  assert music.notes["onset_s"][0] <= 0.5
  assert music.notes["onset_s"][-1] > 6.0


@pytest.mark.parametrize(
  "wrong",
  [
    *(dict(seconds=x) for x in (0.0, -1.0, math.nan, math.inf, 1e300)),
    *(dict(seconds=1.0, guidance=x) for x in (-1.0, math.nan, 1e30)),
    *(dict(seconds=1.0, seed=x) for x in (-1, 2**32, 10**100)),
  ],
  ids=str,
)
def test_numbers_out_of_range_are_refused(plain, wrong):
  name = list(wrong)[-1]
  with pytest.raises(ValueError, match=f"^{name} must be a .*, got .*"):
    plain.generate(**wrong)


def test_playing_with_a_finetuned_adapter_compiles_nothing(
  folder, tmp_path, monkeypatch
):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path / "adapters"))
  take = tmp_path / "take.mid"
  rows = PHRASE.notes
  late = [rows["onset_s"] + 8.0 * place for place in range(5)]
  Score.from_arrays(
    onset_s=np.concatenate(late),
    duration_s=np.tile(rows["duration_s"], 5),
    key=np.tile(rows["key"], 5),
    velocity=np.tile(rows["velocity"], 5),
  ).to_file(take)
  mm = MagentaMidi.load(folder)
  plain, _ = mm.generate(4.0, seed=2)
  seen = []
  with pytest.raises(ValueError, match="unknown settings stepz"):
    mm.finetune(take, name="me", stepz=1)
  found = mm.finetune(
    take,
    name="me",
    out=tmp_path / "run",
    on_progress=seen.append,
    steps=2,
    learning_rate=0.05,
    rank=2,
    targets=("depth.mlp",),
    continuations_s=0.0,
  )
  assert seen[-1].step == 2
  assert found.after.nats_per_note < found.before.nats_per_note
  assert mm.adapters == ()
  with CompilationCounter() as counter:
    mm.use_adapters(["me:10"])
    adapted, _ = mm.generate(4.0, seed=2)
    mm.use_adapters([])
    again, _ = mm.generate(4.0, seed=2)
  assert counter.count == 0
  assert adapted.notes.tolist() != plain.notes.tolist()
  assert again.notes.tolist() == plain.notes.tolist()
  other = MagentaMidi.load(folder, adapters=[("me", 10.0)])
  assert other.name.endswith("+ me:10")
  same, _ = other.generate(4.0, seed=2)
  assert same.notes.tolist() == adapted.notes.tolist()
  with pytest.raises(ValueError, match="'me' is installed already"):
    mm.finetune(take, name="me", steps=2)
  # A duet can start with adapters and remove them.
  assert Duet(other).controls.adapters == ("me:10", "")
  assert other.network_with([]) is not other.generator.model
  with pytest.raises(ValueError, match="cannot change while playing"):
    Duet(other).change("adapters", ())
  with pytest.raises(ValueError, match="no adapter 'you' is installed"):
    Duet(other, switchable=["you"])
  # The name of before works for this release.
  with (
    pytest.warns(DeprecationWarning, match="switchable"),
    pytest.raises(ValueError, match="no adapter 'you' is installed"),
  ):
    Duet(other, at_hand=["you"])
