import io

import mido
import numpy as np
import pytest

from magenta_midi.midi import TempoMap
from magenta_midi.midi.bar_map import BarMap
from magenta_midi.midi.io.encoding import encode_tempo
from magenta_midi.midi.meter import Meter


def test_a_tempo_file_in_hex():
  bars = BarMap(TempoMap.constant(90), ((0.0, Meter(3, 4)),))
  data = encode_tempo(bars, end_s=2.0)
  assert data.hex(" ") == (
    "4d 54 68 64 00 00 00 06 00 00 00 01 01 e0"  # type 0, a track, 480 a beat
    " 4d 54 72 6b 00 00 00 1d"
    " 00 ff 03 05 74 65 6d 70 6f"  # "tempo"
    " 00 ff 51 03 0a 2c 2b"  # 666,667 us a beat
    " 00 ff 58 04 03 02 18 08"  # 3/4
    " 8b 20 ff 2f 00"  # after 3 beats
  )


@pytest.mark.parametrize("end_s", [0.0, 9.5, 4000.0])
def test_mido_reads_every_change_where_it_is(end_s):
  tempo = TempoMap(np.array([0.0, 2.0, 7.25]), np.array([60.0, 90.5, 200.0]))
  counts = [(0.0, 4), (1.5, 4), (2.0, 3), (8.0, 5)]
  meters = tuple((time_s, Meter(count, 4)) for time_s, count in counts)
  data = encode_tempo(BarMap(tempo, meters), end_s=end_s)
  file = mido.MidiFile(file=io.BytesIO(data))
  assert (file.type, len(file.tracks)) == (0, 1)
  tick, found = 0, []
  for message in file.tracks[0]:
    tick += message.time
    found.append((message.type, tick))
  last_s = max(end_s, 8.0)
  expected = [0, 0, 0, 2.0, 2.0, 7.25, 8.0, last_s]
  kinds = ["track_name", "set_tempo", "time_signature", "set_tempo"]
  kinds += ["time_signature", "set_tempo", "time_signature", "end_of_track"]
  assert [kind for kind, _ in found] == kinds
  beats = tempo.beats_at(np.array(expected))
  np.testing.assert_allclose([tick for _, tick in found], beats * 480, atol=0.5)
  # And byte for byte as mido would write it.
  again = io.BytesIO()
  file.save(file=again)
  assert again.getvalue() == data
