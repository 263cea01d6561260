"""Players' files, sorted into what is learned from and what is held out."""

import csv
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tools.adapters.player_folders import (
  Recording,
  as_many_notes,
  command,
  folder_name,
  plain_title,
  split_titles,
)

recordings = st.lists(
  st.builds(
    Recording,
    path=st.integers(0, 999).map(lambda n: Path(f"{n}.mid")),
    player=st.just("Ann Example"),
    title=st.sampled_from([f"title {n}" for n in range(12)]),
    notes=st.integers(1, 5000),
  ),
  min_size=1,
  max_size=40,
)


@given(recordings, st.integers(1, 30), st.integers(0, 5))
def test_a_title_is_on_one_side(found, most, seed):
  train, held = split_titles(found, most, seed)
  titles = {one.title for one in found}
  assert not {one.title for one in train} & {one.title for one in held}
  assert len({one.title for one in held}) == round(len(titles) / 3)
  assert len(train) <= most
  # Of what may be learned from, nothing is left out before there are enough.
  assert len(train) == most or len(train) + len(held) == len(found)


@given(recordings, st.integers(1, 10_000), st.integers(0, 5))
def test_a_control_has_as_many_notes(found, notes, seed):
  chosen = as_many_notes(found, notes, seed)
  total = sum(one.notes for one in chosen)
  assert total >= notes or len(chosen) == len(found)
  assert total - chosen[-1].notes < notes


def test_names():
  assert plain_title("And I Love Her - Live") == "and i love her"
  assert plain_title("Live and Let Die") == "live and let die"
  assert folder_name("Carreño, Teresa") == "carreno"
  assert folder_name("Art Tatum") == "tatum"


def test_the_folders_link_to_the_files(tmp_path):
  rows = [("Ann B", f"t{n}", n) for n in range(6)]
  rows += [("Cy D", f"u{n}", n) for n in range(3)]
  columns = ("path", "title", "performer", "notes", "split")
  with (tmp_path / "list.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(columns)
    for player, title, notes in rows:
      path = tmp_path / "list" / f"{title}.mid"
      path.parent.mkdir(exist_ok=True)
      path.write_text(title)
      writer.writerow((path.name, title, player, 10 + notes, "player"))
    writer.writerow(("other.mid", "x", "Eve", 5, "train"))
  result = CliRunner().invoke(
    command, [str(tmp_path / "list.csv"), str(tmp_path / "out")]
  )
  assert result.exit_code == 0, result.output
  sides = {
    side: {path.read_text() for path in (tmp_path / "out/b" / side).iterdir()}
    for side in ("train", "held", "others")
  }
  assert sides["train"] | sides["held"] == {f"t{n}" for n in range(6)}
  assert len(sides["held"]) == 2
  assert sides["others"] <= {f"u{n}" for n in range(3)}
  assert {path.name for path in (tmp_path / "out").iterdir()} == {"b", "d"}


def test_a_list_without_players_is_refused(tmp_path):
  (tmp_path / "list.csv").write_text(
    "path,title,performer,notes,split\na.mid,a,A,3,train\n"
  )
  result = CliRunner().invoke(
    command, [str(tmp_path / "list.csv"), str(tmp_path / "out")]
  )
  assert result.exit_code == 2
  assert "no row has the split player" in result.output
