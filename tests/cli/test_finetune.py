"""finetune and adapters as a user runs them, on a checkpoint that is drawn."""

import json
import shutil

import numpy as np
import pytest

from magenta_midi.cli.finetune_report import say_drift
from magenta_midi.cli.phrases import PHRASES, phrase_path
from magenta_midi.finetune.forgetting import Divergence
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import (
  flat_parameters,
  load_checkpoint,
  save_checkpoint,
)
from magenta_midi.model.lora.adapter_file import read_adapter
from magenta_midi.testing import tiny_generator
from tests.support.command_line import refused, run, run_json

CODEC = {"name": "note", "settings": {}}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """A base, takes, one that was cut off, and adapters `a` and `b` of them."""
  home = tmp_path_factory.mktemp("home")
  for seed, name in enumerate(("base", "other")):
    save_checkpoint(home / name, tiny_generator(seed=seed).model, codec=CODEC)
  takes = home / "takes"
  takes.mkdir()
  for name in PHRASES:
    shutil.copy(phrase_path(name), takes)
  whole = phrase_path().read_bytes()
  (home / "cut.mid").write_bytes(whole[: len(whole) * 3 // 4])
  return home


@pytest.fixture(autouse=True)
def adapters(home, monkeypatch):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(home / "adapters"))
  return home / "adapters"


def finetune(capsys, home, name, *options, run=run_json):
  return run(
    capsys,
    *("finetune", home / "takes", "--name", name, "--base", home / "base"),
    *("--steps", 4, "--learning-rate", 0.02, "--out", home / "runs" / name),
    *("--continuations", 0),
    *options,
  )


@pytest.fixture
def made(capsys, home, adapters):
  """What finetune says of `a` and `b`, made once."""
  said = home / "made.json"
  if not said.exists():
    facts = [
      finetune(capsys, home, "a", "--rank", 2),
      finetune(capsys, home, "b", "--rank", 3, "--targets", "mlp,head"),
    ]
    said.write_text(json.dumps(facts))
  return json.loads(said.read_text())


def test_finetune_says_what_it_is_worth(made, home, adapters):
  first, second = made
  assert first["nats_per_note_after"] < first["nats_per_note_before"]
  assert first["nats_per_note_before"] == second["nats_per_note_before"]
  assert first["adapter"] == str(adapters / "a.safetensors")
  assert first["adapter_bytes"] == (adapters / "a.safetensors").stat().st_size
  assert first["general_before"] is first["general_after"] is None
  parameters = sum(
    pair.a.size + pair.b.size
    for pair in read_adapter(adapters / "a.safetensors").factors.values()
  )
  assert first["trainable_parameters"] == parameters
  assert first["total_parameters"] > 4 * parameters
  assert (home / "runs" / "a" / "loss.png").stat().st_size > 1000


def test_a_damaged_take_is_named_and_learned_from(capsys, home, made):
  """As far as it goes."""
  code, out, err = finetune(
    capsys, home, "cut", home / "cut.mid", "--rank", 2, run=run
  )
  assert code == 0, err
  run_json(capsys, "adapters", "remove", "cut")
  (line,) = [line for line in err.splitlines() if line.startswith("in part")]
  assert line.startswith(f"in part: {home / 'cut.mid'}: tracks damaged")
  assert "installed as cut" in out


def test_an_installed_name_is_not_overwritten(capsys, home, made):
  line = refused(
    capsys,
    *("finetune", home / "takes", "--name", "a", "--base", home / "base"),
    *("--steps", 4),
  )
  assert "'a' is installed already" in line and "--replace" in line


def test_adapters_are_listed_and_shown(capsys, made):
  listed = run_json(capsys, "adapters", "list")["adapters"]
  assert [row["name"] for row in listed] == ["a", "b"]
  facts = run_json(capsys, "adapters", "show", "b")
  assert facts["rank"] == 3 and facts["targets"] == ["mlp", "head"]
  assert facts["parameters"] == made[1]["trainable_parameters"]
  assert (
    facts["figures"]["nats_per_note_after"] == (made[1]["nats_per_note_after"])
  )


def test_evaluate_finds_what_finetune_said(capsys, home, made):
  (held_out,) = made[0]["held_out"]
  facts = run_json(
    capsys,
    *("evaluate", home / "takes" / f"{held_out}.mid"),
    *("--checkpoint", home / "base", "--adapter", "a"),
    *("--against", home / "base"),
  )
  assert facts["checkpoint"].endswith("base + a")
  assert facts["nats_per_note"] == pytest.approx(
    made[0]["nats_per_note_after"], abs=1e-4
  )
  assert facts["against"]["nats_per_note"] == pytest.approx(
    made[0]["nats_per_note_before"], abs=1e-4
  )


def test_generate_with_adapters(capsys, home, made, tmp_path):
  def notes(*options):
    out = tmp_path / "x.mid"
    facts = run_json(
      capsys,
      *("generate", "--seconds", 4, "--checkpoint", home / "base"),
      *("--out", out, *options),
    )
    return facts["adapters"], Score.from_file(out).notes.tolist()

  assert notes()[0] == {}
  plain = notes()[1]
  assert notes("--adapter", "a:0")[1] == plain
  assert notes("--adapter", "a:10")[1] != plain
  blended = notes("--adapter", "a:0.6", "--adapter", "b:0.4")
  assert blended[0] == {"a": 0.6, "b": 0.4}


def test_a_merged_checkpoint_is_the_sum(capsys, home, made, tmp_path):
  out = tmp_path / "merged"
  facts = run_json(
    capsys,
    *("adapters", "merge", "a:0.5", "b", "--out", out),
    *("--checkpoint", home / "base"),
  )
  assert facts["adapters"] == [
    dict(name="a", scale=0.5),
    dict(name="b", scale=1.0),
  ]
  base, _ = load_checkpoint(home / "base")
  merged, config = load_checkpoint(out)
  assert config["notes"]["base_sha256"]
  expected = {
    name: array.astype(np.float64)
    for name, array in flat_parameters(base).items()
  }
  for name, weight in (("a", 0.5), ("b", 1.0)):
    adapter = read_adapter(home / "adapters" / f"{name}.safetensors")
    for array, pair in adapter.factors.items():
      delta = pair.a.astype(np.float64) @ pair.b.astype(np.float64)
      expected[array] += weight * adapter.scale * delta
  for name, array in flat_parameters(merged).items():
    np.testing.assert_allclose(array, expected[name], atol=1e-6, err_msg=name)
  line = refused(capsys, "adapters", "merge", "a", "--out", out)
  assert "is not empty" in line
  # The sum is another base.
  line = refused(
    capsys,
    *("generate", "--seconds", 2, "--checkpoint", out, "--adapter", "a"),
    *("--out", tmp_path / "x.mid"),
  )
  assert "adapter a was trained on" in line


def test_export_import_and_remove(capsys, made, adapters, tmp_path):
  file = tmp_path / "gift.safetensors"
  run_json(capsys, "adapters", "export", "a", file)
  assert "is there already" in refused(capsys, "adapters", "export", "a", file)
  assert "ends in .safetensors" in refused(
    capsys, "adapters", "export", "a", tmp_path / "a.bin"
  )
  line = refused(capsys, "adapters", "import", file)
  assert "'a' is installed already" in line
  facts = run_json(capsys, "adapters", "import", file, "--name", "gift")
  assert facts["name"] == "gift"
  same = [read_adapter(adapters / f"{n}.safetensors") for n in ("a", "gift")]
  assert same[0].figures == same[1].figures
  file.write_bytes(file.read_bytes()[:-10])
  assert "cannot be read" in refused(capsys, "adapters", "import", file)
  run_json(capsys, "adapters", "remove", "gift")
  assert "no adapter 'gift'" in refused(capsys, "adapters", "remove", "gift")


def test_a_damaged_adapter_is_left_out_of_the_list(capsys, made, adapters):
  damaged = adapters / "damaged.safetensors"
  damaged.write_bytes(b"damaged")
  try:
    code, out, err = run(capsys, "adapters", "list", "--json")
  finally:
    damaged.unlink()
  assert code == 0
  assert [r["name"] for r in json.loads(out.splitlines()[-1])["adapters"]] == [
    "a",
    "b",
  ]
  assert "left out" in err and "damaged.safetensors" in err


def test_an_adapter_of_another_base_is_refused(capsys, home, made, tmp_path):
  for command in (
    ("generate", "--seconds", 2, "--out", tmp_path / "x.mid"),
    ("evaluate", phrase_path()),
  ):
    line = refused(
      capsys, *command, "--checkpoint", home / "other", "--adapter", "a"
    )
    assert "adapter a was trained on" in line
  assert not (tmp_path / "x.mid").exists()


def test_where_it_cannot_be_installed_nothing_is_lost(
  capsys, home, made, tmp_path, monkeypatch
):
  blocked = tmp_path / "file"
  blocked.write_text("no folder")
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(blocked / "adapters"))
  code, out, err = run(
    capsys,
    *("finetune", home / "takes", "--name", "a", "--base", home / "base"),
    *("--steps", 4, "--learning-rate", 0.02, "--rank", 2),
    *("--continuations", 0, "--out", home / "runs" / "a"),
  )
  assert code == 2
  last = err.strip().splitlines()[-1]
  whole = home / "runs" / "a" / "a.safetensors"
  assert "cannot be installed" in last and str(whole) in last
  assert "nats a note before" in out
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path / "adapters"))
  assert run_json(capsys, "adapters", "import", whole)["name"] == "a"


