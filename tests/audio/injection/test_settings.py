"""Settings of injection: the original's defaults; one line for bad ones."""

import dataclasses

import pytest

from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)


def test_the_defaults_are_the_originals():
  recorded = InjectionControls.for_source("recorded")
  assert dataclasses.asdict(recorded) == {
    "input_gain": 1,
    "model_feedback": 0,
    "input_gap_ms": 0,
    "model_volume": 0,
    "input_volume": 1,
    "metronome": False,
    "temperature": 1.2,
    "top_k": 30,
    "guidance": 1.5,
  }
  live = InjectionControls.for_source("live")
  assert (live.metronome, live.guidance) == (True, 0.8)
  settings = InjectionSettings()
  assert settings.injected_frames == 58
  assert (settings.bpm, settings.beats_per_loop) == (120, 8)
  assert settings.intro_loops == 4


def test_what_changes_after_the_intro_is_the_originals():
  live = InjectionSettings(source="live").ended_intro(
    InjectionControls(metronome=True, temperature=2)
  )
  assert (live.model_feedback, live.model_volume) == (0.95, 0.95)
  assert (live.metronome, live.input_gap_ms) == (False, 400)
  assert live.temperature == 2
  recorded = InjectionSettings().ended_intro(InjectionControls(metronome=True))
  assert (recorded.model_feedback, recorded.model_volume) == (0.95, 0.6)
  assert (recorded.metronome, recorded.input_gap_ms) == (True, 0)
  own = InjectionSettings(after_intro={"top_k": 5})
  assert own.ended_intro(live) == dataclasses.replace(live, top_k=5)


def test_the_negative_context_is_chosen():
  assert InjectionSettings().guided_from == "own"
  assert InjectionSettings(faithful=True).guided_from == "mixed"
  assert InjectionSettings(negative_context="before").guided_from == "before"


@pytest.mark.parametrize(
  ("name", "low", "high", "below", "above"),
  [
    ("input_gain", 0, 4, -0.01, 4.01),
    ("model_feedback", 0, 1, -0.01, 1.01),
    ("input_gap_ms", 0, 2000, -1, 2001),
    ("model_volume", 0, 1, -0.01, 1.01),
    ("input_volume", 0, 1, -0.01, 1.01),
    ("temperature", 0, 4, -0.01, 4.01),
    ("top_k", 0, 1024, -1, 1025),
    ("guidance", 0, 10, -0.01, 10.01),
  ],
)
def test_controls_have_the_ranges_of_the_sliders(name, low, high, below, above):
  for value in (low, high):
    assert getattr(InjectionControls(**{name: value}), name) == value
  for value in (below, above):
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
      InjectionControls(**{name: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"bpm": 19}, "^bpm must be a number from 20 to 400"),
    ({"beats_per_loop": 0}, "^beats_per_loop must be"),
    ({"beats_per_loop": 17}, "^beats_per_loop must be"),
    ({"intro_loops": 6}, "^intro_loops must be"),
    ({"latency_samples": 5}, "^latency_samples must be 0 for recorded"),
    ({"delay_s": 61}, "^delay_s must be"),
    ({"chunk_frames": 0}, "^chunk_frames must be"),
    ({"edge_frames": 17}, r"^edge_frames must be at most prefix_frames \(16\)"),
    ({"context_frames": 57}, "^context_frames must be at least the 58 frames"),
    ({"levels": 0}, "^levels must be"),
    ({"after_intro": {"volume": 1}}, "^after_intro must name controls"),
    ({"after_intro": {"model_volume": 2}}, "^model_volume must be"),
    (
      {"faithful": True, "intro_loops": 0},
      "^intro_loops must be as the original",
    ),
    ({"faithful": True, "delay_s": 1.0}, "^delay_s must be as the original"),
    (
      {"faithful": True, "crossfade": "equal-power"},
      "^crossfade must be as the",
    ),
    (
      {"faithful": True, "negative_context": "own"},
      "^negative_context must be as",
    ),
    (
      {"faithful": True, "after_intro": {"input_gain": 2.0}},
      "^input_gain must be as the original",
    ),
  ],
)
def test_bad_settings_are_refused_in_one_line(given, message):
  with pytest.raises(ValueError, match=message) as error:
    InjectionSettings(**given)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("settings", "name", "value", "message"),
  [
    (InjectionControls(), "metronome", "no", "must be True or False, got 'no'"),
    (InjectionSettings(), "source", "both", "must be one of recorded, live"),
    (InjectionSettings(), "crossfade", "hard", "must be one of equal-gain"),
    (InjectionSettings(), "negative_context", "x", "must be one of own"),
  ],
)
def test_words_are_checked_where_types_are_not(settings, name, value, message):
  object.__setattr__(settings, name, value)
  with pytest.raises(ValueError, match=f"^{name} {message}"):
    settings.__post_init__()
