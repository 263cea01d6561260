"""Typed messages: each passes through a record, and none is too long."""

import msgspec
import pytest

from magenta_midi.live.protocol.controls import (
  MAX_ADAPTER_BYTES,
  MAX_ADAPTERS,
  MAX_PROMPT_BYTES,
  MAX_PROMPTS,
  Action,
  Controls,
)
from magenta_midi.live.protocol.messages import (
  CODES,
  TEXT_BYTES,
  Act,
  EchoFound,
  MessageUnsent,
  ModelCompiling,
  ModelFailed,
  ModelLoading,
  ModelProblem,
  ModelReady,
  ModelRestarting,
  ModelState,
  PlanReceived,
  PlayerInput,
  PortChanged,
  PortsFailed,
  PortsReady,
  PortsState,
  Quit,
  SetBars,
  SetComp,
  SetControl,
  Silence,
  decode,
  encode,
  shortened,
)
from magenta_midi.live.timing.chart_position import MAX_CHART_BYTES


def a_state(**changes):
  state = {
    "now_ns": 5_000_000_000,
    "mode": "simultaneous",
    "replying": True,
    "busy": 0.25,
    "horizon_ms": 12.0,
    "plan_age_ms": None,
    "chord": "Am7",
    "key": "C major",
    "plan": [(60, 5_000_000_000, 250_000_000)],
    "compiles": 0,
    "switches": 1,
    "slowest_switch_ms": 80.5,
    "controls": Controls(prompts=(("slow", 1.0),), adapters=("a", "")),
  }
  return ModelState(**(state | changes))


MESSAGES = (
  ModelLoading(),
  ModelCompiling(done=3, total=20),
  ModelReady(checkpoint="embedded", sha256=None),
  ModelFailed(problem="no such file"),
  ModelRestarting(code=-9),
  ModelProblem(problem="density must be a number"),
  a_state(),
  PortsReady(inputs=["keys", "pedals"], output=""),
  PortsFailed(problem="no port is called harpsichord"),
  PlanReceived(compute_ns=1_500_000, now_ns=7, why="react"),
  PortChanged(port="keys", state="lost", role="player"),
  EchoFound(description="channel 2 comes back on channel 1"),
  MessageUnsent(data=b"\x90\x3c\x40"),
  PortsState(
    late_ns=[1, 2], clips={"rate": 3}, dropped=0, ticks=[(1, 2, True)]
  ),
  SetControl(name="prompts", value=(("slow", 1.0), ("loud", 0.0))),
  Act(action=Action.HAND_OVER),
  SetBars(bpm=120.0, beats_per_bar=4, start_ns=9),
  SetComp(chords="| C |", on=True, loudness=-2),
  PlayerInput(data=b"\x80\x3c\x00", time_ns=None),
  Silence(),
  Quit(),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_passes_through_a_record(message):
  again = decode(encode(message))
  assert again == message
  assert type(again) is type(message)


def test_the_table_of_codes_is_complete():
  assert {type(message) for message in MESSAGES} == set(CODES.values())
  assert len(set(CODES)) == len(MESSAGES)
  for code, kind in CODES.items():
    assert kind.__struct_config__.tag == code


def test_the_controls_arrive_as_controls():
  controls = decode(encode(a_state())).controls
  assert isinstance(controls, Controls)
  assert controls == a_state().controls


def test_the_largest_state_fits_its_record():
  text, name = '"' * MAX_PROMPT_BYTES, "é" * (MAX_ADAPTER_BYTES // 2)
  largest = a_state(
    plan=[(127, 10**15, 10**15)] * 24,
    controls=Controls(
      prompts=tuple((text, 9.123456789) for _ in range(MAX_PROMPTS)),
      adapters=(name,) * MAX_ADAPTERS,
      chords="x" * MAX_CHART_BYTES,
    ),
  )
  record = encode(largest)
  assert len(record) <= TEXT_BYTES
  assert decode(record) == largest


def test_what_does_not_fit_is_an_error_of_its_sender():
  problem = "x" * TEXT_BYTES
  with pytest.raises(ValueError, match=r"ModelProblem must fit 8192 bytes"):
    encode(ModelProblem(problem=problem))
  # A problem for people is shortened before.
  assert len(encode(ModelProblem(problem=shortened(problem)))) < 2000
  assert len(encode(ModelFailed(problem=shortened("\0" * 5000)))) <= TEXT_BYTES
  with pytest.raises(ValueError, match=r"one prompt at a time"):
    encode(SetControl(name="mode", value=problem))
  with pytest.raises(ValueError, match=r"cannot hold a object"):
    encode(SetControl(name="mode", value=object()))


@pytest.mark.parametrize(
  "plain",
  [
    {},
    {"type": "fly"},
    {"type": "model_compiling", "done": "3", "total": 20},
    {"type": "port_changed", "port": "k", "state": "on", "role": "player"},
  ],
)
def test_what_is_no_message_is_refused(plain):
  with pytest.raises(ValueError, match="this is no message"):
    decode(msgspec.json.encode(plain))
