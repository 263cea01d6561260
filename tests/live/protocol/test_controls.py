import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.protocol.controls import (
  ACTIONS,
  GROOVES,
  INJECTIONS,
  MAX_PROMPT_BYTES,
  MAX_PROMPTS,
  MODES,
  RANGES,
  Action,
  Change,
  Controls,
  changed,
  from_json,
  to_json,
)
from magenta_midi.live.protocol.messages import (
  REQUEST_BYTES,
  SetComp,
  decode,
  encode,
  request_of,
)
from magenta_midi.live.timing.chart_position import MAX_CHART_BYTES

numbers = {
  name: (
    st.integers(int(bounds.low), int(bounds.high))
    if bounds.whole
    else st.floats(bounds.low, bounds.high)
  )
  for name, (bounds, _, _) in RANGES.items()
}
texts = st.text(
  st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=50
)
changes = st.one_of(
  *(st.tuples(st.just(name), values) for name, values in numbers.items()),
  st.tuples(st.just("mode"), st.sampled_from(MODES)),
  st.tuples(st.just("injection"), st.sampled_from(INJECTIONS)),
  st.tuples(st.just("groove"), st.sampled_from(GROOVES)),
  st.tuples(st.just("tempo"), st.just(0)),
  st.tuples(
    st.sampled_from(["solo", "release_clashes", "muted", "free"]), st.booleans()
  ),
  st.tuples(
    st.just("register"),
    st.tuples(st.integers(21, 60), st.integers(72, 108)),
  ),
  st.tuples(st.just("prompt"), st.tuples(texts, st.floats(0, 1e12))),
)


@given(st.lists(changes, max_size=20))
def test_any_changes_leave_valid_controls_that_survive_json(made):
  controls = Controls()
  for name, value in made:
    before = controls
    try:
      controls = changed(controls, name, value)
    except ValueError as error:  # only ever the ninth prompt
      assert "at most 8 prompts" in str(error)
      assert controls is before
  low, high = controls.register
  assert 21 <= low <= high - 12 <= 108 - 12
  assert len(controls.prompts) <= MAX_PROMPTS
  assert from_json(json.loads(json.dumps(to_json(controls)))) == controls


@given(changes)
def test_every_change_passes_through_a_record(made):
  request = request_of(Change(*made))
  record = encode(request)
  assert len(record) <= REQUEST_BYTES
  assert decode(record.ljust(REQUEST_BYTES, b"\0")) == request
  assert (request.name, request.value) == made


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_passes_through_a_record(action):
  request = request_of(action)
  assert decode(encode(request)) == request
  assert getattr(request, "action", Action.QUIT) is action


def test_the_longest_prompt_fits_a_record():
  text = '"' * MAX_PROMPT_BYTES
  change = request_of(Change("prompt", (text, 9.123456789)))
  assert decode(encode(change)) == change
  with pytest.raises(ValueError, match="one prompt at a time"):
    texts = [text + end for end in "wxyz"]
    encode(request_of(Change("prompts", tuple((t, 1.0) for t in texts))))


def test_the_longest_chart_fits_a_record():
  bars = "| Ebmaj7#11 | Gbmaj7#11 " * 41
  text = changed(Controls(), "chords", bars + "|").chords
  assert 900 < len(text) <= MAX_CHART_BYTES
  for request in (
    request_of(Change("chords", text)),
    SetComp(chords=text, on=False, loudness=-30),
  ):
    assert decode(encode(request)) == request


def test_controls_are_never_mutated():
  before = Controls()
  after = changed(before, "temperature", 1.5)
  assert (before.temperature, after.temperature) == (1.0, 1.5)
  with pytest.raises(AttributeError):
    before.temperature = 2.0  # pyright: ignore


