"""What the parts of live play cost: each is really called."""

from bench_parts import main, parts, timed_s
from click.testing import CliRunner


def test_every_part_has_a_row_and_its_share(tmp_path):
  found = CliRunner().invoke(main, ["--repeat", "1"])
  assert found.exit_code == 0, found.output
  _, _, *rows = found.output.splitlines()
  assert [row.split(" | ")[0] for row in rows] == [
    f"| {part.name}" for part in parts(tmp_path)
  ]
  assert all(row.endswith("% |") for row in rows)


def test_what_is_short_is_called_many_times_a_run():
  called = []
  found = timed_s(lambda: called.append(1), 3)
  assert len(found) == 3 and len(called) >= 3 * 100
  assert (found > 0).all() and found.max() < 1e-3
