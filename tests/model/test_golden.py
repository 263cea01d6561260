"""Golden outputs of random weights, from when parity was checked.

After a wanted change: python -m tools.assets.write_golden --shared ../shared
"""

from pathlib import Path

import numpy as np

from magenta_midi.testing.golden import golden_outputs


def test_outputs_are_as_they_were():
  golden = dict(np.load(Path(__file__).with_name("golden.npz")))
  outputs = golden_outputs()
  assert set(golden) == set(outputs)
  for key, array in golden.items():
    if key.endswith("tokens"):
      np.testing.assert_array_equal(outputs[key], array, err_msg=key)
      continue
    difference = np.abs(outputs[key] - array)
    if key.startswith("C."):
      # bfloat16 differs from machine to machine as it does from itself.
      assert difference.mean() <= (0.5 if key.endswith("loss") else 0.05), key
    else:
      atol = 2e-3 if key.endswith("loss") else 2e-5
      assert difference.max() <= atol, key
