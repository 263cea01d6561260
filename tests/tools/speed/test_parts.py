"""What the parts of live play cost: each is really called."""

import pytest
from click.testing import CliRunner

from tools.speed import parts as bench_parts
from tools.speed.parts import main, parts, timed_s


def test_every_part_has_a_row_and_its_share(tmp_path):
  found = CliRunner().invoke(main, ["--repeat", "1"])
  assert found.exit_code == 0, found.output
  _, _, *rows = found.output.splitlines()
  assert [row.split(" | ")[0] for row in rows] == [
    f"| {part.name}" for part in parts(tmp_path)
  ]
  assert all(row.endswith("% |") for row in rows)


@pytest.mark.parametrize(
  ("takes_s", "runs", "calls"),
  [
    # Short: 2 ms of calls a run, after the first two.
    (0.5e-3, 3, 2 + 3 * 4),
    # Long: as many runs as 5 s have room for.
    (2.0, 2, 2 + 2),
    (9.0, 1, 2 + 1),
  ],
)
def test_short_calls_are_timed_many_at_once(monkeypatch, takes_s, runs, calls):
  called = []
  monkeypatch.setattr(
    bench_parts.time, "thread_time", lambda: takes_s * len(called)
  )
  found = timed_s(lambda: called.append(1), 3)
  assert found == pytest.approx([takes_s] * runs)
  assert len(called) == calls
