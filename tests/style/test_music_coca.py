"""MusicCoCa; if magenta-rt is installed, its real class with random weights.

`make test-magenta` runs all of it in a separate environment.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from magenta_midi.audio.piano import synthesize
from magenta_midi.audio.wav import write_wav
from magenta_midi.midi import Score
from magenta_midi.style import MASK_TOKEN, StyleModel
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.music_coca import CODES, LEVELS, WEIGHTS, MusicCoCa
from magenta_midi.style.registry import STYLE_MODELS, get_style_model
from magenta_midi.style.waveform import Waveform

INSTALLED = importlib.util.find_spec("magenta_rt") is not None
needs_package = pytest.mark.skipif(
  not INSTALLED, reason="magenta-rt is not installed (make test-magenta)"
)


def noise(seconds, rate=16000, channels=1, seed=0):
  normal = np.random.default_rng(seed).standard_normal
  return Waveform(normal((round(seconds * rate), channels)) / 10, rate)


@pytest.fixture(scope="session")
def random(tmp_path_factory):
  """Weights of a small MusicCoCa, in a home folder."""
  from magenta_midi.testing.music_coca import write_music_coca

  home = tmp_path_factory.mktemp("home")
  folder = home / "magenta-rt-v2" / "resources" / "musiccoca"
  return write_music_coca(folder), home


@pytest.fixture
def home(monkeypatch, tmp_path):
  """Changes the home of the package, which reads MAGENTA_HOME at import."""
  from magenta_rt import paths

  before = paths.magenta_home()
  yield lambda path: paths.set_magenta_home(path / "magenta-rt-v2")
  paths.set_magenta_home(before)


@pytest.fixture
def coca(random, home):
  home(random[1])
  return MusicCoCa()


@pytest.fixture(scope="session")
def pieces(random):
  import sentencepiece

  folder = random[1] / "magenta-rt-v2" / "resources" / "musiccoca"
  return sentencepiece.SentencePieceProcessor(
    model_file=str(folder / "spm.model")
  )


def test_is_a_style_model():
  model = MusicCoCa(6)
  assert isinstance(model, StyleModel)
  assert (model.levels, model.table_rows) == (6, 1 + 6 * 1024)
  assert MusicCoCa().table_rows == 1 + LEVELS * CODES


@pytest.mark.parametrize("levels", [0, 13, -1])
def test_levels_are_refused(levels):
  with pytest.raises(ValueError, match=rf"1\.\.12 levels, got {levels}"):
    MusicCoCa(levels)


def test_registry():
  for name in STYLE_MODELS:
    assert get_style_model(name).name == name
  assert isinstance(get_style_model(), MidiCoCa)
  assert get_style_model("musiccoca", levels=6).levels == 6
  with pytest.raises(ValueError, match=r"one of midicoca, .*got 'mulan'"):
    get_style_model("mulan")
  with pytest.raises(ValueError, match="descriptors has 6 levels, but 4"):
    get_style_model("descriptors", levels=4)


def test_import_is_light():
  code = (
    "import sys, magenta_midi.style.music_coca\n"
    "heavy = {'magenta_rt', 'soundfile', 'sentencepiece', 'tensorflow', 'jax'}"
    "\nprint(sorted(heavy & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("what", ["embed", "tokenize"])
def test_package_is_absent(monkeypatch, what):
  for name in ("magenta_rt", "magenta_rt.musiccoca", "sentencepiece"):
    monkeypatch.setitem(sys.modules, name, None)
  given = {"embed": "slow", "tokenize": np.ones(768, np.float32)}[what]
  with pytest.raises(ValueError, match="package magenta-rt") as error:
    getattr(MusicCoCa(), what)(given)
  line = str(error.value)
  assert "pip install 'magenta-midi[magenta]'" in line
  assert "mrt models init" in line and "embedded checkpoint" in line
  assert "\n" not in line


@pytest.mark.parametrize("as_text", [False, True])
def test_models_without_audio_refuse_audio(model, tmp_path, as_text):
  # The file does not exist, so it is not read.
  path = tmp_path / "Take 1.FLAC"
  item = str(path) if as_text else path
  for prompt in (item, [(item, 1.0), ("slow", 1.0)]):
    with pytest.raises(ValueError, match=r"not audio.*FLAC.*MIDI file") as got:
      model.embed(prompt)
    assert "\n" not in str(got.value)
  with pytest.raises(ValueError, match="not audio, got a Waveform"):
    model.embed(noise(1))


@pytest.mark.parametrize(
  ("sound", "message"),
  [
    (Waveform(np.zeros((16000, 2)), 16000), "silent"),
    (Waveform(np.ones((16000, 2)) * [0.5, -0.5], 16000), "silent"),
    (noise(0.01), r"at least 0\.1 s long, got 0\.010"),
  ],
)
def test_bad_sounds(sound, message):
  with pytest.raises(ValueError, match=message):
    MusicCoCa().embed(sound)


def test_midi_that_cannot_be_rendered(tmp_path):
  rest = Score.from_arrays(onset_s=[], duration_s=[], key=[], velocity=[])
  with pytest.raises(ValueError, match="must not be silent"):
    MusicCoCa().embed(rest)
  long = Score.from_arrays(
    onset_s=[0.0, 3600.0], duration_s=[1.0, 1.0], key=[60, 60], velocity=[9, 9]
  )
  with pytest.raises(ValueError, match=r"MIDI must be at most 59\d s.*3601"):
    MusicCoCa().embed(long)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty_text(text):
  with pytest.raises(ValueError, match="must have words"):
    MusicCoCa().embed(text)


def test_bad_embeddings():
  with pytest.raises(ValueError, match="768 finite numbers"):
    MusicCoCa().tokenize(np.full(768, np.nan))


@needs_package
def test_weights_are_absent(home, tmp_path):
  home(tmp_path)
  with pytest.raises(ValueError, match="weights are not at") as error:
    MusicCoCa().embed("slow")
  line = str(error.value)
  assert str(tmp_path) in line and "spm.model is missing" in line
  assert "mrt models init" in line and "embedded checkpoint" in line
  assert "\n" not in line
  assert not list(tmp_path.iterdir())


@needs_package
def test_the_command_in_the_message_exists():
  from click.testing import CliRunner
  from magenta_rt.cli import main

  result = CliRunner().invoke(main, ["models", "init", "--help"])
  assert result.exit_code == 0 and "musiccoca" in result.output


@needs_package
def test_magenta_home_is_used(random):
  # In a separate process, because the package reads it at import. Imports of
  # the package and of embedding are also checked there.
  code = (
    "import sys\n"
    "from magenta_midi.style.music_coca import MusicCoCa\n"
    "coca = MusicCoCa(6)\n"
    "print(coca.tokenize(coca.embed('slow waltz')).shape)\n"
    "print([m for m in ('jax', 'tensorflow') if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    env={**os.environ, "MAGENTA_HOME": str(random[1])},
  )
  assert done.stdout.split("\n")[:2] == ["(6,)", "[]"], done.stderr


@needs_package
@pytest.mark.parametrize("text", ["slow jazz", "GENTLE Waltz ", "slow slow"])
def test_text(coca, random, pieces, text):
  embedding = coca.embed(text)
  assert embedding.shape == (768,) and embedding.dtype == np.float32
  expected = random[0].text(pieces.encode(text.lower()))
  np.testing.assert_allclose(embedding, expected, atol=1e-5)


@needs_package
@pytest.mark.parametrize("levels", [1, 6, 12])
def test_tokens(coca, random, levels):
  shallow = MusicCoCa(levels)
  for text in ("slow jazz", "stride", "soft arpeggios"):
    embedding = coca.embed(text)
    tokens = shallow.tokenize(embedding)
    codes = random[0].codes(embedding)
    expected = [1 + 1024 * i + code for i, code in enumerate(codes)]
    assert tokens.tolist() == expected[:levels]
    assert tokens.dtype == np.int32 and MASK_TOKEN not in tokens
    assert tokens.max() < shallow.table_rows


@needs_package
def test_audio(coca, random):
  sound = noise(12.5, channels=2)
  mono = sound.samples.mean(axis=1)
  expected = (
    random[0].clip(mono[:160_000]) + random[0].clip(mono[160_000:])
  ) / 2
  np.testing.assert_allclose(coca.embed(sound), expected, atol=1e-5)


@needs_package
@pytest.mark.parametrize("rate", [8000, 44100])
def test_audio_of_another_rate(coca, rate):
  tone = [
    Waveform(np.sin(np.arange(5 * r)[:, None] * 2764 / r) / 2, r)
    for r in (16000, rate)
  ]
  a, b = (coca.embed(sound) for sound in tone)
  assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999


@needs_package
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_audio_files(coca, tmp_path, suffix):
  import soundfile

  path, sound = tmp_path / f"a.{suffix}", noise(3, rate=44100, channels=2)
  if suffix == "wav":
    write_wav(path, sound.samples, 44100)
  else:
    soundfile.write(path, sound.samples, 44100)
  embedding = coca.embed(sound)
  for prompt in (path, str(path)):
    read = coca.embed(prompt)
    likeness = (
      embedding @ read / np.linalg.norm(embedding) / np.linalg.norm(read)
    )
    assert likeness > (0.9 if suffix == "mp3" else 0.9999)


@needs_package
@pytest.mark.parametrize("scale", [1, 1e-3, 1e6])
def test_weights_are_normalized_once(coca, scale):
  a, b = coca.embed("slow jazz"), coca.embed(noise(1))
  mixed = coca.embed([("slow jazz", 3 * scale), (noise(1), 1 * scale)])
  # The vectors keep their lengths: the quantizer was fitted to them.
  np.testing.assert_allclose(mixed, 0.75 * a + 0.25 * b, atol=1e-5)
  np.testing.assert_allclose(coca.embed([("slow jazz", scale)]), a, atol=1e-6)


@needs_package
def test_bad_weights(coca):
  for weights, message in (
    ([1.0, -1.0], "not negative"),
    ([0.0, 0.0], "positive sum"),
  ):
    prompt = list(zip(["slow", "loud"], weights, strict=True))
    with pytest.raises(ValueError, match=message):
      coca.embed(prompt)


@needs_package
def test_midi_is_rendered_to_audio(coca, slow, tmp_path):
  slow.to_file(tmp_path / "a.mid")
  rendered = coca.embed(Waveform(synthesize(slow, 16000), 16000))
  one = Score.from_arrays(
    onset_s=[0.0], duration_s=[1.0], key=[60], velocity=[64]
  )
  assert (coca.embed(slow) == rendered).all()
  assert (coca.embed(one) != rendered).any()
  np.testing.assert_allclose(
    coca.embed(tmp_path / "a.mid"), rendered, atol=0.01
  )


@needs_package
@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("slow jazz " * 1000, r"at most 127 word pieces.*10000 characters"),
    ("ゆっくり", "knows none of the characters of 'ゆっくり'"),
    ("медленно и тихо", "knows none of the characters of"),
    ("", "must have words"),
  ],
)
def test_bad_text(coca, text, message):
  with pytest.raises(ValueError, match=message) as error:
    coca.embed(text)
  assert "\n" not in str(error.value)


@needs_package
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("data", [b"", b"no such thing" * 10])
def test_damaged_weights(random, home, tmp_path, name, data):
  folder = tmp_path / "magenta-rt-v2" / "resources" / "musiccoca"
  folder.mkdir(parents=True)
  source = random[1] / folder.relative_to(tmp_path)
  for other in WEIGHTS:
    os.symlink(source / other, folder / other)
  (folder / name).unlink()
  (folder / name).write_bytes(data)
  home(tmp_path)
  model = MusicCoCa()
  with pytest.raises(ValueError, match=r"cannot be used.*fetch them") as error:
    model.tokenize(model.embed([("slow", 1.0), (noise(1), 1.0)]))
  assert str(folder) in str(error.value) and "\n" not in str(error.value)
