"""What tests of fine-tuning share."""

import pytest

from tests.support.finetuning import scales, tiny_base


@pytest.fixture(scope="session")
def base():
  """A drawn model, which no test may change."""
  return tiny_base()


@pytest.fixture(scope="session")
def split():
  """Scales in three keys, one of them held out."""
  return scales(c=60, d=62, e=64)
