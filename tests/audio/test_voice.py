import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.audio.piano import SAMPLE_RATE, synthesize
from magenta_midi.audio.room import LiveRoom, add_room
from magenta_midi.audio.voice import BLOCK, POLYPHONY, Voice
from magenta_midi.midi.score import Score


def on(key, velocity=80, channel=1):
  return bytes([0x90 + channel - 1, key, velocity])


def off(key, channel=1):
  return bytes([0x80 + channel - 1, key, 0])


def pedal(value, channel=1):
  return bytes([0xB0 + channel - 1, 64, value])


def rendered(voice, seconds):
  count = round(seconds * voice.sample_rate / voice.block)
  return np.concatenate([voice.render() for _ in range(count)])


def level(samples):
  return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("block", [64, 256, 1000])
def test_the_room_live_is_the_room(block):
  sound = np.random.default_rng(0).standard_normal((2, 60 * 1000))
  sound = sound.astype(np.float32)[:, : 60_000 // block * block]
  whole, live = sound.copy(), sound.copy()
  add_room(whole, 16_000)
  room = LiveRoom(16_000, block)
  for start in range(0, live.shape[1], block):
    room.add(live[:, start : start + block])
  np.testing.assert_allclose(live, whole, atol=2e-4)
  assert np.abs(whole - sound).max() > 0.1


@pytest.mark.parametrize(
  ("key", "velocity"), [(28, 50), (60, 30), (60, 80), (84, 127), (108, 64)]
)
def test_a_note_live_is_the_note(key, velocity):
  voice = Voice(SAMPLE_RATE)
  voice.handle(on(key, velocity))
  held = 100  # blocks
  live = [voice.render() for _ in range(held)]
  voice.handle(off(key))
  live = np.concatenate(live + [voice.render() for _ in range(150)])
  whole = synthesize(
    Score.from_arrays(
      onset_s=np.array([0.0]),
      duration_s=np.array([held * BLOCK / SAMPLE_RATE]),
      key=np.array([key]),
      velocity=np.array([velocity]),
    )
  )
  count = min(len(live), len(whole) - SAMPLE_RATE)  # which fades its end
  # The live one leaves head room; what it leaves out is below -60 dB.
  np.testing.assert_allclose(
    live[:count] / 0.8, whole[:count], atol=1e-3 * np.abs(whole).max()
  )


def test_silence_is_silent():
  voice = Voice()
  block = voice.render()
  assert block.shape == (BLOCK, 2)
  assert block.dtype == np.float32
  assert not block.any()
  assert voice.sounding == 0


def test_a_key_let_go_is_damped_and_then_gone():
  voice = Voice()
  voice.handle(on(60))
  sounding = level(rendered(voice, 0.5))
  voice.handle(off(60))
  rendered(voice, 0.2)
  assert voice.sounding == 0
  rendered(voice, 0.9)  # the room
  assert level(rendered(voice, 0.2)) < 1e-3 * sounding


def test_the_pedal_holds_until_it_comes_up_each_channel_its_own():
  voice = Voice()
  voice.handle(pedal(127))
  voice.handle(on(60))
  voice.handle(on(64, channel=2))
  voice.handle(off(60))
  voice.handle(off(64, channel=2))
  rendered(voice, 0.3)
  assert voice.sounding == 1
  voice.handle(pedal(0, channel=2))
  rendered(voice, 0.3)
  assert voice.sounding == 1
  voice.handle(pedal(63))
  rendered(voice, 0.3)
  assert voice.sounding == 0


def test_a_held_key_survives_the_pedal():
  voice = Voice()
  voice.handle(pedal(127))
  voice.handle(on(60))
  voice.handle(pedal(0))
  rendered(voice, 0.3)
  assert voice.sounding == 1


def test_one_players_note_off_leaves_the_others_key():
  voice = Voice()
  voice.handle(on(60, channel=1))
  voice.handle(off(60, channel=2))
  rendered(voice, 0.3)
  assert voice.sounding == 1


def test_a_key_struck_again_is_one_string():
  voice = Voice()
  for _ in range(20):
    voice.handle(on(60))
    rendered(voice, 0.1)
  assert voice.sounding == 1
  voice.handle(b"\x90\x3c\x00")  # a note-on without velocity is a note-off
  rendered(voice, 0.3)
  assert voice.sounding == 0


def test_high_strings_have_no_dampers():
  voice = Voice()
  voice.handle(on(100))
  voice.handle(off(100))
  rendered(voice, 0.2)
  assert voice.sounding == 1
  rendered(voice, 3.0)
  assert voice.sounding == 0


def test_every_tone_fades_out_by_itself():
  voice = Voice()
  for key in (21, 60, 108):
    voice.handle(on(key, 127))
  rendered(voice, 45)
  assert voice.sounding == 0


@pytest.mark.parametrize("controller", [120, 123])
def test_all_sound_off_and_all_notes_off(controller):
  voice = Voice()
  voice.handle(pedal(127))
  for key in range(40, 60):
    voice.handle(on(key))
  voice.handle(on(70, channel=2))
  rendered(voice, 0.1)
  voice.handle(bytes([0xB0, controller, 0]))
  rendered(voice, 0.05 if controller == 120 else 0.3)
  assert voice.sounding == 1


def test_no_more_tones_than_may_be_and_what_ends_is_lost_first():
  voice = Voice()
  for key in range(21, 21 + POLYPHONY):
    voice.handle(on(key, 100))
  voice.handle(off(50))
  voice.handle(on(100, 100))
  assert voice.sounding == POLYPHONY
  before = voice.sounding
  rendered(voice, 0.3)
  assert voice.sounding == before  # the one being damped made room
  for key in range(85, 109):
    voice.handle(on(key, 127))
  assert voice.sounding == POLYPHONY


def test_a_chord_of_all_keys_does_not_clip():
  voice = Voice()
  for key in range(21, 109):
    voice.handle(on(key, 127))
  peak = np.abs(rendered(voice, 0.5)).max()
  assert 0.7 < peak < 1


def test_drums_are_clicks():
  voice = Voice()
  voice.handle(on(76, channel=10))
  assert level(voice.render()) > 0.01
  rendered(voice, 0.1)
  assert voice.sounding == 0


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=4), max_size=60))
def test_no_bytes_do_harm(messages):
  voice = SHARED
  for message in messages:
    voice.handle(message)
  assert np.isfinite(voice.render()).all()


SHARED = Voice(8000, 64)


def test_what_cannot_be_made_is_refused():
  with pytest.raises(ValueError, match=r"at least 8000 Hz.* got 100 and 256"):
    Voice(100)
