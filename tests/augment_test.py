import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, augment
from kd_jax.training.state import row_keys


def photos(n=8, dtype=jnp.float32):
  x = jax.random.normal(jax.random.key(7), (n, 4, 5, 3))
  scale = jnp.arange(1.0, n + 1)[:, None, None, None]
  return (x * scale + scale**2).astype(dtype)


@pytest.fixture(autouse=True)
def strict_promotion():
  with jax.numpy_dtype_promotion("strict"):
    yield


# Of one image.


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_crop_is_a_window_of_the_padded_image(mode):
  keys, x = jax.random.split(jax.random.key(0), 64), photos(64)
  got = augment.per_row(augment.random_crop)(keys, x, 2, mode=mode)
  places = set()
  for key, image, crop in zip(keys, np.asarray(x), got, strict=True):
    i, j = np.asarray(jax.random.randint(key, (2,), 0, 5))
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode=mode)
    np.testing.assert_array_equal(crop, padded[i : i + 4, j : j + 5])
    places.add((int(i), int(j)))
  assert {i for i, _ in places} == {j for _, j in places} == set(range(5))


def test_shift_fills_with_zeros():
  image = jnp.zeros((5, 5, 1)).at[2, 2, 0].set(1.0)
  keys = jax.random.split(jax.random.key(0), 200)
  shift = functools.partial(augment.random_shift, image=image, max_shift=2)
  got = np.asarray(jax.vmap(shift)(keys))
  # The dot is never lost, and reaches every place in reach.
  np.testing.assert_array_equal(got.sum((1, 2, 3)), 1.0)
  assert (got.sum(0) > 0).all()
  np.testing.assert_array_equal(shift(keys[0], max_shift=0), image)


def test_flip_mirrors_half_of_the_images():
  keys, x = jax.random.split(jax.random.key(0), 400), photos(400)
  got = np.asarray(augment.per_row(augment.random_flip)(keys, x))
  x = np.asarray(x)
  same = (got == x).all((1, 2, 3))
  mirrored = (got == x[:, :, ::-1]).all((1, 2, 3))
  assert (same ^ mirrored).all()
  assert 150 < mirrored.sum() < 250


def test_bytes_and_normalisation():
  image = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 3)
  got = augment.normalize(
    augment.to_float(image), mean=(0.0, 0.1, 0.5), std=(1.0, 0.1, 0.25)
  )
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got[0, 0], [0.0, 1.0, 2.0], rtol=1e-6)
  many = augment.normalize(photos(), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0))
  expected = (np.asarray(photos()) - [1, 2, 3]) / [2, 4, 8]
  np.testing.assert_allclose(many, expected, rtol=1e-6)


def test_settings_are_checked(unhooked):
  image, key = jnp.zeros((4, 5, 3)), jax.random.key(0)
  with pytest.raises(ValueError, match=r"4.*\(4, 5, 3\)"):
    augment.random_crop(key, image, 4, "reflect")
  with pytest.raises(ValueError, match="-1"):
    augment.random_shift(key, image, -1)
  with pytest.raises(ValueError, match="'wrap'"):
    unhooked(augment.random_crop)(key, image, 1, "wrap")
  with pytest.raises(ValueError, match=r"std is \(2,\).*\(4, 5, 3\)"):
    unhooked(augment.normalize)(image, (0.0, 0.0, 0.0), (1.0, 1.0))
  with pytest.raises(ValueError, match="one pixel"):
    augment.statistics(jnp.zeros((2, 1, 1, 3)))
  mix = unhooked(augment.mix_statistics)
  with pytest.raises(ValueError, match=r"row is \(2,\), there are 8"):
    mix(key, photos(), jnp.arange(2))
  with pytest.raises(ValueError, match=r"where is \(3,\), there are 8"):
    mix(key, photos(), jnp.arange(8), where=jnp.ones(3, bool))


# MixDistribution.

ROW = jnp.arange(8, dtype=jnp.int32)


def moments(image):
  """Loops over channels, as in the paper's formula."""
  mean, std = [], []
  for channel in np.moveaxis(np.asarray(image, np.float64), -1, 0):
    m = sum(channel.ravel()) / channel.size
    v = sum((channel.ravel() - m) ** 2) / (channel.size - 1)
    mean.append(m)
    std.append(np.sqrt(v + 1e-6))
  return np.array(mean), np.array(std)


def draws(key, row, concentration=0.1):
  keys = row_keys(jax.random.fold_in(key, 0), row)
  lam = [jax.random.beta(k, concentration, concentration) for k in keys]
  keys = row_keys(jax.random.fold_in(key, 1), row)
  return lam, np.argsort([int(jax.random.bits(k)) for k in keys])


def test_is_the_paper_s_formula():
  key, x = jax.random.key(5), photos()
  lam, partner = draws(key, ROW)
  assert len({round(float(v), 3) for v in lam}) > 4
  got = augment.mix_statistics(key, x, ROW)
  for i, image in enumerate(np.asarray(x, np.float64)):
    (mu, sig), (mu_j, sig_j) = moments(image), moments(x[partner[i]])
    v = float(lam[i])
    expected = (image - mu) / sig * (v * sig + (1 - v) * sig_j)
    expected += v * mu + (1 - v) * mu_j
    np.testing.assert_allclose(got[i], expected, rtol=1e-4, atol=1e-4)


