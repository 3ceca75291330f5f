import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import fields
from kd_jax.methods.ssl import arms, views
from kd_jax.methods.ssl.config import DataConfig

RNG = np.random.default_rng(1)
GREY = jnp.asarray(RNG.integers(0, 256, (4, 12, 12, 1)), jnp.uint8)
COLOUR = jnp.asarray(RNG.integers(0, 256, (2, 32, 32, 3)), jnp.uint8)
ROW = jnp.arange(4)
DATA = DataConfig(mean=(0.0,), std=(1.0,))
LOCAL = views.VIEWS["dino"][-1]


def _make(name, images, row, data=DATA, seed=0, **how):
  run = jax.jit(
    lambda images, row: views.make(
      data, name, jax.random.key(seed), images, row, **how
    )
  )
  return [np.asarray(g) for g in run(images, row)]


def test_a_rows_views_are_its_own():
  (whole,) = _make("digits", GREY, ROW)
  assert whole.shape == (2, 4, 12, 12, 1)
  assert whole.min() >= 0
  assert whole.max() <= 1
  (part,) = _make("digits", GREY[2:], ROW[2:])
  np.testing.assert_allclose(part, whole[:, 2:], atol=1e-6)
  # Two views of an image, and the same image in two rows, are different draws.
  assert np.abs(whole[0] - whole[1]).max() > 0.1
  (same,) = _make("digits", jnp.tile(GREY[:1], (4, 1, 1, 1)), ROW)
  assert np.abs(same[0, 0] - same[0, 1]).max() > 0.1
  (other,) = _make("digits", GREY, ROW, seed=1)
  assert np.abs(other - whole).max() > 0.1


def test_sizes_by_group():
  large, small = _make("digits_multicrop", GREY, ROW)
  assert large.shape == (2, 4, 12, 12, 1)
  assert small.shape == (2, 4, 6, 6, 1)
  data = dataclasses.replace(DATA, view_size=8)
  (one,) = _make("digits_multicrop", GREY, ROW, data, most=1)
  assert one.shape == (1, 4, 8, 8, 1)


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("swav", [(2, 224), (6, 96)]),
    ("dino", [(2, 224), (8, 96)]),
    ("multicrop_32", [(2, 224), (6, 126)]),
    ("asymmetric", [(2, 224)]),
  ],
)
def test_published_crops(name, expected):
  shapes = jax.eval_shape(
    lambda x: views.make(DATA, name, jax.random.key(0), x, jnp.arange(1)),
    jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8),
  )
  assert [(s.shape[0], s.shape[2]) for s in shapes] == expected
  assert views.count(name) == sum(n for n, _ in expected)


def test_only_the_second_view_of_byol_is_solarised_and_the_first_blurred():
  first, second = views.VIEWS["asymmetric"]
  assert (first.blur, second.blur) == (1.0, 0.1)
  assert (first.solarise, second.solarise) == (0.0, 0.2)
  assert all(v.blur == 0 for v in views.VIEWS["asymmetric_32"])


@pytest.mark.parametrize(("side", "kernel"), [(224, 23), (96, 9), (18, 3)])
def test_blur_is_of_two_pixels_whatever_the_size(side, kernel, monkeypatch):
  """Local views are blurred as global ones, their kernels a tenth of them."""
  asked = []

  def blurred(key, x, *how):
    asked.append(how)
    return x

  monkeypatch.setattr(views.augment, "random_blur", blurred)
  jax.eval_shape(
    lambda x: views._one(jax.random.key(0), x, LOCAL, (side, side), True),
    jax.ShapeDtypeStruct((256, 256, 3), jnp.float32),
  )
  assert asked == [(kernel, (0.1, 2.0), 0.5)]


def test_colours_are_jittered_and_normalised():
  data = dataclasses.replace(DATA, mean=(0.5,), std=(0.5,), flip=True)
  (got,) = _make("asymmetric_32", COLOUR, jnp.arange(2), data)
  assert got.shape == (2, 2, 32, 32, 3)
  assert got.min() >= -1 - 1e-6
  assert got.max() <= 1 + 1e-6
  assert got.min() < -0.5


def test_plain_images():
  got = views.plain(DATA, GREY)
  np.testing.assert_allclose(got, np.asarray(GREY) / 255, rtol=1e-6)
  small = views.plain(dataclasses.replace(DATA, view_size=6), GREY)
  assert small.shape == (4, 6, 6, 1)
  np.testing.assert_allclose(
    small.mean((1, 2, 3)), np.asarray(GREY).mean((1, 2, 3)) / 255, atol=0.02
  )


def test_every_preset_has_known_views():
  for name, config in arms.PRESETS.items():
    for arm in arms.METHODS:
      from kd_jax.methods.ssl import recipes

      assert recipes.settings(config, arm).views in views.VIEWS, (name, arm)
  assert fields.document(arms.PRESETS["tiny"], "settings.views")
