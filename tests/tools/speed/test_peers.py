"""The parts of tools/speed/peers.py that need none of the peers."""

import pytest

from tools.speed import peers as bench_peers
from tools.speed.other_systems import shapes, tables


@pytest.mark.parametrize("parameters", [8_635_852, 20_000_000])
def test_a_fitted_t5_has_the_parameters_within_a_hundredth(parameters):
  shape = shapes.T5Shape(
    vocab=640, embed=256, heads=4, head_dim=64, mlp=0, layers=4
  )
  fitted = shapes.fitted(shape, parameters)
  assert fitted.parameters == pytest.approx(parameters, rel=0.01)
  assert fitted.mlp % 8 == 0


def test_parameters_are_what_transformers_counts():
  # `sum(p.numel() for p in model.parameters())` of transformers 5.23.
  shape = shapes.T5Shape(
    vocab=640, embed=256, heads=4, head_dim=64, mlp=840, layers=4
  )
  assert shape.parameters == 8_476_416


def test_a_shape_too_large_for_the_parameters_is_refused():
  shape = shapes.T5Shape(
    vocab=640, embed=256, heads=4, head_dim=64, mlp=0, layers=4
  )
  with pytest.raises(ValueError, match=r"parameters must be over .* got 1000"):
    shapes.fitted(shape, 1000)


def line(whole_ms: float, **others: float) -> dict:
  return dict(
    parameters=8_000_000,
    first_note_ms=dict(p50=20.0, p99=30.0),
    event_ms=dict(p50=whole_ms / 25, p99=9.0),
    encoder_ms=10.0,
    peak_memory_mb=400.0,
    **others,
  )


def test_ratios_are_of_medians_to_the_first_system():
  # One loud round in three changes no median.
  ours = [line(ms, rtf=2000 / ms) for ms in (50.0, 900.0, 50.0)]
  theirs = [line(ms, chunk_ms=ms) for ms in (400.0, 100.0, 500.0)]
  systems = [
    tables.over_rounds("ours", ours),
    tables.over_rounds("theirs", theirs),
  ]
  first, second = tables.ratio_rows(systems)
  assert first[:4] == ("ours", "8.00 M", "50.0", "1.00")
  assert second[:4] == ("theirs", "8.00 M", "400", "8.00")
  assert second[6:] == ("16.0", "8.00")
  details = tables.detail_rows(systems)[1]
  assert details[:3] == ("theirs", "5.00", "100 to 500")
  for head, row in (
    (tables.RATIO_HEAD, second),
    (tables.DETAIL_HEAD, details),
  ):
    assert len(head) == len(row)


def test_tables_go_between_their_marks_and_nothing_else_changes(tmp_path):
  begin, end = bench_peers.BEGIN, bench_peers.END
  page = tmp_path / "page.md"
  page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
  bench_peers.write_between(page, "new")
  assert page.read_text() == f"before\n{begin}\nnew\n{end}\nafter\n"
  page.write_text(f"before\n{begin}\nafter\n")
  with pytest.raises(OSError, match=r"no .* after it; add it"):
    bench_peers.write_between(page, "new")


def test_a_system_that_fails_is_left_out_and_ours_is_not():
  console = bench_peers.Console(quiet=True)

  def script(text: str) -> list[str]:
    return [bench_peers.sys.executable, "-c", text]

  good = script(f"import json; print(json.dumps({line(50.0, rtf=40.0)}))")
  bad = script("raise SystemExit('no such thing')")

  def comparison(*commands: list[str]):
    contestants = [
      bench_peers.Contestant(f"system {index}", command)
      for index, command in enumerate(commands)
    ]
    return bench_peers.Comparison("both", 8_000_000, contestants, 2)

  systems, missing, raw = bench_peers.take_turns(
    comparison(good, bad), {}, console
  )
  assert [system.chunk_ms for system in systems] == [[50.0, 50.0]]
  assert missing == {"system 1": "no such thing"}
  assert [entry["round"] for entry in raw] == [0, 1]
  with pytest.raises(OSError, match="both: no such thing"):
    bench_peers.take_turns(comparison(bad, good), {}, console)
