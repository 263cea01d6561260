"""Player names in prompts."""

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from magenta_midi.model.lora.adapter_file import (
  Adapter,
  AdapterError,
  PlayerStyle,
  check_name,
)
from magenta_midi.model.lora.adapter_library import install_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank
from magenta_midi.style import DescriptorStyle
from magenta_midi.style.mentions import Mention, find_mentions
from magenta_midi.style.players import (
  name_players_alone,
  with_players,
)

NAMES = ["Art Tatum", "ballad", "me", "ohhalim", "ohhalim-2", "손열음"]


def install(folder, name, style=None):
  adapter = Adapter(
    name=name,
    factors={
      "k": LowRank(np.ones((2, 1), np.float32), np.ones((1, 2), np.float32))
    },
    config=LoraConfig(rank=1),
    base="embedded",
    base_sha256="00",
    codec={},
    style=style,
  )
  install_adapter(adapter, folder=folder)


def axis(place):
  return np.eye(768, dtype=np.float32)[place]


@pytest.fixture
def folder(tmp_path):
  """Players along axes 700 and 701, one without a style, one with another."""
  for place, name in enumerate(("ballad", "ohhalim")):
    install(
      tmp_path, name, PlayerStyle(axis(700 + place), "descriptors", "", {})
    )
  install(tmp_path, "old")
  install(tmp_path, "coca", PlayerStyle(axis(702), "midicoca", "00ff", {}))
  return tmp_path


@pytest.mark.parametrize(
  ("text", "found", "rest"),
  [
    ("ohhalim", ["ohhalim"], ""),
    ("@ohhalim", ["@ohhalim"], ""),
    ("@ohhalim ballad", ["@ohhalim", "ballad"], ""),
    ('@ohhalim "ballad"', ["@ohhalim"], "ballad"),
    ("@ohhalim “slow ballad”", ["@ohhalim"], "slow ballad"),
    ("slow, @OHHALIM, loud", ["@ohhalim"], "slow, , loud"),
    ("Ohhalim's slow waltz", ["ohhalim"], "slow waltz"),
    ("a slow waltz by art  tatum", [], "a slow waltz by art tatum"),
    ("a slow waltz by art tatum.", ["Art Tatum"], "a slow waltz by ."),
    ("@Art Tatum fast", ["@Art Tatum"], "fast"),
    ("@ohhalim-2 fast", ["@ohhalim-2"], "fast"),
    ("@me, @ohhalim", ["@me", "@ohhalim"], ""),
    ("me and @me", ["@me"], "and"),
    ("@손열음 느리게", ["@손열음"], "느리게"),
    # Part of another word.
    ("medium ballads, ohhalims", [], "medium ballads, ohhalims"),
    ("me@home.org /music/me me-too me.mid", [], None),
    ('"me" "ohhalim"', [], "me ohhalim"),
    ("5 @ 6", [], "5 @ 6"),
  ],
)
def test_names_in_texts(text, found, rest):
  mentions, left = find_mentions(text, NAMES)
  assert [m.marked * "@" + m.name for m in mentions] == found
  assert left == (text if rest is None else rest)


def test_names_that_differ_only_by_case():
  names = ["Me", "me"]
  for text in names:
    assert find_mentions(text, names)[0] == [Mention(text, False)]
    assert find_mentions(f"@{text}", names)[0] == [Mention(text, True)]
  # The remark on a bare word says which was taken; a marked one must be clear.
  assert find_mentions("ME", names)[0] == [Mention("Me", False)]
  with pytest.raises(AdapterError, match=r"^@ME could be any of Me, me\. "):
    find_mentions("slow @ME", names)


PARTICLES = """
  처럼 같이 의 은 는 이 가 을 를 와 과 풍 풍으로 스타일 스타일로 으로 로 답게
  님 씨 님처럼 씨의 이랑 하고 만 도
  """.split()  # noqa: SIM905


@pytest.mark.parametrize("particle", PARTICLES)
def test_a_korean_particle_belongs_to_the_mention(particle):
  for name in ("손열음", "ohhalim"):
    for form in ("NFC", "NFD"):
      text = unicodedata.normalize(form, f"@{name}{particle}")
      assert find_mentions(text, NAMES) == ([Mention(name, True)], "")
    mentions, rest = find_mentions(f"{name}{particle} 느리게, 조용히", NAMES)
    assert (mentions, rest) == ([Mention(name, False)], "느리게, 조용히")


