"""`replay`: twice the same to the byte, and again from its session."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from click import ClickException
from click.testing import CliRunner
from flax import nnx

from magenta_midi.cli.main import cli
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score
from magenta_midi.model.checkpoint import load_checkpoint, save_checkpoint
from magenta_midi.model.lora.adapter_file import Adapter
from magenta_midi.model.lora.adapter_library import install_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank, init_factors
from magenta_midi.testing import tiny_generator
from magenta_midi.testing.jack import JackServer, jack_missing

pytestmark = pytest.mark.ports

PROMISED = {
  "compute_ms",
  "reaction_ms",
  "jitter_ms",
  "isr",
  "staleness",
  "notes_in",
  "notes_out",
  "stuck_notes",
  "compiles_while_playing",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A drawn model for two, and a recording."""
  folder = tmp_path_factory.mktemp("replay")
  model = tiny_generator(parts=9).model
  save_checkpoint(folder / "duet", model, codec={"name": "note"})
  Score.from_arrays(
    onset_s=0.5 + 0.4 * np.arange(12),
    duration_s=np.full(12, 0.3),
    key=60 + np.arange(12),
    velocity=np.full(12, 70),
    pedal=[(0.6, True)],
  ).to_file(folder / "call.mid")
  return folder


def replay(folder, out, *args, recording="call.mid"):
  command = ["replay", str(folder / recording), "--out", str(out), "--json"]
  command += ["--checkpoint", str(folder / "duet")]
  with one_line_errors():
    result = CliRunner().invoke(
      cli, [*command, *args], catch_exceptions=False, standalone_mode=False
    )
  return json.loads(result.output.splitlines()[-1])


@pytest.fixture(scope="module")
def played(folder):
  args = ("--mode", "simultaneous", "--control", "density=4")
  return [replay(folder, folder / name, *args) for name in ("a.mid", "b.mid")]


def test_two_runs_are_the_same_to_the_byte(folder, played):
  assert played[0] == played[1]
  assert played[0].keys() >= PROMISED
  assert played[0]["notes_in"] == 12
  assert played[0]["notes_out"] > 3
  assert played[0]["stuck_notes"] == played[0]["compiles_while_playing"] == 0
  for suffix in (".mid", ".json"):
    first, second = (
      (folder / name).with_suffix(suffix).read_bytes() for name in "ab"
    )
    assert first == second


def test_the_session_makes_its_notes_again(folder, played):
  facts = replay(folder, folder / "again.mid", recording="a.json")
  assert facts["notes_out"] == played[0]["notes_out"]
  first, again = (
    read_score(folder / name).notes for name in ("a.mid", "again.mid")
  )
  np.testing.assert_array_equal(first, again)


def test_an_adapter_plays_and_is_told_in_the_session(
  folder, played, tmp_path, monkeypatch
):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path))
  model, config = load_checkpoint(folder / "duet")
  factors = init_factors(
    nnx.state(model, nnx.Param), LoraConfig(rank=2), jax.random.key(0)
  )
  adapter = Adapter(
    name="loud",
    factors={
      name: LowRank(pair.a, np.ones(pair.b.shape, np.float32))
      for name, pair in factors.items()
    },
    config=LoraConfig(rank=2),
    base="duet",
    base_sha256=config["sha256"],
    codec={},
  )
  install_adapter(adapter)
  args = ("--mode", "simultaneous", "--control", "density=4")
  out = folder / "adapted.mid"
  facts = replay(folder, out, *args, "--adapter", "loud")
  assert list(facts["adapters"]) == ["loud"]
  assert facts["compiles_while_playing"] == facts["stuck_notes"] == 0
  assert out.read_bytes() != (folder / "a.mid").read_bytes()
  again = folder / "adapted_again.mid"
  replay(folder, again, recording="adapted.json")
  first, second = (read_score(path).notes for path in (out, again))
  np.testing.assert_array_equal(first, second)
  # Another of that name would not play the same.
  other = {name: LowRank(a, 2 * b) for name, (a, b) in adapter.factors.items()}
  install_adapter(dataclasses.replace(adapter, factors=other), replace=True)
  with pytest.raises(ClickException, match="another adapter loud"):
    replay(folder, again, recording="adapted.json")
  with pytest.raises(ClickException, match="leave --adapter out"):
    replay(folder, again, "--adapter", "loud", recording="adapted.json")


