"""What is struck of a chart, and when."""

import pytest

from magenta_midi.midi.harmony.comping import comp_hits, comp_velocity
from magenta_midi.midi.harmony.text_chart import read_chart_text


def beats(text):
  return [hit.beat for hit in comp_hits(read_chart_text(text))]


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("| Dm7 | G7 |", [0, 2, 4, 6]),
    ("| Dm7 G7 |", [0, 2]),
    ("| Dm7 / / G7 |", [0, 2, 3]),
    ("| Dm7 | % |", [0, 2, 4, 6]),
    ("| 3/4 F | C |", [0, 2, 3, 5]),
    ("| 6/8 F | C |", [0, 1, 2, 3]),
    ("| 5/4 F |", [0, 3]),
    ("| 2/4 F C |", [0, 1]),
    ("| N.C. | C |", [0, 4, 6]),
  ],
)
def test_hits_stand_on_beats(text, expected):
  assert beats(text) == expected


def test_no_chord_is_silence():
  silence, *rest = comp_hits(read_chart_text("| N.C. | C |"))
  assert silence.keys == () and silence.ends
  assert all(hit.keys for hit in rest)


def test_the_bass_sounds_through_and_the_restatement_is_softer():
  first, again, *_ = comp_hits(read_chart_text("| Dm7 | G7 |"))
  (bass, bass_beats), *shell = first.keys
  assert bass < 49 and 3.5 < bass_beats < 4
  assert [key for key, _ in again.keys] == [key for key, _ in shell]
  assert all(length < 2 for _, length in (*shell, *again.keys))
  assert not again.ends
  assert comp_velocity(again, 80, 0) < comp_velocity(first, 80, 0) < 80


def test_nothing_sounds_over_the_next_chord():
  chart = read_chart_text("| Dm7 G7 | C / / A7 | 3/4 F | % | N.C. |")
  hits = comp_hits(chart)
  ends = [hit.beat for hit in hits if hit.ends] + [chart.beats]
  for hit in hits:
    following = min(end for end in ends if end > hit.beat)
    assert all(hit.beat + length < following for _, length in hit.keys)


def test_a_round_leads_into_the_next():
  hits = comp_hits(read_chart_text("| C | F | Bb | Eb | Ab | Db | Gb | B |"))
  (_, *last), (_, *first) = hits[-2].keys, hits[0].keys
  for key, _ in first:
    assert min(abs(key - old) for old, _ in last) <= 2


@pytest.mark.parametrize("loudness", [-30, 0, 30])
@pytest.mark.parametrize("player", [1, 64, 127])
def test_velocities_are_velocities(player, loudness):
  for hit in comp_hits(read_chart_text("| C |")):
    assert 1 <= comp_velocity(hit, player, loudness) <= 127
  assert comp_velocity(hit, 127, 0) < 127