@pytest.mark.parametrize(
  ("text", "found", "rest"),
  [
    ("@손열음, 느리게", ["손열음"], "느리게"),
    ("@손열음풍 발라드", ["손열음"], "발라드"),
    ("@손열음!", ["손열음"], "!"),
    ("@손열음 처럼 느리게", ["손열음"], "처럼 느리게"),
    ("@ohhalim처럼느리게", ["ohhalim"], "느리게"),
    ("@ohhalim과 @손열음의 중간", ["ohhalim", "손열음"], "중간"),
    ("@손열음style", ["손열음"], "style"),
    ("@손열음's waltz", ["손열음"], "waltz"),
    ("@ohhalimのように", ["ohhalim"], ""),
    ("@春樹の遅い曲", ["春樹"], "遅い曲"),
    ("@春樹風", ["春樹"], ""),
    ("@春樹みたいに静かに", ["春樹"], "静かに"),
    ("@春樹的慢曲", ["春樹"], "慢曲"),
    ("@春樹、@손열음", ["春樹", "손열음"], ""),
    ("like Ohhalim's, slow", ["ohhalim"], "like , slow"),
  ],
)
def test_a_name_is_followed_by_what_languages_put_there(text, found, rest):
  mentions, left = find_mentions(text, [*NAMES, "春樹"])
  assert [mention.name for mention in mentions] == found
  assert left == rest


def test_the_longest_name_wins():
  names = ["오", "오할림", "오할림의", "오할림 2"]
  for text, name in (
    ("@오할림", "오할림"),
    ("@오할림은", "오할림"),
    ("@오할림의", "오할림의"),
    ("@오할림의의", "오할림의"),
    ("@오할림 2처럼", "오할림 2"),
    ("@오할림 2개", "오할림"),
    ("@오는", "오"),
  ):
    assert find_mentions(text, names)[0] == [Mention(name, True)]


@pytest.mark.parametrize(
  ("text", "near"),
  [
    ("@손열움처럼", "손열음"),
    ("@손열음맨", "손열음"),
    ("@ohalim", "ohhalim"),
    ("@Ohhalin's", "ohhalim"),
    ("@art", None),
    ("@qwxz", None),
  ],
)
def test_an_unknown_name_is_told_which_are_near(text, near):
  with pytest.raises(AdapterError, match="no such adapter") as error:
    find_mentions(text, NAMES)
  assert (f"Did you mean {near}" in str(error.value)) is (near is not None)
  assert ("Did you mean" in str(error.value)) is (near is not None)
  assert "\n" not in str(error.value)


def test_of_many_names_a_few_are_listed():
  names = [f"player {number}" for number in range(40)]
  with pytest.raises(AdapterError, match=r"player 19 and 28 more\.") as error:
    find_mentions("@somebody", names)
  assert len(str(error.value)) < 300


def test_decomposed_letters_are_composed():
  """File names of some systems have accents as separate characters."""
  assert find_mentions("@é", ["e\u0301"]) == ([Mention("é", True)], "")


def names():
  """Names that an adapter may have."""
  letters = st.characters(categories=("L", "N"))
  text = st.text(letters | st.sampled_from("-_. "), max_size=12)
  return st.builds("{}{}".format, letters, text).map(lambda t: t.rstrip(". "))


def folded(name):
  return unicodedata.normalize("NFC", name).casefold()


@given(st.lists(names(), min_size=1, max_size=4, unique_by=folded))
def test_any_name_is_found_with_its_mark_and_not_in_quotes(installed):
  name = check_name(installed[0])
  mentions, rest = find_mentions(f"slow @{name}, loud", installed)
  assert [(found.name, found.marked) for found in mentions] == [(name, True)]
  assert rest == "slow , loud"
  mentions, rest = find_mentions(f'"@{name}"', installed)
  assert not mentions


@given(st.text(max_size=60), st.lists(names(), max_size=3))
@example("\u0131", ["i"])
@example("@\u0131", ["i"])
def test_no_text_breaks_it(text, installed):
  try:
    mentions, _ = find_mentions(text, installed)
  except AdapterError as error:
    assert "@" in text and "\n" not in str(error)
  else:
    assert {found.name for found in mentions} <= set(installed)


@pytest.mark.parametrize("text", ["@ohalim", "slow @ohalim, loud", "@ohalim's"])
def test_an_unknown_name_lists_the_installed_ones(folder, text):
  expected = r"^@ohalim: no such adapter; installed: ballad, coca, ohhalim, old"
  with pytest.raises(AdapterError, match=expected):
    with_players(text, DescriptorStyle(), folder=folder)
  with pytest.raises(AdapterError, match=r"^@ohalim: no adapter is installed"):
    with_players(text, DescriptorStyle(), folder=folder / "none")


def resolved(prompt, folder):
  lines = []
  model = DescriptorStyle()
  found = with_players(prompt, model, folder=folder, on_remark=lines.append)
  return model.embed(found), lines