def test_a_table_of_costs_is_what_time_takes(folder, played):
  slow = folder / "slow.json"
  costs = played[0]["cost"]["ms"]
  slow.write_text(
    json.dumps({name: {"base": 20.0, "each": 0.0} for name in costs})
  )
  args = ("--mode", "simultaneous", "--cost", str(slow))
  facts = replay(folder, folder / "slow.mid", *args)
  assert facts["compute_ms"]["p50"] >= 20
  assert facts["cost"]["source"] == str(slow)


@pytest.mark.parametrize(
  ("args", "recording", "match"),
  [
    (("--seconds", "0"), "call.mid", "--seconds must be a number above 0"),
    (("--control", "tempo"), "call.mid", "NAME=VALUE"),
    (("--control", "density=9"), "call.mid", "density must be"),
    (("--cost", "duet/config.json"), "call.mid", "cost table must give"),
    ((), "none.mid", "no such file"),
    ((), "duet/config.json", "not a session"),
  ],
)
def test_mistakes_are_one_line(folder, monkeypatch, args, recording, match):
  monkeypatch.chdir(folder)
  with pytest.raises(ClickException, match=match) as error:
    replay(folder, folder / "bad.mid", *args, recording=recording)
  assert error.value.exit_code == 2
  assert "\n" not in error.value.format_message()
  assert not (folder / "bad.mid").exists()


@pytest.mark.slow
def test_in_real_time_over_real_ports(folder, monkeypatch):
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  monkeypatch.setattr("magenta_midi.cli.replay_realtime.TAIL_NS", 3 * 10**9)
  with JackServer() as server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    facts = replay(
      folder,
      folder / "wall.mid",
      "--wall",
      "--mode",
      "simultaneous",
      "--control",
      "density=4",
    )
  assert facts.keys() >= PROMISED
  assert facts["notes_in"] == 12
  assert facts["notes_out"] > 0
  assert facts["stuck_notes"] == facts["notes_dropped"] == 0
  assert facts["compiles_while_playing"] == 0
  assert facts["bare_loop_ms"]["p50"] is not None


def test_without_ports_wall_says_what_to_do(folder, monkeypatch):
  from magenta_midi.live.io.port_scan import PortList

  monkeypatch.setattr(
    "magenta_midi.cli.replay_realtime.scan",
    lambda: PortList((), (), "", "no sequencer"),
  )
  with pytest.raises(ClickException, match="Leave --wall out"):
    replay(folder, folder / "wall.mid", "--wall")


def test_the_comp_is_a_track_of_the_files_bars(folder, tmp_path):
  out = tmp_path / "comp.mid"
  args = ("--mode", "listen", "--tempo", "120", "--chords", "| Dm7 | G7 |")
  facts = replay(folder, out, *args, "--comp")
  assert facts["stuck_notes"] == 0
  score = read_score(out)
  assert score.part_names == ("player", "comp")
  # The first note is the first beat, and half a second a beat.
  bass = score.select(1).notes
  bass = bass[bass["key"] < 49]
  np.testing.assert_allclose(np.diff(bass["onset_s"]), 2.0, atol=0.05)
  assert set(bass["key"] % 12) == {2, 7}
  assert len(bass) > 5
  at = score.tempo.beats_at(bass["onset_s"])
  np.testing.assert_allclose(at, np.round(at), atol=0.1)
  mine = score.notes["part"] == 0
  assert bass["onset_s"].min() > score.notes["onset_s"][mine].min() - 0.01
