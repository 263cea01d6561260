import pytest

from magenta_midi.midi.harmony.charts import read_chart
from magenta_midi.midi.meter import Meter


def test_text_files_and_links(tmp_path):
  text = tmp_path / "tune.txt"
  text.write_text("Title: So\n| C | F |", encoding="utf-8")
  page = tmp_path / "tunes.html"
  page.write_text('<a href="irealbook://A=B=C=D=n=[C |F |G Z">')
  assert read_chart("| C | F |", meter=Meter(3, 4)).beats == 6
  assert read_chart(str(text)).title == "So"
  assert len(read_chart(str(page)).bars) == 3


@pytest.mark.parametrize("source", ["", "Em7 A7", "\x1b[2J"])
def test_what_is_no_chart_is_one_line(source):
  with pytest.raises(ValueError, match="a chart must be bars") as error:
    read_chart(source)
  assert str(error.value).isprintable()


def test_files_are_named(tmp_path):
  with pytest.raises(OSError, match=r"none\.txt"):
    read_chart(str(tmp_path / "none.txt"))
  bad = tmp_path / "bad.txt"
  bad.write_text("| C | Hm |")
  with pytest.raises(ValueError, match=r"bad\.txt: bar 2: 'Hm'"):
    read_chart(str(bad))
