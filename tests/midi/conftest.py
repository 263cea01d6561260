"""MIDI files written out by hand, and scores drawn at random."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st


def bytes_of(text: str) -> bytes:
  """Hex with comments from # to the end of the line."""
  return bytes.fromhex("".join(x.split("#")[0] for x in text.splitlines()))


def midi(
  *tracks: str, kind: int = 1, division: int = 0x60, end: bool = True
) -> bytes:
  """A file of these tracks; 0x60 ticks a beat are 5.2 ms each at 120 bpm."""
  data = struct.pack(">4sIHHH", b"MThd", 6, kind, len(tracks), division)
  for track in tracks:
    body = bytes_of(track) + (b"\0\xff\x2f\0" if end else b"")
    data += struct.pack(">4sI", b"MTrk", len(body)) + body
  return data


@pytest.fixture(name="midi", scope="session")
def _midi() -> Callable[..., bytes]:
  return midi


@pytest.fixture(name="bytes_of", scope="session")
def _bytes_of() -> Callable[[str], bytes]:
  return bytes_of


@st.composite
def _scores(draw: st.DrawFn, *, gap_s: float = 0.0) -> dict[str, Any]:
  """Arguments of `Score.from_arrays`, up to 3 parts; times on a grid if any.

  The type checker draws random numbers, which Hypothesis forbids in here:
  the test builds the score.
  """
  parts = draw(st.integers(1, 3))
  seconds = st.floats(0, 200) if not gap_s else st.integers(0, 4000)
  scale = gap_s or 1.0
  notes = draw(
    st.lists(
      st.tuples(
        seconds,
        seconds,
        st.integers(0, 127) | st.sampled_from([60, 62]),
        st.integers(1, 127),
        st.integers(0, parts - 1),
      ),
      max_size=40,
    )
  )
  pedal = draw(
    st.lists(
      st.tuples(seconds, st.booleans(), st.integers(0, parts - 1)),
      max_size=20,
    )
  )
  columns = np.array(notes, float).reshape(-1, 5)
  rows = np.array(pedal, float).reshape(-1, 3)
  return dict(
    onset_s=columns[:, 0] * scale,
    duration_s=columns[:, 1] * scale,
    key=columns[:, 2],
    velocity=columns[:, 3],
    part=columns[:, 4],
    pedal=rows * [scale, 1, 1],
    part_names=[f"part {i}" for i in range(parts)],
  )


@pytest.fixture(scope="session")
def scores() -> Callable[..., st.SearchStrategy[dict[str, Any]]]:
  return _scores
