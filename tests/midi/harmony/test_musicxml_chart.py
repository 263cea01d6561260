import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.bounded_files import XML_BYTES
from magenta_midi.midi.harmony.charts import read_chart
from magenta_midi.midi.harmony.musicxml_chart import (
  parse_musicxml_chart,
  read_musicxml_chart,
)
from magenta_midi.midi.harmony.text_chart import chart_text, read_chart_text

IMPLICIT = '<measure implicit="yes">'
NOTE = "<note><pitch/><duration>{}</duration></note>"


def harmony(
  root: str, kind: str, *, degrees: str = "", bass: str = "", text: str = ""
) -> str:
  step, alter = root[0], root[1:].count("#") - root[1:].count("b")
  low = f"<bass><bass-step>{bass}</bass-step></bass>" if bass else ""
  return (
    f"<harmony><root><root-step>{step}</root-step>"
    f"<root-alter>{alter}</root-alter></root>"
    f'<kind text="{text}">{kind}</kind>{low}{degrees}</harmony>'
  )


def degree(value: int, alter: int, kind: str) -> str:
  return (
    f"<degree><degree-value>{value}</degree-value><degree-alter>{alter}"
    f"</degree-alter><degree-type>{kind}</degree-type></degree>"
  )


def score(
  *measures: str,
  head: str = "",
  doctype: str = "",
  implicit: tuple[int, ...] = (),
) -> bytes:
  attributes = (
    "<attributes><divisions>2</divisions><time><beats>4</beats>"
    "<beat-type>4</beat-type></time></attributes>"
  )
  inside = "".join(
    f"{IMPLICIT if n in implicit else '<measure>'}"
    f"{attributes if not n else ''}{measure}</measure>"
    for n, measure in enumerate(measures)
  )
  return (
    f'<?xml version="1.0" encoding="UTF-8"?>{doctype}<score-partwise>{head}'
    f"<part-list/><part>{inside}</part></score-partwise>"
  ).encode()


def names(data: bytes) -> str:
  return " | ".join(
    " ".join(chord.name for _, chord in bar.changes)
    for bar in parse_musicxml_chart(data).bars
  )


def test_kinds_degrees_and_bass():
  data = score(
    harmony("Bb", "major-seventh"),
    harmony("F#", "half-diminished"),
    harmony("C", "dominant", degrees=degree(9, -1, "add"), bass="G"),
    harmony("D", "minor", degrees=degree(5, 0, "subtract")),
    harmony("E", "dominant", degrees=degree(5, 1, "alter")),
    harmony("G", "other", text="7alt"),
    "<harmony><kind>none</kind></harmony>",
  )
  assert names(data) == (
    "Bbmaj7 | F#m7b5 | C7 b9/G | Dm no5 | E7 #5 | G7alt | N.C."
  )


def test_chords_stand_where_the_notes_stand():
  data = score(
    harmony("C", "major")
    + NOTE.format(6)
    + harmony("F", "major")
    + NOTE.format(2),
    harmony("G", "major") + NOTE.format(8),
  )
  bars = parse_musicxml_chart(data).bars
  assert [beat for beat, _ in bars[0].changes] == [0.0, 3.0]


def test_repeats_endings_meter_title_and_tempo():
  begin = '<barline><repeat direction="forward"/></barline>'
  end = '<barline><repeat direction="backward"/></barline>'
  first = '<barline><ending number="1" type="start"/></barline>'
  stop = '<barline><ending number="1" type="stop"/></barline>'
  data = score(
    '<sound tempo="90"/>' + begin + harmony("C", "major"),
    first + harmony("F", "major") + stop + end,
    harmony("G", "major"),
    "<attributes><time><beats>3</beats><beat-type>4</beat-type></time>"
    "</attributes>" + harmony("A", "major"),
    head="<work><work-title>So and so</work-title></work>",
  )
  chart = parse_musicxml_chart(data)
  assert names(data) == "C | F | C | G | A"
  assert chart.bars[-1].meter == (3, 4)
  assert (chart.title, chart.bpm) == ("So and so", 90.0)


