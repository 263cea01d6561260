"""Library of MIDI files: ranking, cache, errors of files."""

import numpy as np
import pytest

from magenta_midi.midi import Score
from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.style.library import (
  EmbeddingCache,
  embed_library,
  midi_files,
  model_key,
)


@pytest.fixture
def folder(tmp_path, slow, busy):
  inside = tmp_path / "music" / "inside"
  inside.mkdir(parents=True)
  slow.to_file(inside / "slow.MID")
  busy.to_file(tmp_path / "music" / "busy.mid")
  Score.empty().to_file(tmp_path / "music" / "silent.mid")
  (tmp_path / "music" / "bad.mid").write_bytes(b"not MIDI")
  (tmp_path / "music" / "notes.txt").write_text("no music")
  return tmp_path / "music"


class Counting(DescriptorStyle):
  calls = 0

  def embed(self, prompt):
    type(self).calls += 1
    return super().embed(prompt)


def test_the_nearest_come_first_and_bad_files_are_listed(model, folder):
  seen = []
  library = embed_library(
    model,
    midi_files(folder),
    EmbeddingCache(None, ""),
    on_file=lambda path: seen.append(path.name),
  )
  assert seen == ["bad.mid", "busy.mid", "slow.MID", "silent.mid"]
  for text, first in (("slow ballad", "slow.MID"), ("busy loud", "busy.mid")):
    query = model.embed(text)
    ranked = library.ranked(query)
    assert next(path.name for path, _ in ranked) == first
    path, cosine = ranked[0]
    assert cosine == pytest.approx(float(model.embed(path) @ query), abs=1e-5)
    assert ranked[0][1] > ranked[1][1]
  reasons = {path.name: reason for path, reason in library.refused}
  assert set(reasons) == {"bad.mid", "silent.mid"}
  assert reasons["silent.mid"] == "holds no notes"


def test_cached_files_are_not_embedded_again(folder, tmp_path):
  model, database = Counting(), tmp_path / "new" / "style.sqlite"
  found = []
  for _ in range(2):
    with EmbeddingCache(database, "key") as cache:
      found.append(embed_library(model, midi_files(folder), cache))
  assert [library.cached for library in found] == [0, 2]
  assert Counting.calls == 2
  np.testing.assert_array_equal(found[0].vectors, found[1].vectors)
  # By content, not by name; separate for each model.
  (folder / "busy.mid").rename(folder / "renamed.mid")
  with EmbeddingCache(database, "key") as cache:
    assert embed_library(model, midi_files(folder), cache).cached == 2
  with EmbeddingCache(database, "other") as cache:
    assert embed_library(model, midi_files(folder), cache).cached == 0


def test_a_broken_cache_is_ignored(folder, tmp_path, model):
  database = tmp_path / "style.sqlite"
  database.write_bytes(b"no database" * 1000)
  (tmp_path / "file").write_text("")
  for path in (database, tmp_path / "file" / "style.sqlite"):
    with EmbeddingCache(path, "key") as cache:
      library = embed_library(model, midi_files(folder), cache)
    assert len(library.paths) == 2
    assert library.cached == 0


def test_the_key_of_a_model_depends_on_its_embeddings():
  class Other(DescriptorStyle):
    def embed(self, prompt):
      return super().embed(prompt)[::-1]

  assert model_key(DescriptorStyle()) == model_key(Counting())
  assert model_key(DescriptorStyle()) != model_key(Other())


def test_folders_without_music(tmp_path):
  with pytest.raises(ValueError, match="no such folder"):
    midi_files(tmp_path / "absent")
  with pytest.raises(ValueError, match="holds no MIDI files"):
    midi_files(tmp_path)