def test_restyled_images_have_the_new_statistics():
  x = photos()
  own = augment.statistics(x)
  new = augment.Statistics(own.mean[::-1] + 1, own.std[::-1] * 2)
  got = augment.statistics(augment.restyle(x, own, new))
  np.testing.assert_allclose(got.mean, new.mean, rtol=1e-4)
  np.testing.assert_allclose(got.std, new.std, rtol=1e-4)
  same = augment.restyle(x, own, own)
  np.testing.assert_allclose(same, x, rtol=1e-5, atol=1e-4)


def test_a_large_concentration_mixes_half_and_half():
  key, x = jax.random.key(5), photos()
  _, partner = draws(key, ROW)
  mixed = augment.mix_statistics(key, x, ROW, concentration=1e6)
  own = augment.statistics(x)
  half = (own.mean + own.mean[partner]) / 2
  np.testing.assert_allclose(augment.statistics(mixed).mean, half, rtol=1e-2)


def test_shift_style_takes_over_the_partner_s_statistics():
  key, x = jax.random.key(5), photos()
  _, partner = draws(key, ROW)
  assert sorted(partner) == list(range(8))
  got = augment.statistics(augment.shift_style(key, x, ROW))
  own = augment.statistics(x)
  np.testing.assert_allclose(got.mean, own.mean[partner], rtol=1e-4)
  np.testing.assert_allclose(got.std, own.std[partner], rtol=1e-3)


def test_padded_rows_are_no_partners():
  where = jnp.array([1, 0, 1, 1, 0, 1, 1, 0], bool)
  x = jnp.where(where[:, None, None, None], photos(), 1e6)
  partners = set()
  for seed in range(20):
    got = augment.shift_style(jax.random.key(seed), x, ROW, where=where)
    own = np.asarray(augment.statistics(x).mean)
    new = np.asarray(augment.statistics(got).mean)[where]
    found = [int(np.abs(own - m[None]).sum(1).argmin()) for m in new]
    # A permutation of the rows that count.
    assert sorted(found) == [0, 2, 3, 5, 6]
    partners.add(tuple(found))
  assert len(partners) > 10


def test_rows_not_places_decide():
  key, x = jax.random.key(5), photos()
  order = jax.random.permutation(jax.random.key(1), 8)
  whole = augment.mix_statistics(key, x, ROW)
  shuffled = augment.mix_statistics(key, x[order], ROW[order])
  np.testing.assert_allclose(shuffled, whole[order], rtol=1e-5, atol=1e-4)


def test_beta_draws_are_finite_and_have_their_moments():
  keys = row_keys(jax.random.key(0), jnp.arange(100_000, dtype=jnp.int32))

  def draw(key):
    return jax.random.beta(key, 0.1, 0.1, (), jnp.float32)

  values = np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)
  assert np.isfinite(values).all()
  assert values.min() >= 0
  assert values.max() <= 1
  # Five standard errors.
  assert abs(values.mean() - 0.5) < 5 * np.sqrt(0.2083 / 1e5)
  np.testing.assert_allclose(values.var(), 1 / (4 * 1.2), rtol=0.01)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_images_have_float32_statistics(dtype):
  # In half precision the mean swallows the deviations.
  x = (100 + photos(2) / 4).astype(dtype)
  own = augment.statistics(x)
  assert own.mean.dtype == own.std.dtype == jnp.float32
  for i in range(2):
    mean, std = moments(x[i])
    np.testing.assert_allclose(own.mean[i], mean, rtol=1e-5)
    np.testing.assert_allclose(own.std[i], std, rtol=1e-4, atol=1e-5)
  mixed = augment.mix_statistics(jax.random.key(0), x, ROW[:2])
  assert mixed.dtype == dtype


def test_statistics_are_constants_unless_asked_otherwise():
  key, x = jax.random.key(5), photos()

  def total(x, stop):
    return (augment.mix_statistics(key, x, ROW, stop_gradient=stop) ** 2).sum()

  lam, partner = draws(key, ROW)
  own = augment.statistics(x)
  lam = jnp.stack(lam)[:, None]
  slope = (lam * own.std + (1 - lam) * own.std[partner]) / own.std
  mixed = augment.mix_statistics(key, x, ROW)
  stopped = jax.grad(total)(x, True)
  np.testing.assert_allclose(
    stopped, 2 * mixed * slope[:, None, None], rtol=1e-3, atol=1e-2
  )
  through = jax.grad(total)(x, False)
  assert np.abs(through - stopped).max() > 1.0
  # Along the gradient itself, where the slope is far above float32's rounding.
  size = float(jnp.linalg.norm(through))
  move = 0.05 * through / size
  ahead, behind = total(x + move, False), total(x - move, False)
  numeric = (float(ahead) - float(behind)) / 0.1
  np.testing.assert_allclose(numeric, size, rtol=0.01)


@pytest.mark.parametrize("mode", ["jit", "pmap", "shard_map"])
def test_one_device_equals_four(mode):
  where = jnp.arange(8) < 5

  def step(key, data, *, axis_name=None):
    x, row, where = data
    mixed = augment.mix_statistics(
      key, x, row, where=where, axis_name=axis_name
    )
    keys = row_keys(jax.random.fold_in(key, 2), row)
    mixed = augment.per_row(augment.random_crop)(keys, mixed, 1)
    return key, accel.all_gather(mixed, axis_name)

  key, data = jax.random.key(5), (photos(), ROW, where)
  lift = functools.partial(accel.data_parallel, donate=False)
  _, one = lift(step, devices=jax.devices()[:1])(key, data)
  _, four = lift(step, mode=mode)(accel.place(key), data)
  np.testing.assert_allclose(one, four, rtol=1e-5, atol=1e-4)