def test_an_adapter_is_continued(capsys, home, made, adapters, tmp_path):
  """With older takes rehearsed; the old one stays, under its name."""
  before = (adapters / "a.safetensors").read_bytes()
  facts = finetune(
    capsys,
    home,
    "a2",
    *("--continue", "a", "--rehearsal", home / "takes"),
    *("--stack-rates", "encoder:0.5", "--unfreeze", "encoder:0.5"),
  )
  assert facts["name"] == "a2"
  assert facts["nats_per_note_before"] == made[0]["nats_per_note_after"]
  assert facts["continued_from"]["name"] == "a"
  assert facts["rehearsal"]["music"] == "other music"
  # Of the rehearsed folder, the title that is held out.
  assert facts["general_before"] == pytest.approx(
    facts["nats_per_note_before"], abs=1e-6
  )
  assert facts["kl_on_own_music"] is None
  assert facts["trainable_parameters"] == made[0]["trainable_parameters"]
  assert (adapters / "a.safetensors").read_bytes() == before
  (adapters / "a2.safetensors").unlink()


def test_what_cannot_be_continued(capsys, home, made, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)

  def line(*options):
    return refused(
      capsys,
      *("finetune", home / "takes", "--base", home / "base", *options),
    )

  assert "no adapter 'nobody' is installed" in line("--continue", "nobody")
  assert "adapter a has rank 2, this run 3. Leave rank out" in line(
    "--continue", "a", "--rank", 3
  )
  assert "of it are the least, got 0 s" in line(
    "--continue", "a", "--continuations", 0
  )
  assert "adapter a was trained on" in line(
    "--continue", "a", "--base", home / "other"
  )
  assert "Missing option '--name'" in line()
  assert "--unfreeze depth: expected PART:NUMBER, got 'depth'" in line(
    "--name", "me", "--unfreeze", "depth"
  )
  assert "unknown part viola" in line(
    "--name", "me", "--stack-rates", "viola:1"
  )
  assert "no such folder. Give one of music to rehearse, itself or" in line(
    "--name", "me", "--rehearsal", tmp_path / "none"
  )
  assert not list(tmp_path.iterdir())


