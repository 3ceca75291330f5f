"""Heads of the published tables: their parameters, counted by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.ssl import arms, heads, recipes


def _count(text, r):
  shapes = jax.eval_shape(
    lambda: heads.Head(text, r).init(
      jax.random.key(0), jnp.zeros((1, r)), train=False
    )
  )
  leaves = jax.tree.leaves(shapes.get("params", {}))
  return sum(int(np.prod(x.shape)) for x in leaves)


# (recipe, r) and, by arm, the projector's parameters and the predictor's.
TABLE = {
  ("imagenet", 2048): {
    # 2048-2048-2048-128, BN after each, the last without offset.
    "simclr": (2 * (2048**2 + 2 * 2048) + 2048 * 128 + 128, 0),
    "swav": (2048**2 + 3 * 2048 + 2048 * 128 + 128, 0),
    "moco_v2": (2048**2 + 2048 + 2048 * 128 + 128, 0),
    "moco_v3": (
      2048 * 4096 + 2 * 4096 + 4096 * 256,
      256 * 4096 + 2 * 4096 + 4096 * 256,
    ),
    "byol": (
      2048 * 4096 + 3 * 4096 + 4096 * 256,
      256 * 4096 + 3 * 4096 + 4096 * 256,
    ),
    "dino": (
      2048**2 + 2048 + 2048**2 + 2048 + 2048 * 256 + 256,
      0,
    ),
    "simsiam": (
      2 * (2048**2 + 2 * 2048) + 2048**2,
      2048 * 512 + 2 * 512 + 512 * 2048 + 2048,
    ),
    "vicreg": (2048 * 8192 + 8192**2 * 2 + 2 * 3 * 8192, 0),
    # 16.8 M and twice 67.1 M.
    "barlow": (2048 * 8192 + 8192**2 * 2 + 2 * 2 * 8192, 0),
  },
  ("solo", 512): {
    "simclr": (512 * 2048 + 2048 + 2048 * 256 + 256, 0),
    "swav": (512 * 2048 + 3 * 2048 + 2048 * 128 + 128, 0),
    "moco_v2plus": (512 * 2048 + 2048 + 2048 * 256 + 256, 0),
    "byol": (
      512 * 4096 + 3 * 4096 + 4096 * 256 + 256,
      256 * 4096 + 3 * 4096 + 4096 * 256 + 256,
    ),
    "vicreg": (512 * 2048 + 2 * 2048**2 + 2 * 3 * 2048, 0),
    "barlow": (512 * 2048 + 2 * 2048**2 + 2 * 2 * 2048, 0),
  },
  ("lightly", 512): {
    "simclr": (512**2 + 512 + 512 * 128 + 128, 0),
    "moco_v2": (512**2 + 512 + 512 * 128 + 128, 0),
    "byol": (
      512 * 1024 + 2 * 1024 + 1024 * 256 + 256,
      256 * 1024 + 2 * 1024 + 1024 * 256 + 256,
    ),
    "simsiam": (
      512 * 2048 + 2048**2 + 2 * 2 * 2048,
      2048 * 512 + 2 * 512 + 512 * 2048 + 2048,
    ),
    "barlow": (512 * 2048 + 2 * 2048 + 2048**2, 0),
  },
}
PRESETS = {"imagenet": "imagenet", "solo": "cifar10_1000", "lightly": "cifar10"}


@pytest.mark.parametrize(("recipe", "r"), TABLE)
def test_counts(recipe, r):
  config = arms.PRESETS[PRESETS[recipe]]
  assert config.recipe == recipe
  for arm, (projector, predictor) in TABLE[recipe, r].items():
    s = recipes.settings(config, arm)
    assert _count(s.projector, r) == projector, arm
    d = heads.width(s.projector, r)
    assert (_count(s.predictor, d) if s.predictor else 0) == predictor, arm


def test_prototypes_of_the_table():
  by_recipe = {
    name: {
      arm: recipes.settings(arms.PRESETS[preset], arm).prototypes
      for arm in ("swav", "dino")
    }
    for name, preset in PRESETS.items()
  }
  assert by_recipe == {
    "imagenet": {"swav": 3000, "dino": 65536},
    "solo": {"swav": 3000, "dino": 4096},
    "lightly": {"swav": 512, "dino": 2048},
  }


def test_layers_by_hand():
  head = heads.Head("5 bias bn- relu, r", 3)
  x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  variables = head.init(jax.random.key(1), x, train=False)
  got, _ = head.apply(variables, x, train=True, mutable=["batch_stats"])
  p = variables["params"]
  first = jax.tree.map(np.asarray, p["dense_0"])
  y = x.astype(float) @ first["kernel"] + first["bias"]
  y = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5)
  y = np.maximum(y, 0) @ np.asarray(p["dense_1"]["kernel"], float)
  np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-5)
  assert set(p) == {"dense_0", "dense_1"}


def test_dinos_initial_values_and_its_exact_gelu():
  head = heads.Head("64 bias small gelu", 64)
  x = np.random.default_rng(2).normal(size=(4, 64)).astype(np.float32) * 20
  variables = head.init(jax.random.key(3), x, train=False)
  first = jax.tree.map(np.asarray, variables["params"]["dense_0"])
  assert first["kernel"].std() == pytest.approx(0.02, rel=0.05)
  assert not first["bias"].any()
  y = x.astype(float) @ first["kernel"]
  expected = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
  np.testing.assert_allclose(
    head.apply(variables, x, train=False), expected, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("text", ["x bn", "128 batchnorm", "0 relu", "12.5"])
def test_what_is_not_a_head(text):
  with pytest.raises(UsageError, match="a head has the layer"):
    heads.parse(text)
