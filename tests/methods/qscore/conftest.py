"""Images that several files train encoders on."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def images():
  """Squares on two sides of an image, by class."""
  rng = np.random.default_rng(3)
  found = {}
  for split, n in (("train", 64), ("test", 24)):
    label = np.arange(n) % 2
    image = rng.integers(0, 60, (n, 8, 8, 1))
    image[np.arange(n), 2:6, 1 + 3 * label] += 150
    found[f"{split}_image"] = image.astype(np.uint8)
    found[f"{split}_label"] = label.astype(np.int32)
  return found