def test_a_pickup_is_no_bar_and_two_parts_of_a_bar_are_one():
  data = score(
    NOTE.format(2),
    harmony("C", "major") + NOTE.format(8),
    harmony("F", "major") + NOTE.format(6),
    harmony("G", "major") + NOTE.format(2),
    harmony("A", "major") + NOTE.format(8),
    implicit=(0, 3),
  )
  assert names(data) == "C | F G | A"
  assert parse_musicxml_chart(data).bars[1].changes[1][0] == 3.0


def test_a_transposing_part_says_what_sounds():
  clarinet = (
    "<attributes><transpose><diatonic>-1</diatonic>"
    "<chromatic>-2</chromatic></transpose></attributes>"
  )
  data = score(clarinet + harmony("D", "major") + harmony("E", "minor"))
  assert names(score(clarinet + harmony("D", "major"))) == "C"
  assert len(parse_musicxml_chart(data).bars) == 1


def test_thirds_of_a_beat_stay_where_they_are():
  meter = (
    "<attributes><divisions>1</divisions><time><beats>6</beats>"
    "<beat-type>8</beat-type></time></attributes>"
  )
  note = "<note><pitch/><duration>0.5</duration></note>"
  data = score(
    meter
    + harmony("C", "major")
    + note * 3
    + harmony("F", "major")
    + note * 2
    + harmony("G", "major")
    + note
  )
  chart = parse_musicxml_chart(data)
  again = read_chart_text(chart_text(chart))
  for bars in (chart.bars, again.bars):
    beats = [beat for beat, _ in bars[0].changes]
    assert beats == pytest.approx([0, 1, 5 / 3])


def test_a_packed_score(tmp_path):
  path = tmp_path / "tune.mxl"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("META-INF/container.xml", "<container/>")
    archive.writestr("tune.xml", score(harmony("C", "major")))
  assert read_chart(str(path)).beats == 4


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
  ("data", "said"),
  [
    (b"", "is no XML"),
    (b"<score-partwise>", "is no XML"),
    (b"<a/>", "by parts"),
    (b"<score-partwise/>", "has no part"),
    (b"<score-partwise><part/></score-partwise>", "has no bars"),
    (score("", ""), "has no chord symbols"),
    (score("", harmony("H", "major")), "bar 2: 'H' is no chord"),
    (score("<harmony><kind>major</kind></harmony>"), "bar 1: .* no root"),
    (score(harmony("C", "other", text="Tristan")), "bar 1: 'CTristan'"),
    (score("<note><duration>x</duration></note>"), "bar 1: a number"),
    (score(harmony("C", "major"), doctype=LAUGHS), "entities"),
    (b"<a>" * 100 + b"</a>" * 100, "nested deeper"),
    (b'<?xml version="1.0" encoding="nope"?><a/>', "is no XML"),
  ],
)
def test_bad_scores_give_one_line(data, said):
  with pytest.raises(ValueError, match=said) as error:
    parse_musicxml_chart(data)
  assert str(error.value).isprintable()


def test_large_and_damaged_files_are_refused(tmp_path):
  large = tmp_path / "large.xml"
  large.write_bytes(b" " * (XML_BYTES + 1))
  with pytest.raises(OSError, match="MiB"):
    read_musicxml_chart(large)
  bomb = tmp_path / "bomb.mxl"
  with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("tune.xml", b" " * (XML_BYTES + 1))
  with pytest.raises(ValueError, match=r"bomb\.mxl: its score has more"):
    read_chart(str(bomb))
  broken = tmp_path / "broken.mxl"
  broken.write_bytes(bomb.read_bytes()[:-40])
  with pytest.raises(ValueError, match="damaged archive"):
    read_chart(str(broken))


@given(st.data())
def test_a_damaged_score_is_a_chart_or_one_line(data):
  whole = bytearray(score(harmony("C", "major"), harmony("G", "dominant")))
  for _ in range(data.draw(st.integers(0, 4))):
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
  try:
    parse_musicxml_chart(bytes(whole))
  except ValueError as error:
    assert str(error).isprintable()


@given(st.binary(max_size=200))
def test_a_damaged_archive_is_one_line(tail):
  from magenta_midi.midi.harmony.musicxml_chart import _unpacked

  packed = io.BytesIO()
  with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("tune.xml", score(harmony("C", "major")))
  data = packed.getvalue()
  try:
    _unpacked(data[: len(data) // 2] + tail + data[len(data) // 2 :])
  except ValueError as error:
    assert str(error)
