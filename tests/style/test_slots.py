import numpy as np
import pytest

from magenta_midi.style.controls import ControlTargets, control_rows
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.slots import StyleSlots, allowed_keys, same_style
from magenta_midi.testing import STYLE_ENTRY

TOKENS = np.array([5, 300, 600, 800, 1100, 1400], np.int32)
ASKED = ControlTargets(density=4.0, register=(48.0, 72.0))


def slots(count=10, **style):
  config = {"model": {"style_slots": count}}
  return StyleSlots(config | ({"style": STYLE_ENTRY | style} if style else {}))


def test_each_part_has_its_slots_and_missing_parts_are_the_mask():
  both = slots(model="descriptors")
  asked = control_rows(ASKED, STYLE_ENTRY["rows"]).tolist()
  assert both.rows(TOKENS, ASKED).tolist() == [*TOKENS, *asked]
  assert both.rows(TOKENS).tolist() == [*TOKENS, 0, 0, 0, 0]
  assert both.rows(None, ASKED).tolist() == [0] * 6 + asked
  assert both.rows().tolist() == [0] * 10
  assert both.rows().dtype == np.int32
  assert both.style_model().name == "descriptors"


def test_a_checkpoint_without_style_has_no_slots():
  none = slots(6)
  assert (none.model, none.levels, none.controls) == (None, 0, False)
  assert none.rows(TOKENS, ASKED).tolist() == [0] * 6


def test_style_without_controls_and_controls_without_style():
  style = slots(6, controls=None)
  assert style.rows(TOKENS, ASKED).tolist() == TOKENS.tolist()
  controls = slots(4, levels=0, rows=1, model=None)
  assert controls.rows(TOKENS, ASKED).tolist() == (
    control_rows(ASKED, 1).tolist()
  )


def test_tokens_of_unread_levels_are_dropped():
  shallow = slots(8, levels=4)
  assert shallow.rows(TOKENS)[:4].tolist() == TOKENS[:4].tolist()
  with pytest.raises(ValueError, match="reads 4 style tokens, got 3"):
    shallow.rows(TOKENS[:3])


@pytest.mark.parametrize(
  ("count", "style", "message"),
  [
    (6, {"levels": 6}, "need 10 style slots, but its model has 6"),
    (10, {"controls": {"density": [1]}}, "other buckets"),
  ],
)
def test_entries_that_do_not_fit_are_refused(count, style, message):
  with pytest.raises(ValueError, match=message):
    slots(count, **style)


def test_a_style_model_with_other_weights_is_refused():
  model = MidiCoCa.embedded()
  entry = dict(model=model.name, levels=model.levels, rows=model.table_rows)
  for digest in (None, model.digest):
    assert slots(10, **entry, digest=digest).style_model().name == "midicoca"
  other = slots(10, **entry, digest="0123456789abcdef")
  with pytest.raises(
    ValueError, match=f"0123456789abcdef, here {model.digest}"
  ):
    other.style_model()


def test_an_entry_without_a_digest_fits_any():
  one = STYLE_ENTRY | {"digest": "one"}
  assert same_style(STYLE_ENTRY, one) and same_style(one, STYLE_ENTRY)
  assert same_style(one, dict(one)) and same_style(None, None)
  for other in (None, one | {"digest": "two"}, one | {"levels": 3}):
    assert not same_style(one, other) and not same_style(other, one)


def test_a_register_allows_its_keys():
  allowed = allowed_keys(ASKED)
  assert allowed is not None
  assert np.flatnonzero(allowed).tolist() == list(range(48, 73))
  assert allowed_keys(ControlTargets(register=60.0)) is None
  assert allowed_keys(ControlTargets(density=3.0)) is None


@pytest.mark.parametrize("style", [3, "x", [1], True, [["levels", 1]]])
def test_a_style_of_another_type_is_refused(style):
  with pytest.raises(ValueError, match="style must be an object") as caught:
    StyleSlots({"model": {"style_slots": 1}, "style": style})
  assert "\n" not in str(caught.value)
