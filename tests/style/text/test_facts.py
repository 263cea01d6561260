from pathlib import Path

import pytest

from magenta_midi.style.text.facts import PieceFacts, piece_facts, read_facts
from magenta_midi.style.text.phrases import load_phrases

ROLL = "piano roll;welte-red;publisher=Welte-Mignon;classical"


@pytest.mark.parametrize(
  ("row", "composer", "forms", "period", "genre"),
  [
    (
      ("Chopin/Carreño - Ballade op. 47", "Chopin, Frédéric", ROLL),
      "frédéric chopin",
      ("ballade",),
      "romantic",
      "classical",
    ),
    (
      ("Debussy_Preludes_Livre_1_x_cut_no_6", "Debussy", "classical"),
      "claude debussy",
      ("prelude",),
      "impressionist",
      "classical",
    ),
    (
      ("Strauss-Grünfeld/Serkin - Delirien-walzer", "Strauss, Josef", ROLL),
      "josef strauss",
      ("waltz",),
      "",
      "operetta",
    ),
    (
      ("Youmans/Johnson - Tea for two: fox-trot", "Youmans, Vincent", ROLL),
      "vincent youmans",
      ("fox trot",),
      "",
      "popular",
    ),
    (
      (
        "Wagner-Liszt/Hofmann - Overture",
        "Wagner, Richard",
        ROLL + ";arranger=X",
      ),
      "richard wagner",
      ("opera", "transcription"),
      "romantic",
      "classical",
    ),
    (
      ("Brahms/Haass - Cradle song: op. 49", "Brahms, Johannes", ROLL),
      "johannes brahms",
      ("lullaby", "song"),
      "romantic",
      "classical",
    ),
    (("123我爱你", "新乐尘符", "pop;key=Gb:maj"), "新乐尘符", (), "", "pop"),
    # The pianist Eugen d'Albert is not the composer.
    (
      ("Liszt/Albert - Etude", "Liszt, Franz", ROLL),
      "franz liszt",
      ("etude",),
      "romantic",
      "classical",
    ),
    (
      ("Carillon", "Li\u0361apunov, S. M. (Sergeĭ Mikhaĭlovich)", ROLL),
      "sergei liapunov",
      (),
      "romantic",
      "classical",
    ),
    (
      ("Valse", "Albert, Eugen d'", ROLL),
      "eugen d'albert",
      ("waltz",),
      "romantic",
      "classical",
    ),
    # An unknown composer stays as written.
    (("Polka", "Doe, Jane", ""), "jane doe", ("polka",), "", ""),
  ],
)
def test_rows_of_lists(row, composer, forms, period, genre):
  assert piece_facts(*row) == PieceFacts(composer, row[0], forms, period, genre)


@pytest.mark.parametrize(
  ("title", "composer", "forms", "genre"),
  [
    ("Nocturne_in_E_minor", "", ("nocturne",), ""),
    ("chopin_op9_no2", "frédéric chopin", (), "classical"),
    ("The Entertainer - Scott Joplin", "scott joplin", (), "ragtime"),
    ("Maple Leaf Rag", "", ("rag",), "ragtime"),
    ("Art Tatum - Mean To Me", "art tatum", (), "jazz"),
    ("In the fall", "", (), ""),
    ("Étude", "", ("etude",), ""),
    ("dragon", "", (), ""),
    ("", "", (), ""),
  ],
)
def test_bare_file_names(title, composer, forms, genre):
  found = piece_facts(title)
  assert (found.composer, found.forms, found.genre) == (composer, forms, genre)


def test_every_form_is_found_by_its_own_titles():
  for name, form in load_phrases().forms.items():
    for title in form.titles:
      assert name in piece_facts(f"Op. 3: {title.title()}, no. 1").forms


def test_read_facts_of_a_listed_folder(tmp_path):
  folder = tmp_path / "rolls"
  (tmp_path / "rolls.csv").write_text(
    "path,title,composer,tags,split\n"
    'red/a.mid,Walzer,"Schubert, Franz",classical,train\n'
    "b.mid,,,pop,train\n",
    encoding="utf-8",
  )
  listed, untitled, unlisted = read_facts(
    folder, ["red/a.mid", "b.mid", "red/Bach fugue.mid"]
  )
  assert listed == PieceFacts(
    "franz schubert", "Walzer", ("waltz",), "romantic", "classical"
  )
  assert (untitled.title, untitled.genre) == ("b", "pop")
  assert unlisted.composer == "johann sebastian bach"
  assert unlisted.forms == ("fugue",)


def test_read_facts_with_only_a_path_column_and_without_a_list(tmp_path):
  (tmp_path / "x.csv").write_text("path\nwaltz.mid\n", encoding="utf-8")
  for folder in (tmp_path / "x", tmp_path / "y"):
    assert read_facts(folder, ["waltz.mid"])[0].forms == ("waltz",)
  assert read_facts(Path(tmp_path / "x"), []) == ()
