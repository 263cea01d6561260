import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from magenta_midi.audio.piano import SAMPLE_RATE, TAIL_S
from magenta_midi.audio.render import (
  SOUNDFONT_FOLDERS,
  RenderError,
  find_soundfont,
  render,
)
from magenta_midi.midi.clicks import Click
from magenta_midi.midi.score import PEDAL_DTYPE, Score

needs_fluidsynth = pytest.mark.skipif(
  not (shutil.which("fluidsynth") and find_soundfont()),
  reason="no fluidsynth program with a soundfont",
)


def triad(pedal=((0.1, True, 0), (1.2, False, 0))):
  return Score.from_arrays(
    onset_s=np.array([0.25, 0.25, 0.5]),
    duration_s=np.array([0.5, 0.5, 0.5]),
    key=np.array([60, 64, 67]),
    velocity=np.array([64, 70, 76]),
    pedal=np.array(list(pedal), PEDAL_DTYPE),
  )


def read(path):
  with wave.open(str(path), "rb") as file:
    assert file.getframerate() == SAMPLE_RATE
    frames = file.readframes(file.getnframes())
  return np.frombuffer(frames, "<i2").reshape(-1, 2) / 32767


def test_clicks_sound_among_the_notes_and_before_them(bare, tmp_path):
  late = triad().shifted(300.0)  # in another block than the first clicks
  clicks = [Click(0.5, True), Click(300.3, False), Click(303.0, False)]
  render(late, tmp_path / "a.wav", clicks=clicks)
  render(late, tmp_path / "b.wav")
  with_clicks, without = read(tmp_path / "a.wav"), read(tmp_path / "b.wav")
  assert len(with_clicks) == len(without)
  added = np.abs(with_clicks - without).max(axis=1) > 1e-3
  heard = np.flatnonzero(added) / SAMPLE_RATE
  for click in clicks:
    near = heard[np.abs(heard - click.time_s) < 0.06]
    assert near[0] == pytest.approx(click.time_s, abs=0.002)
    heard = heard[np.abs(heard - click.time_s) >= 0.06]
  assert not len(heard)
  render(Score.empty(), tmp_path / "c.wav", clicks=clicks[:1])
  assert np.abs(read(tmp_path / "c.wav")).max() > 0.2


@pytest.fixture
def bare(monkeypatch):
  """A machine without FluidSynth."""
  monkeypatch.setattr("shutil.which", lambda program: None)
  monkeypatch.setattr("magenta_midi.audio.render.SOUNDFONT_FOLDERS", ())


@pytest.fixture
def program(monkeypatch, tmp_path):
  """A machine with a fluidsynth of our own writing; set its script's text."""
  (tmp_path / "bin").mkdir()
  path = tmp_path / "bin" / "fluidsynth"
  monkeypatch.setattr("shutil.which", lambda name: str(path))

  def write(text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)

  return write


@pytest.fixture
def font(tmp_path):
  path = tmp_path / "font.sf2"
  path.write_bytes(b"no real one")
  return path


def test_auto_without_fluidsynth_plays_the_piano(bare, tmp_path):
  assert render(triad(), tmp_path / "a.wav") == "numpy"
  samples = read(tmp_path / "a.wav")
  assert len(samples) == np.ceil((1.2 + TAIL_S) * SAMPLE_RATE)
  assert 0.05 < np.abs(samples).max() < 1


def test_a_missing_program_names_the_remedy(bare, tmp_path, font):
  with pytest.raises(RenderError, match=r"apt install fluidsynth.*'numpy'"):
    render(triad(), tmp_path / "a.wav", engine="fluidsynth")
  # Who names a soundfont wants it heard.
  with pytest.raises(RenderError, match="fluidsynth was not found"):
    render(triad(), tmp_path / "a.wav", soundfont=font)
  assert not (tmp_path / "a.wav").exists()


