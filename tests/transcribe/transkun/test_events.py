"""Events of segments, joined."""

import itertools

import numpy as np
import pytest

from magenta_midi.transcribe.transkun.events import (
  EventJoiner,
  SegmentEvent,
  score_of_events,
  segment_events,
)


def event(onset_s, offset_s, *, onset=True, offset=True, target=60):
  return SegmentEvent(target, onset_s, offset_s, 70, onset, offset)


def joined(*segments):
  joiner = EventJoiner()
  for events in segments:
    joiner.add(events)
  return [(one.onset_s, one.offset_s) for one in joiner.finish()]


def test_a_note_of_two_segments_is_one():
  begun = event(7.0, 8.0, offset=False)
  assert joined([begun], [event(6.0, 9.0, onset=False)]) == [(7.0, 9.0)]


def test_a_note_of_three_segments_is_one():
  goes_on = event(8.0, 16.0, onset=False, offset=False)
  ends = event(15.0, 17.0, onset=False)
  begun = event(7.0, 9.0, offset=False)
  assert joined([begun], [goes_on], [ends]) == [(7.0, 17.0)]


def test_the_newer_segment_is_believed_where_both_show_an_onset():
  assert joined([event(7.0, 7.5)], [event(7.1, 9.0)]) == [(7.1, 9.0)]


def test_notes_side_by_side_stay_two():
  assert joined([event(1.0, 2.0)], [event(2.0, 3.0)]) == [
    (1.0, 2.0),
    (2.0, 3.0),
  ]


def test_a_rest_without_a_beginning_is_left_out():
  assert joined([event(0.0, 1.0, onset=False)]) == []


def test_the_last_note_ends_with_the_audio():
  assert joined([event(1.0, 2.0, offset=False)]) == [(1.0, 2.0)]
  # An earlier one that never ended is none.
  unended = event(1.0, 2.0, offset=False)
  assert joined([unended, event(3.0, 4.0)]) == [(3.0, 4.0)]


def test_what_lies_before_the_audio_is_left_out():
  assert joined([event(0.0, 0.0), event(0.0, 1.0)]) == [(0.0, 1.0)]


def test_pedal_and_notes_become_a_score_and_the_soft_pedal_does_not():
  score = score_of_events(
    [
      event(1.0, 2.0, target=-64),
      event(1.5, 2.5, target=-67),
      event(0.5, 1.5),
    ]
  )
  assert score.notes["onset_s"].tolist() == [0.5]
  assert score.pedals["time_s"].tolist() == [1.0, 2.0]
  assert score.pedals["down"].tolist() == [True, False]
  assert not len(score_of_events([]))


def segment(intervals, times, **given):
  settings = dict(frame_s=0.1, start_s=8.0, last_frame=20) | given
  return segment_events(
    [intervals], [60], np.full(len(intervals), 70), np.array(times), **settings
  )


@pytest.mark.parametrize(
  "logit", [-8.0, -1.0, -0.02, -1e-3, 0.0, 1e-3, 1.0, 8.0]
)
def test_times_lie_where_the_mean_of_the_distribution_is(logit):
  (found,) = segment([(5, 9)], [[logit, 0.0, 0.0, 0.0]])
  x = np.linspace(0, 1, 100_001)
  weight = np.exp(logit * x)
  mean = float((x * weight).sum() / weight.sum())
  share = np.clip((mean - 0.5) / 0.99, -0.5, 0.5)
  assert found.onset_s == pytest.approx(8.0 + (5 + share) * 0.1, abs=1e-6)
  assert found.offset_s == pytest.approx(8.0 + 9 * 0.1)


def test_only_at_the_edges_the_logits_decide_whether_a_note_begins_or_ends():
  no = [0.0, 0.0, -1.0, -1.0]
  yes = [0.0, 0.0, 1.0, 1.0]
  inner, left, right = segment([(1, 5), (6, 8), (9, 20)], [no, no, no])
  assert (inner.has_onset, inner.has_offset) == (True, True)
  assert (right.has_onset, right.has_offset) == (True, False)
  (first,) = segment([(0, 5)], [no])
  assert (first.has_onset, left.has_onset) == (False, True)
  (first, last) = segment([(0, 5), (6, 21)], [yes, yes])
  assert first.has_onset and last.has_offset


def test_events_of_a_key_never_overlap_and_none_begins_before_the_audio():
  events = segment(
    [(0, 5), (5, 5), (5, 8)],
    [[-9.0, 9.0, 1, 1], [-9.0, -9.0, 1, 1], [-9.0, 0.0, 1, 1]],
    start_s=-0.3,
  )
  for before, after in itertools.pairwise(events):
    assert before.offset_s <= after.onset_s
  assert events[0].onset_s == 0.0
  assert all(one.onset_s < one.offset_s for one in events)
