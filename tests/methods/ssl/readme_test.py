"""The README's code runs as it stands there, but for the training's size."""

import dataclasses
import pathlib
import re

import jax
import numpy as np
import pytest

import kd_jax
from kd_jax import metrics
from kd_jax.errors import UsageError
from kd_jax.methods import ssl
from kd_jax.methods.ssl import arms

README = (pathlib.Path(ssl.__file__).parent / "README.md").read_text()
NINTH, COMPOSED = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_a_ninth_method(parts, batch, config_of, monkeypatch):
  for table in (ssl.LEARNERS, arms.ARMS):
    monkeypatch.setitem(table, "align", None)
  asked = []
  monkeypatch.setattr(kd_jax, "train", lambda *a, **how: asked.append((a, how)))
  exec(NINTH, {})
  assert asked == [(("ssl",), {"arms": ("random", "align")})]
  *_, made, step = parts("align", config_of("align"))
  new, found = jax.jit(step)(made, batch)
  found = metrics.compute(found)
  # Squares of distances on the sphere are 2 - 2 cos.
  expected = 2 - 2 * found["agreement"]
  np.testing.assert_allclose(found["alignment"], expected, rtol=1e-4)
  assert -4 < found["uniformity"] < 0
  before, after = (x.params["projector"]["dense_1"] for x in (made, new))
  assert np.abs(before["kernel"] - after["kernel"]).max() > 1e-4
  with pytest.raises(UsageError, match="'byol' is one of ours"):
    ssl.register(dataclasses.replace(ssl.LEARNERS["align"], name="byol"))


def test_a_term_of_ones_own():
  names = {}
  exec(COMPOSED, names)
  found = metrics.compute(names["found"])
  weights = {"invariance": 25, "variance": 25, "covariance": 1, "online": 1}
  whole = sum(w * found[k] for k, w in weights.items())
  whole += 0.01 * found["size"]
  np.testing.assert_allclose(found["loss"], whole, rtol=1e-5)
  h = names["out"].views[0].h
  np.testing.assert_allclose(found["size"], (h**2).mean(), rtol=1e-5)