def test_a_missing_soundfont_names_the_remedy(
  bare, program, monkeypatch, tmp_path
):
  program("exit 1\n")
  with pytest.raises(RenderError, match="apt install fluid-soundfont-gm"):
    render(triad(), tmp_path / "a.wav", engine="fluidsynth")
  assert render(triad(), tmp_path / "a.wav") == "numpy"


def test_wrong_choices_are_refused(tmp_path, font):
  with pytest.raises(RenderError, match=r"one of auto, numpy, fluid.*'organ'"):
    render(triad(), tmp_path / "a.wav", engine="organ")
  with pytest.raises(RenderError, match=r"no soundfont 'none\.sf2'"):
    render(triad(), tmp_path / "a.wav", soundfont="none.sf2")
  with pytest.raises(RenderError, match="takes no soundfont"):
    render(triad(), tmp_path / "a.wav", engine="numpy", soundfont=font)


def test_a_failing_program_is_one_line_and_leaves_the_old_file(
  program, font, tmp_path
):
  (tmp_path / "a.wav").write_text("old")
  program("echo first >&2; echo 'cannot do that' >&2; exit 3\n")
  with pytest.raises(RenderError, match=r"\(exit 3: cannot do that\)") as found:
    render(triad(), tmp_path / "a.wav", soundfont=font)
  assert "\n" not in str(found.value)
  assert (tmp_path / "a.wav").read_text() == "old"


def test_a_silent_program_is_an_error(program, font, tmp_path):
  program("exit 0\n")
  with pytest.raises(RenderError, match=r"made no sound with .*font\.sf2"):
    render(triad(), tmp_path / "a.wav", soundfont=font)


def test_an_empty_score_needs_no_program(program, font, tmp_path):
  program("exit 1\n")
  used = render(Score.empty(), tmp_path / "a.wav", soundfont=font)
  assert used == "fluidsynth"
  assert not read(tmp_path / "a.wav").any()


def test_the_preferred_soundfont_is_found_first(monkeypatch, tmp_path):
  folders = (str(tmp_path / "none"), str(tmp_path))
  monkeypatch.setattr("magenta_midi.audio.render.SOUNDFONT_FOLDERS", folders)
  assert find_soundfont() is None
  (tmp_path / "default-GM.sf2").symlink_to(tmp_path / "gone.sf2")
  (tmp_path / "A.sf3").touch()
  assert find_soundfont() == tmp_path / "A.sf3"
  (tmp_path / "FluidR3_GM.sf2").touch()
  assert find_soundfont() == tmp_path / "FluidR3_GM.sf2"
  assert all(Path(folder).expanduser() for folder in SOUNDFONT_FOLDERS)


@needs_fluidsynth
@pytest.mark.parametrize(
  "pedal", [(), ((0.1, True, 0), (1.2, False, 0)), ((0.1, True, 0),)]
)
def test_fluidsynth_plays_as_long_and_in_tune(tmp_path, pedal):
  score = triad(pedal)
  used = render(score, tmp_path / "a.wav", engine="fluidsynth")
  assert used == "fluidsynth"
  samples = read(tmp_path / "a.wav")
  assert len(samples) == np.ceil((score.end_s + TAIL_S) * SAMPLE_RATE)
  assert 0.02 < np.abs(samples).max() < 1
  assert np.abs(samples[: int(0.24 * SAMPLE_RATE)]).max() < 0.01
  # The tail rings on instead of being cut with the last event.
  end = int(score.end_s * SAMPLE_RATE)
  assert np.abs(samples[end : end + 2000]).max() > 1e-3

  stretch = samples[int(0.3 * SAMPLE_RATE) : int(0.7 * SAMPLE_RATE)].sum(1)
  power = np.abs(np.fft.rfft(stretch * np.hanning(len(stretch)), 1 << 18))
  hertz = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)
  for key in (60, 64, 67):
    expected = 440 * 2 ** ((key - 69) / 12)
    near = (hertz > expected * 0.98) & (hertz < expected * 1.02)
    found = hertz[near][np.argmax(power[near])]
    assert abs(1200 * np.log2(found / expected)) < 10