@pytest.mark.parametrize(
  ("name", "value", "said"),
  [
    ("mode", "duel", "one of call-response, simultaneous, listen, got 'duel'"),
    ("mode", ["listen"], "mode must be one of"),
    ("groove", "polka", "groove must be auto, straight, .* or @NAME"),
    (
      "groove",
      "swing:3",
      "the weight of a groove must be a number from 0 to 2",
    ),
    ("groove", "@", "groove must be auto"),
    ("tempo", 10, "tempo must be a number from 20 to 400"),
    ("tempo", 1000.0, "tempo must be a number from 20 to 400"),
    ("tempo_step", "up", "tempo_step must be a number"),
    ("temperature", 10.1, "from 0 to 10, got 10.1"),
    ("temperature", float("nan"), "got nan"),
    ("temperature", "hot", "got 'hot'"),
    ("temperature", True, "got True"),
    ("density", 0.2, "from 0.25 to 4 .*got 0.2"),
    ("loudness", 31, "whole number from -30 to 30 .*got 31"),
    ("loudness", 1.5, "got 1.5"),
    ("register", (60, 65), "at least an octave, got 60 to 65"),
    ("register", (20, 65), "from 21 to 108 .*got 20"),
    ("register", 60, "a lowest and a highest key, got 60"),
    ("solo", 2, "on or off .*got 2"),
    ("muted", "yes", "on or off .*got 'yes'"),
    ("prompt", ("", 1.0), "one line of text, got ''"),
    ("prompt", ("a\nb", 1.0), "one line of text"),
    ("prompt", ("x" * 201, 1.0), "at most 200 bytes long, got 201"),
    ("prompt", ("jazz", -1.0), "from 0 to 1000000000000 .*, got -1"),
    ("prompt", ("jazz", float("nan")), "from 0 to 1000000000000 .*, got nan"),
    ("prompt", "jazz", "a text and a weight, got 'jazz'"),
    ("prompts", "jazz", "a list of pairs, got 'jazz'"),
    ("prompt_weight", (1, 1.0), "no prompt 1; there are 0"),
    ("volume", 3, "no control is called 'volume'. There are: mode, .*prompt"),
  ],
)
def test_what_cannot_be_is_said_in_one_line(name, value, said):
  with pytest.raises(ValueError, match=said) as error:
    changed(Controls(), name, value)
  assert "\n" not in str(error.value)


def test_numbers_come_out_in_their_own_sort():
  assert isinstance(changed(Controls(), "temperature", 1).temperature, float)
  assert isinstance(changed(Controls(), "loudness", 3.0).loudness, int)
  assert changed(Controls(), "solo", 1).solo is True


def test_the_ends_of_the_register_push_each_other_no_nearer_than_an_octave():
  controls = changed(Controls(), "register_low", 108)
  assert controls.register == (96, 108)
  controls = changed(controls, "register_high", 21)
  assert controls.register == (96, 108)
  controls = changed(controls, "register_low", 40)
  assert changed(controls, "register_high", 60).register == (40, 60)


def test_prompts_are_added_weighted_and_cleared():
  controls = changed(Controls(), "prompt", ("  slow   ballad ", 1))
  controls = changed(controls, "prompt", ("bebop", 0.5))
  assert controls.prompts == (("slow ballad", 1.0), ("bebop", 0.5))
  controls = changed(controls, "prompt", ("slow ballad", 0.0))
  assert controls.prompts == (("slow ballad", 0.0), ("bebop", 0.5))
  controls = changed(controls, "prompt_weight", (2, 2.0))
  assert controls.prompts == (("slow ballad", 0.0), ("bebop", 2.0))
  assert changed(controls, "prompts", ()).prompts == ()


@pytest.mark.parametrize(
  "record", [b"", b"{", b'"fly"', b"[1]", b"3", b"\xff\xfe"]
)
def test_what_is_no_record_is_refused(record):
  with pytest.raises(ValueError, match=r".+"):
    decode(record)


def test_actions_are_their_names():
  assert Action("hand_over") == "hand_over"
  assert [str(a) for a in ACTIONS] == [
    "hand_over",
    "end",
    "panic",
    "tap",
    "bookmark",
    "quit",
  ]