def test_what_was_forgotten_is_said_in_words(capsys, home, made):
  found = [
    Divergence(np.array([nats]), np.array([100.0]), np.array([50]))
    for nats in (1.0, 5.0, 50.0)
  ]
  adapter = read_adapter(home / "adapters" / "a.safetensors")
  for drift in found:
    say_drift(drift, "base", adapter)
  said = capsys.readouterr().out
  assert "0.020 nats a note away from it now" in said and "1.0% of" in said
  lines = [line for line in said.splitlines() if line.startswith("  ")]
  assert lines == [
    "  next to nothing is forgotten",
    "  some of it is forgotten; --rehearsal itself keeps it nearer",
    "  much of it is forgotten; --rehearsal itself keeps it nearer",
  ]


def drums(path):
  """A file with notes on channel 10 alone."""
  path.write_bytes(
    bytes.fromhex(
      "4d546864 00000006 0000 0001 0060"  # one track, 96 ticks a beat
      "4d54726b 00000013"
      "00 99 24 40  60 89 24 00"  # channel 10, key 36, a beat
      "00 99 26 40  60 89 26 00  00 ff2f00".replace(" ", "")
    )
  )


def test_what_cannot_be_learned_from(capsys, home, tmp_path):
  takes = tmp_path / "takes"
  takes.mkdir()

  def line(*options, path=takes):
    return refused(
      capsys,
      *("finetune", path, "--name", "me", "--out", tmp_path / "run", *options),
    )

  assert "no usable recordings" in line() and "holds no MIDI file" in line()
  Score.from_file(phrase_path()).crop(0.0, 5.0).to_file(takes / "short.mid")
  assert "short.mid: 4." in line() and "at least 10 s" in line()
  (takes / "short.mid").unlink()
  drums(takes / "drums.mid")
  assert "drums (channel 10) left out: 2 notes" in line()
  assert "no such file" in line(path=tmp_path / "none")
  shutil.copytree(home / "takes", takes, dirs_exist_ok=True)
  assert "no checkpoint there" in line("--base", tmp_path / "none")
  assert "--rank must be a whole number from 1" in line("--rank", 0)
  assert "unknown target 'foo'" in line(
    "--targets", "foo", "--base", home / "base"
  )
  assert "either steps or minutes" in line("--steps", 2, "--minutes", 1)
  name = refused(capsys, "finetune", takes, "--name", "a/b")
  assert "an adapter's name must be" in name and "'a/b'" in name
  assert not (tmp_path / "run").exists()


def test_no_such_adapter(capsys, home, tmp_path):
  line = refused(
    capsys,
    *("generate", "--seconds", 2, "--adapter", "nobody"),
    *("--checkpoint", home / "base", "--out", tmp_path / "x.mid"),
  )
  assert "no adapter 'nobody' is installed" in line
  assert "expected NAME or NAME:SCALE" in refused(
    capsys, "evaluate", phrase_path(), "--adapter", "me:loud"
  )


def test_an_unknown_quantization_is_refused(capsys, home):
  line = refused(
    capsys,
    *("finetune", home / "takes", "--name", "q", "--base", home / "base"),
    *("--quantize", "int4"),
  )
  assert "quantize must be one of none, int8, nf4, got 'int4'" in line
