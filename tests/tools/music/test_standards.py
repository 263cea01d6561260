from magenta_midi.midi.harmony.charts import read_chart
from tools.music.standards import CHARTS


def test_every_chart_reads_and_has_its_bars():
  charts = {path.stem: read_chart(str(path)) for path in CHARTS.glob("*.txt")}
  assert len(charts) == 12
  assert all(chart.bpm and chart.title for chart in charts.values())
  bars = {name: len(chart.bars) for name, chart in charts.items()}
  assert bars["blues"] == 12
  assert bars["rhythm_changes"] == bars["so_what"] == 32
  assert bars["autumn_leaves"] == bars["take_the_a_train"] == 32
  assert bars["all_the_things"] == 36
  assert charts["jazz_waltz"].meter == (3, 4)
