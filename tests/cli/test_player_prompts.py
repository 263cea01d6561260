"""A player's name as a prompt, from finetune to the music."""

import shutil

import numpy as np
import pytest

from magenta_midi.api import DEFAULT_GUIDANCE, MagentaMidi
from magenta_midi.cli.phrases import PHRASES, phrase_path
from magenta_midi.finetune import player_style
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.recording.serialization import parse_controls
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.model.lora.adapter_file import read_adapter
from magenta_midi.style.players import PLAYER_GUIDANCE
from magenta_midi.testing import STYLE_ENTRY, tiny_styled_generator
from tests.support.command_line import refused, run, run_json


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  home = tmp_path_factory.mktemp("home")
  model = tiny_styled_generator(parts=9).model
  save_checkpoint(
    home / "base", model, codec={"name": "note"}, style=STYLE_ENTRY
  )
  (home / "takes").mkdir()
  for name in PHRASES:
    shutil.copy(phrase_path(name), home / "takes")
  return home


@pytest.fixture(autouse=True)
def adapters(home, monkeypatch):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(home / "adapters"))
  return home / "adapters"


@pytest.fixture
def made(capsys, home, adapters, monkeypatch):
  """The adapter `me`, made once; whose prompt is a usual word."""
  path = adapters / "me.safetensors"
  if not path.exists():
    monkeypatch.setattr(player_style, "_WINDOWS", 6)
    monkeypatch.setattr(player_style, "_HELD_OUT_WINDOWS", 4)
    _, out, _ = run(
      capsys,
      *("finetune", home / "takes", "--name", "me", "--base", home / "base"),
      *("--steps", 1, "--continuations", 0, "--out", home / "run"),
    )
    assert 'style vector: --prompt "@me" (descriptors; held-out windows' in out
  return read_adapter(path)


def generated(capsys, home, tmp_path, *options):
  out = tmp_path / "out.mid"
  code, _, err = run(
    capsys,
    *("generate", "--seconds", 4, "--out", out, "--seed", 1),
    *("--checkpoint", home / "base", "--guidance", 0, *options),
  )
  assert code == 0, err
  return out.read_bytes(), err


def test_a_name_plays_without_the_adapter(capsys, home, made, tmp_path):
  said = "me: the style of the adapter me"
  marked, err = generated(capsys, home, tmp_path, "--prompt", "@me")
  assert said in err.splitlines()
  bare, err = generated(capsys, home, tmp_path, "--prompt", "Me")
  assert f'{said}. To mean the word, put it in double quotes: "me".' in err
  assert bare == marked
  plain, err = generated(capsys, home, tmp_path)
  assert said not in err
  assert plain != marked
  mm = MagentaMidi.load(home / "base")
  lines = []
  style = mm.embed_style("@me", on_remark=lines.append)
  np.testing.assert_array_equal(style, made.style.vector)
  assert lines == [said]


@pytest.mark.parametrize(
  ("prompts", "guidance"),
  [
    (("@me",), PLAYER_GUIDANCE),
    (("@me", "me"), PLAYER_GUIDANCE),
    (("@me slow",), DEFAULT_GUIDANCE),
    (("@me", "slow"), DEFAULT_GUIDANCE),
  ],
)
@pytest.mark.usefixtures("made")
def test_a_player_alone_is_not_exaggerated(
  capsys, home, tmp_path, prompts, guidance
):
  facts = run_json(
    capsys,
    *("generate", "--seconds", 2, "--out", tmp_path / "out.mid"),
    *("--checkpoint", home / "base"),
    *(argument for prompt in prompts for argument in ("--prompt", prompt)),
  )
  assert facts["guidance"] == guidance


def test_text_and_a_name_are_weighed_as_files_are(capsys, home, made):
  facts = run_json(
    capsys,
    *("style", "@me", "loud", "@me loud", "--checkpoint", home / "base"),
  )
  me, loud, both = np.array(facts["cosine"])
  # Halfway between the two.
  assert both[0] == pytest.approx(both[1], abs=1e-5)
  assert me[2] == pytest.approx(np.sqrt((1 + me[1]) / 2), abs=1e-5)
  assert loud[2] == pytest.approx(me[2], abs=1e-5)


def test_adapters_show_says_what_the_style_is_worth(capsys, made):
  facts = run_json(capsys, "adapters", "show", "me")
  assert facts["style"]["model"] == "descriptors"
  assert facts["style"]["figures"] == made.style.figures
  assert {"nats_per_note", "nats_per_note_without"} < set(made.style.figures)


def test_names_that_are_not_there_are_one_line(capsys, home, made, tmp_path):
  out = tmp_path / "out.mid"
  for command in (
    ("style", "@you"),
    ("generate", "--seconds", 2, "--out", out, "--prompt", "@you slow"),
  ):
    line = refused(capsys, *command, "--checkpoint", home / "base")
    assert "@you: no such adapter; installed: me" in line
  assert not out.exists()


def test_a_duet_begins_with_as_much_guidance(made):
  usual = Controls().guidance
  assert parse_controls([], ["@me:2"]).guidance == PLAYER_GUIDANCE != usual
  assert parse_controls([], ["@me", "slow"]).guidance == usual
  assert parse_controls(["guidance=2"], ["@me"]).guidance == 2.0
