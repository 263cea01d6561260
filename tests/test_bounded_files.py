"""Files from outside: regular ones, of bounded size and depth."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.bounded_files import (
  JSON_DEPTH,
  LINE_BYTES,
  open_regular,
  parse_json,
  read_bytes,
  read_json,
  read_lines,
  read_table,
  read_text,
)

_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.text(),
  lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_json_is_read_as_python_reads_it(value):
  for ascii_only in (True, False):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value


@pytest.mark.parametrize("shape", ["[{}]", '{{"a":{}}}'])
def test_json_is_read_to_its_depth_and_no_deeper(shape):
  text = "1"
  for _ in range(JSON_DEPTH):
    text = shape.format(text)
  assert parse_json(text) == json.loads(text)
  with pytest.raises(ValueError, match="nested deeper than 64"):
    parse_json(shape.format(text))


def test_brackets_in_strings_do_not_count():
  value = {"a": "[" * 1000, 'b"\\': ["{" * 1000 + '\\"[[']}
  assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
  "text",
  [
    "[" * 200_000,
    '{"a":' * 200_000,
    '["' + "[" * 200_000,
    "9" * 5000,
    "",
    "\0",
  ],
)
def test_hostile_json_is_a_value_error(text):
  with pytest.raises(ValueError):
    parse_json(text)


def test_a_pipe_is_refused_at_once(tmp_path):
  pipe = tmp_path / "pipe"
  os.mkfifo(pipe)
  with pytest.raises(OSError, match=r"no regular file.*pipe"):
    open_regular(pipe)


def test_devices_and_folders_are_refused(tmp_path):
  link = tmp_path / "link"
  link.symlink_to("/dev/zero")
  with pytest.raises(OSError, match=r"no regular file.*link"):
    read_bytes(link, 10)
  with pytest.raises(IsADirectoryError):
    read_json(tmp_path)


def test_the_limit_is_the_largest_size(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"x" * 2**20)
  assert len(read_bytes(path, 2**20)) == 2**20
  with pytest.raises(OSError, match=r"1\.0 MiB, at most 0\.99.* are read"):
    read_bytes(path, 2**20 - 8192)


def test_text_is_utf_8_with_or_without_its_mark(tmp_path):
  path = tmp_path / "file"
  for data in ("오할림".encode(), b"\xef\xbb\xbf" + "오할림".encode()):
    path.write_bytes(data)
    assert read_text(path) == "오할림"
  path.write_bytes("오할림".encode("cp949"))
  with pytest.raises(ValueError, match="no text in UTF-8"):
    read_text(path)


@given(st.lists(st.binary(max_size=9).filter(lambda b: not set(b) & {10, 13})))
def test_lines_are_those_that_were_written(tmp_path_factory, lines):
  path = tmp_path_factory.mktemp("lines") / "file"
  for end in (b"\n", b"\r\n"):
    path.write_bytes(b"".join(line + end for line in lines))
    assert list(read_lines(path)) == lines
  path.write_bytes(b"\n".join([*lines, b"cut"]))
  assert list(read_lines(path)) == [*lines, b"cut"]


def test_a_long_line_is_none_and_its_neighbours_are_read(tmp_path):
  path = tmp_path / "file"
  longest = b"x" * LINE_BYTES
  for long in (longest + b"x", longest * 3, longest * 2 + b"xy"):
    path.write_bytes(b"\n".join([b"a", longest, long, b"", b"b"]))
    assert list(read_lines(path)) == [b"a", longest, None, b"", b"b"]
    path.write_bytes(b"a\n" + long)
    assert list(read_lines(path)) == [b"a", None]


def test_lines_are_of_a_regular_file_of_bounded_size(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"ab\ncd\n")
  assert list(read_lines(path, 6)) == [b"ab", b"cd"]
  with pytest.raises(OSError, match="at most"):
    list(read_lines(path, 5))
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(OSError, match="no regular file"):
    list(read_lines(tmp_path / "pipe"))


def test_a_table_has_the_cells_that_there_are(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"x\ny"\r\n\r\n2\r\n3,4,5\r\n')
  assert read_table(path) == (
    ["a", "b"],
    [{"a": "1", "b": "x\ny"}, {"a": "2"}, {"a": "3", "b": "4"}],
  )
