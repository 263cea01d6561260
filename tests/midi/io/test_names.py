"""Names of tracks in the encodings that files use without telling."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.io.names import MAX_NAME_BYTES, decode_names

NAMES = {
  "cp949": "피아노 왼손/오른손/드럼/멜로디/벚꽃 엔딩/바이올린/트랙 1/왈츠/반주",
  "cp932": "ピアノ/左手/伴奏/主旋律/さくら/ﾋﾟｱﾉ/ギター1/夜に駆ける/トラック１",
  "euc_jp": "ピアノ/左手/主旋律/千本桜/オルガン/ヴァイオリン/弦楽器",
  "cp950": "鋼琴/主旋律/右手/月亮代表我的心/大提琴/弦樂/夜曲/伴奏",
  "gbk": "钢琴/左手/主旋律/贝司/月亮代表我的心/小提琴/人声/架子鼓",
  "cp1252": "Flügel/Prélude/Für Elise/Étude/Mão direita/Coração/L’été/Straße/É",
  "cp1251": "Пианино/Левая рука/Бас/Гитара 2",
  "utf-8": "피아노 왼손/ピアノ/鋼琴/Flügel/Prélude/🎹",
  "utf-8-sig": "피아노/Piano",
  "utf-16": "피아노/Piano/Prélude",
  "utf-16-le": "Piano/Prélude",
  "utf-16-be": "Piano/Prélude",
  "ascii": "Piano RH/Acoustic Grand",
}


@pytest.mark.parametrize(
  ("encoding", "name"),
  [(code, name) for code, names in NAMES.items() for name in names.split("/")],
)
def test_one_short_name_is_enough(encoding, name):
  assert decode_names([name.encode(encoding)]) == [name]


def test_names_of_a_file_share_an_encoding():
  # Alone this is as well 북나 in Korean: a GBK file's other names tell.
  names = ["合唱", "钢琴", "左手"]
  assert decode_names([name.encode("gbk") for name in names]) == names
  # Or its lyrics.
  lyrics = ["月亮代表我的心".encode("gbk")]
  assert decode_names(["合唱".encode("gbk")], lyrics) == ["合唱"]
  assert decode_names([b"", b"A", "왼손".encode("cp949")]) == [
    "",
    "A",
    "왼손",
  ]


def test_names_are_composed():
  assert decode_names([unicodedata.normalize("NFD", "피아노").encode()]) == [
    "피아노"
  ]


def test_long_names_are_cut_between_letters():
  assert decode_names([("왼" * 1000).encode()]) == [
    "왼" * (MAX_NAME_BYTES // 3)
  ]
  korean = ("오른손" * 1000).encode("cp949")
  assert decode_names([korean])[0].startswith("오른손오른손")


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=300))
def test_any_bytes_are_names_of_one_line(names, hint):
  found = decode_names(names, [hint])
  assert len(found) == len(names)
  for name in found:
    assert name.isprintable()
    assert name == " ".join(name.split())
    name.encode()  # fit to be written


@given(st.text("피아노왼손오른드럼베이스기주", min_size=1, max_size=8))
def test_korean_of_any_length(name):
  # Without 타 or 트, whose two bytes are a letter of UTF-8 as well.
  assert decode_names([name.encode("cp949")]) == [name]