def test_a_name_becomes_its_vector_and_is_reported(folder):
  vector, lines = resolved("@ohhalim", folder)
  np.testing.assert_array_equal(vector, axis(701))
  assert lines == ["ohhalim: the style of the adapter ohhalim"]
  vector, lines = resolved("Ballad", folder)
  np.testing.assert_array_equal(vector, axis(700))
  assert lines == [
    "ballad: the style of the adapter ballad. To mean the word, put it in"
    ' double quotes: "ballad".'
  ]
  model = DescriptorStyle()
  for text in ('"ballad"', "slow ballads", "loud"):
    vector, lines = resolved(text, folder)
    np.testing.assert_array_equal(vector, model.embed(text))
    assert lines == []


def test_text_and_players_share_a_weight_equally(folder):
  model = DescriptorStyle()
  loud = model.embed("loud")
  blend = model.embed([(axis(701), 1.0), (loud, 1.0)])
  for prompt in ("@ohhalim loud", [("loud @ohhalim", 3)]):
    np.testing.assert_allclose(resolved(prompt, folder)[0], blend, atol=1e-6)
  vector, _ = resolved("@ohhalim @ballad loud", folder)
  thirds = [(axis(701), 1.0), (axis(700), 1.0), (loud, 1.0)]
  np.testing.assert_allclose(vector, model.embed(thirds), atol=1e-6)
  # The whole text keeps its weight among other items.
  vector, _ = resolved([("@ohhalim loud", 2.0), ("@ballad", 1.0)], folder)
  np.testing.assert_allclose(vector, model.embed(thirds), atol=1e-6)
  vector, _ = resolved([("@ohhalim", 3.0), ("loud", 1.0)], folder)
  weighted = [(axis(701), 3.0), (loud, 1.0)]
  np.testing.assert_allclose(vector, model.embed(weighted), atol=1e-6)


def test_a_rest_without_meaning_is_dropped(folder, monkeypatch):
  monkeypatch.setattr(DescriptorStyle, "understands", lambda *_: False)
  vector, lines = resolved("slow @ohhalim", folder)
  np.testing.assert_array_equal(vector, axis(701))
  assert lines[1] == "'slow' says nothing about music and is left out"


@pytest.mark.parametrize("text", ["play like @ohhalim", "in the style of {}"])
def test_words_that_introduce_a_name_are_dropped(folder, text):
  vector, lines = resolved(text.format("ohhalim"), folder)
  np.testing.assert_array_equal(vector, axis(701))
  assert lines[1].endswith("says nothing about music and is left out")


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("@old", r"^the adapter old has no style.*finetune RECORDINGS --name old"),
    ("old", r'has no style.* To mean the word.*: "old"\.$'),
    (
      "@coca",
      r"coca is of the style model midicoca \(00ff\), but .* descriptors\.",
    ),
    ("slow coca", r'midicoca.* To mean the word.*: "coca"\.$'),
  ],
)
def test_a_style_that_cannot_be_used(folder, text, reason):
  with pytest.raises(AdapterError, match=reason) as error:
    with_players(text, DescriptorStyle(), folder=folder)
  assert "\n" not in str(error.value)


def test_a_text_that_says_nothing_is_left_out_and_named(folder):
  model = DescriptorStyle()
  slow = model.embed("slow")
  for prompt in (
    [("slow", 1.0), ("고양이", 3.0)],
    [("고양이", 0), ("느리게", 2)],
  ):
    vector, lines = resolved(prompt, folder)
    np.testing.assert_array_equal(vector, slow)
    [line] = lines
    assert line.startswith("'고양이' says nothing about music")
    assert "\n" not in line
  for prompt in ("고양이", [("고양이", 1.0)], [("고양이", 1.0), ("slow", 0.0)]):
    lines = []
    kept = with_players(prompt, model, folder=folder, on_remark=lines.append)
    assert kept is None
    assert len(lines) == 1
  # What a text of a stranger has cannot move the cursor.
  _, lines = resolved([("slow", 1.0), ("\x1b[2J고\n양이", 1.0)], folder)
  assert lines[0].isprintable()


def test_files_and_other_items_do_not_change(folder):
  model = DescriptorStyle()
  for prompt in ("@ohhalim.mid", "ohhalim.wav", [7, ("@ohhalim", "2")]):
    assert with_players(prompt, model, folder=folder) == prompt


@pytest.mark.parametrize(
  ("texts", "alone"),
  [
    (["@ohhalim"], True),
    (["ohhalim", "play like @ballad!"], True),
    (["@ohhalim처럼", "@ballad 풍으로 연주해줘"], True),
    (["@ohhalim 느리게"], False),
    (["@ohhalim", "slow"], False),
    (["@ohhalim slow"], False),
    (['"ohhalim"'], False),
    (["@ohhalim", "@nobody"], False),
    ([], False),
  ],
)
def test_prompts_with_only_names_of_players(folder, texts, alone):
  assert name_players_alone(texts, folder=folder) is alone
