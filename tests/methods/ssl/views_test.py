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


@pytest.fixture(scope="module", name="seen")
def seen_fixture():
  """Gives an image in [0, 1] and what `_one` makes of it, whole, 16 times."""
  image = jnp.asarray(RNG.uniform(size=(8, 8, 3)), jnp.float32)
  keys = jax.random.split(jax.random.key(0), 16)

  def seen(image=image, flip=False, **how):
    how = {"area": None, "jittered": 0.0, "grey": 0.0, **how}
    view = views.View(**how)
    run = jax.vmap(lambda key: views._one(key, image, view, (8, 8), flip))
    return np.asarray(jax.jit(run)(keys))

  return np.asarray(image), seen


def test_a_view_of_all_of_an_image_without_changes_is_the_image(seen):
  image, look = seen
  np.testing.assert_array_equal(look(), np.broadcast_to(image, (16, 8, 8, 3)))
  found = look(flip=True)
  mirrored = [np.array_equal(x, image[:, ::-1]) for x in found]
  same = [np.array_equal(x, image) for x in found]
  assert any(mirrored)
  assert not all(mirrored)
  assert np.all(np.array(mirrored) ^ same)


def test_grey_and_solarised_views(seen):
  image, look = seen
  luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
  for got in look(grey=1.0):
    np.testing.assert_allclose(got, luma[..., None].repeat(3, 2), rtol=1e-5)
  inverted = np.where(image >= 0.5, 1 - image, image)
  for got in look(solarise=1.0):
    np.testing.assert_array_equal(got, inverted)
  # Now and then.
  for how in ({"grey": 0.5}, {"solarise": 0.5}):
    changed = [not np.array_equal(got, image) for got in look(**how)]
    assert any(changed), how
    assert not all(changed), how


def test_jittered_and_blurred_views(seen):
  image, look = seen
  found = look(jittered=1.0)
  assert found.min() >= 0
  assert found.max() <= 1
  assert np.abs(found - image).max((1, 2, 3)).min() > 0.05
  assert np.abs(found[0] - found[1]).max() > 0.05
  # Of one channel there are brightness and contrast.
  dark = image[..., :1] / 2
  found = look(jnp.asarray(dark), jittered=1.0, jitter=(0.4, 0.0, 0.0, 0.0))
  factors = found / dark
  np.testing.assert_allclose(factors, factors[:, :1, :1] + 0 * dark, rtol=1e-4)
  assert 0.6 <= factors.min() < 0.8
  assert 1.2 < factors.max() <= 1.4 + 1e-5
  rough = np.abs(np.diff(image, axis=1)).mean()
  smooth = np.abs(np.diff(look(blur=1.0), axis=2)).mean((1, 2, 3))
  assert smooth.min() < rough / 2
  assert smooth.max() <= rough + 1e-6


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
