import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi import NOTE_DTYPE, PEDAL_DTYPE, Score, TempoMap


def notes(*rows, **more):
  """Rows of onset, duration, key and, if you like, velocity and part."""
  full = [(*row, *(64, 0)[len(row) - 3 :]) for row in rows]
  columns = list(zip(*full, strict=True))
  names = ("onset_s", "duration_s", "key", "velocity", "part")
  return Score.from_arrays(**dict(zip(names, columns, strict=True)), **more)


def check(score):
  """Everything the class promises."""
  n, p = score.notes, score.pedals
  order = np.lexsort((n["part"], n["key"], n["onset_s"]))
  assert (order == np.arange(len(n))).all()
  assert (n["duration_s"] > 0).all()
  for part in range(score.parts):
    own = p[p["part"] == part]
    assert (np.diff(own["time_s"]) > 0).all()
    assert own["down"].tolist() == [i % 2 == 0 for i in range(len(own))]
    for key in np.unique(n["key"]):
      voice = n[(n["part"] == part) & (n["key"] == key)]
      gap = np.diff(voice["onset_s"])
      assert (gap > 0).all()
      assert (voice["duration_s"][:-1] <= gap + 1e-9).all()


def test_same_key_overlap_ends_at_the_later_onset():
  score = notes((0, 5, 60), (2, 1, 60), (1, 5, 61))
  assert score.notes["duration_s"].tolist() == [2, 5, 1]
  assert score.repairs.overlaps_trimmed == 1
  assert score.repairs.messages() == [
    "notes ended at the next onset of their key: 1"
  ]


def test_notes_of_one_key_and_onset_become_one():
  score = notes((0, 2, 60, 30), (0, 1, 60, 90), (0, 1, 60, 50, 1))
  assert len(score) == 2
  assert score.notes[0].tolist() == (0, 2, 60, 90, 0)
  assert score.repairs.duplicates == 1


def test_a_note_of_no_length_gets_one():
  score = notes((0, 0, 60), (1, -1, 61))
  assert score.notes["duration_s"].tolist() == [0.01, 0.01]
  assert score.repairs.zero_length == 2


def test_merging_parts_unites_pedal_and_trims():
  score = notes(
    (0, 2, 60, 64, 0),
    (1, 1, 60, 64, 1),
    pedal=[(0, 1, 0), (1, 0, 0), (0.5, 1, 1), (2, 0, 1)],
    part_names=["left", "right"],
  )
  merged = score.merged()
  check(merged)
  assert merged.part_names == ("left + right",)
  assert merged.notes["duration_s"].tolist() == [1, 1]
  assert merged.pedals["time_s"].tolist() == [0, 2]
  assert merged.repairs.overlaps_trimmed == 1
  assert merged.merged() is merged


def test_crop_takes_onsets_inside_and_restates_the_pedal():
  score = notes(
    (0, 9, 60),
    (2, 9, 61),
    (3.5, 1, 62),
    (4, 1, 63),
    pedal=[(1, 1), (3, 0), (4, 1)],
    tempo=TempoMap(np.array([0.0, 1.0]), np.array([60.0, 90.0])),
  )
  part = score.crop(2, 4)
  assert part.notes["key"].tolist() == [61, 62]
  assert part.notes["onset_s"].tolist() == [0, 1.5]
  assert part.notes["duration_s"].tolist() == [9, 1]
  assert part.pedals["time_s"].tolist() == [0, 1]
  assert part.pedals["down"].tolist() == [True, False]
  assert part.tempo.equals(TempoMap.constant(90))
  # The pedal comes up at the very start: nothing to restate.
  assert not len(score.crop(3, 4).pedals)


def test_select_and_join_are_inverse():
  left = notes((0, 1, 60), (1, 1, 62), pedal=[(0, 1)], part_names=["left"])
  right = notes((0, 2, 60), (0.5, 1, 50), part_names=["right"])
  both = left.joined(right)
  check(both)
  assert both.part_names == ("left", "right")
  assert both.select(0).equals(left)
  assert both.select([1]).equals(right)
  turned = both.select([1, 0])
  assert turned.part_names == ("right", "left")
  assert turned.select(1).equals(left)


def test_end_and_length():
  assert Score.empty().end_s == 0
  assert Score.empty()
  assert len(Score.empty()) == 0
  score = notes((0, 5, 60), (1, 1, 61))
  assert score.end_s == 5
  assert notes((0, 5, 60), pedal=[(0, 1), (7, 0)]).end_s == 7
  assert repr(score) == "Score(2 notes, 0 pedal changes, 1 parts, 5.00 s)"


def test_arrays_cannot_be_changed():
  with pytest.raises(ValueError, match="read-only"):
    notes((0, 1, 60)).notes["key"] = 3


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ((-1, 1, 60), "onset must be finite and at least 0, got -1.0"),
    ((np.nan, 1, 60), "onset must be finite"),
    ((0, np.inf, 60), "duration must be finite, got inf"),
    ((0, 1, 128), r"key must be in 0\.\.127, got 128 \(note 0\)"),
    ((0, 1, 60, 0), r"velocity must be in 1\.\.127, got 0"),
    ((0, 1, 60.5), "key must be whole numbers, got 60.5"),
    ((0, 1, 70000), "key must be whole numbers"),
    ((0, 1, 60, 64, -1), "part must be in"),
  ],
)
def test_values_out_of_range_are_refused(row, message):
  with pytest.raises(ValueError, match=message):
    notes(row)


def test_other_wrong_arguments_are_refused():
  with pytest.raises(ValueError, match="equally long"):
    Score.from_arrays(onset_s=[0], duration_s=[], key=[1], velocity=[1])
  with pytest.raises(ValueError, match="rows of"):
    notes((0, 1, 60), pedal=[1, 2, 3])
  with pytest.raises(ValueError, match=r"parts must be in 0\.\.0"):
    notes((0, 1, 60, 64, 1), part_names=["one"])
  with pytest.raises(ValueError, match="different"):
    notes((0, 1, 60)).select([0, 0])
  with pytest.raises(ValueError, match="crop needs"):
    notes((0, 1, 60)).crop(3, 2)
  with pytest.raises(ValueError, match="Shift or crop"):
    notes((0, 1, 60)).shifted(-1)
  with pytest.raises(ValueError, match="notes must be a one-dimensional"):
    Score(notes=np.zeros(3))
  unsorted = np.zeros(2, NOTE_DTYPE)
  unsorted["onset_s"], unsorted["duration_s"] = [1, 0], 1
  unsorted["velocity"] = 1
  with pytest.raises(ValueError, match="sorted"):
    Score(notes=unsorted)
  with pytest.raises(ValueError, match="pedals must be sorted"):
    Score(
      notes=np.empty(0, NOTE_DTYPE),
      pedals=np.array([(1, True, 0), (0, False, 0)], PEDAL_DTYPE),
    )


def test_every_operation_keeps_the_promises(scores):
  @given(scores(), st.data())
  def run(arguments, data):
    score = Score.from_arrays(**arguments)
    check(score)
    check(score.merged())
    start = data.draw(st.floats(0, 100))
    cropped = score.crop(start, start + data.draw(st.floats(0, 100)))
    check(cropped)
    check(score.shifted(start))
    check(score.joined(cropped))
    check(score.select(data.draw(st.permutations(range(score.parts)))))
    assert len(score.crop(0, start)) + len(score.crop(start)) == len(score)

  run()
