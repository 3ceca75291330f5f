"""Crops and colours beside Pillow, colorsys and plain NumPy statements."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from kd_jax import accel, augment
from kd_jax.training.state import row_keys

# What Pillow rounds to bytes, once or twice.
_BYTE = 1.01 / 255


@pytest.fixture(autouse=True)
def strict_promotion():
  with jax.numpy_dtype_promotion("strict"):
    yield


def photo(h=12, w=17, seed=0):
  """Smooth colours with noise, as bytes."""
  rng = np.random.default_rng(seed)
  y, x, c = np.ogrid[:h, :w, :3]
  smooth = 127 + 90 * np.sin(y / 3 + c) * np.cos(x / 4 - c)
  return np.clip(smooth + rng.normal(0, 20, (h, w, 3)), 0, 255).astype(np.uint8)


def floats(image):
  return jnp.asarray(image, jnp.float32) / 255.0


# Boxes.


@pytest.mark.parametrize(
  ("box", "size"),
  [
    ((0, 0, 12, 17), (12, 17)),
    ((2, 3, 9, 11), (9, 11)),
    ((2, 3, 9, 11), (5, 4)),  # Shrunk: Pillow averages.
    ((5, 1, 3, 2), (8, 9)),  # Enlarged.
    ((11, 16, 1, 1), (4, 4)),
    ((1, 0, 10, 17), (16, 6)),
  ],
)
def test_resized_crop_is_pillow_s(box, size):
  image = photo()
  top, left, h, w = box
  crop = Image.fromarray(image).crop((left, top, left + w, top + h))
  expected = np.asarray(crop.resize(size[::-1], Image.Resampling.BILINEAR))
  got = augment.resized_crop(floats(image), jnp.array(box, jnp.float32), size)
  np.testing.assert_allclose(got, expected / 255.0, atol=2 * _BYTE)
  assert np.abs(got - expected / 255.0).mean() < _BYTE / 2


def test_without_antialias_two_pixels_are_interpolated():
  image = np.asarray(floats(photo(12, 12)))
  got = augment.resized_crop(
    jnp.asarray(image), jnp.array([2.0, 1.0, 9.0, 8.0]), (3, 5), False
  )
  for i in range(3):
    for j in range(5):
      y, x = (i + 0.5) * 9 / 3 - 0.5, (j + 0.5) * 8 / 5 - 0.5
      y0, x0 = int(np.floor(y)), int(np.floor(x))
      value = 0.0
      for a, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for b, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
          cell = image[2 + np.clip(a, 0, 8), 1 + np.clip(b, 0, 7)]
          value = value + wy * wx * cell
      np.testing.assert_allclose(got[i, j], value, atol=1e-5)


def test_boxes_are_drawn_as_described():
  keys = jax.random.split(jax.random.key(0), 4000)
  box = functools.partial(augment.random_box, height=64, width=64)
  top, left, h, w = np.asarray(jax.jit(jax.vmap(box))(keys)).T
  for value in (top, left, h, w):
    np.testing.assert_array_equal(value, np.round(value))
  assert (top >= 0).all()
  assert (left >= 0).all()
  assert (top + h <= 64).all()
  assert (left + w <= 64).all()
  share, ratio = h * w / 64**2, w / h
  assert share.min() > 0.07
  assert ratio.min() > 0.7
  assert ratio.max() < 1.43
  # Where nearly all boxes fit, area is uniform and aspect log-uniform.
  small = share[(share > 0.1) & (share < 0.6)]
  assert abs(small.mean() - 0.35) < 5 * 0.5 / np.sqrt(12 * len(small))
  spread = np.log(4 / 3)
  assert abs(np.log(ratio).mean()) < 5 * spread / np.sqrt(3 * 4000) + 0.01
  # Places are uniform, the ends among them.
  free = 64 - h
  middle = free > 8
  assert abs((top / np.maximum(free, 1))[middle].mean() - 0.5) < 0.03
  assert (top == 0).any()
  assert (top == free)[free > 0].any()


def test_a_box_that_never_fits_is_the_largest_centred_one():
  key = jax.random.key(0)
  tall = augment.random_box(key, 40, 10, (1.0, 1.0), (1.0, 1.0))
  np.testing.assert_array_equal(tall, [15, 0, 10, 10])
  wide = augment.random_box(key, 10, 40, (1.0, 1.0), (0.5, 2.0))
  np.testing.assert_array_equal(wide, [0, 10, 10, 20])


def test_random_resized_crop_is_its_box_resized():
  key, image = jax.random.key(3), floats(photo())
  box = augment.random_box(key, 12, 17)
  got = augment.random_resized_crop(key, image, (6, 7))
  np.testing.assert_array_equal(got, augment.resized_crop(image, box, (6, 7)))
  assert augment.random_resized_crop(key, image).shape == image.shape


# Colours.


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize(
  ("ours", "theirs"),
  [
    (augment.brightness, ImageEnhance.Brightness),
    (augment.contrast, ImageEnhance.Contrast),
    (augment.saturation, ImageEnhance.Color),
  ],
)
def test_enhancements_are_pillow_s(ours, theirs, factor):
  image = photo()
  expected = np.asarray(theirs(Image.fromarray(image)).enhance(factor))
  got = ours(floats(image), factor)
  np.testing.assert_allclose(got, expected / 255.0, atol=2 * _BYTE)


def test_grey_is_pillow_s():
  image = photo()
  expected = np.asarray(Image.fromarray(image).convert("L"))[..., None] / 255.0
  got = augment.grey(floats(image))
  np.testing.assert_allclose(got, np.repeat(expected, 3, -1), atol=_BYTE)


@pytest.mark.parametrize("threshold", [0, 100, 128, 255])
def test_solarise_is_pillow_s(threshold):
  image = photo()
  image[0, 0] = (127, 128, 129)
  expected = np.asarray(ImageOps.solarize(Image.fromarray(image), threshold))
  got = augment.solarise(floats(image), threshold / 255)
  np.testing.assert_allclose(got, expected / 255.0, atol=1e-6)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.07, 0.5])
def test_hue_is_that_of_colorsys(turn):
  image = photo(6, 7)
  image[0, :3] = [(10, 10, 10), (0, 0, 0), (255, 0, 0)]
  image[1, :3] = [(255, 255, 0), (0, 255, 0), (0, 255, 255)]
  image[2, :3] = [(0, 0, 255), (255, 0, 255), (255, 255, 255)]
  got = augment.hue(floats(image), turn)
  for y in range(6):
    for x in range(7):
      h, s, v = colorsys.rgb_to_hsv(*(image[y, x] / 255.0))
      expected = colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)
      np.testing.assert_allclose(got[y, x], expected, atol=2e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_loop_over_the_kernel(sigma):
  image = np.asarray(floats(photo()))
  got = augment.blur(jnp.asarray(image), sigma, 5)
  away = np.arange(-2, 3)
  kernel = np.exp(-(away**2) / (2 * sigma**2))
  kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
  expected = np.zeros_like(image)
  for y in range(12):
    for x in range(17):
      window = padded[y : y + 5, x : x + 5]
      expected[y, x] = (kernel[..., None] * window).sum((0, 1))
  np.testing.assert_allclose(got, expected, atol=1e-6)
  np.testing.assert_allclose(
    augment.blur(jnp.full((9, 9, 2), 0.3), 1.0, 3), 0.3, atol=1e-6
  )


def test_jitter_draws_factors_and_an_order():
  """Of a fixed image: every order, factors all over their ranges."""
  image, keys = floats(photo(4, 4)), jax.random.split(jax.random.key(0), 300)
  jitter = functools.partial(augment.random_colours, image=image)
  got = np.asarray(jax.jit(jax.vmap(jitter))(keys))
  assert got.min() >= 0
  assert got.max() <= 1
  strengths, order_of = (0.4, 0.4, 0.4, 0.1), set()
  for key, changed in zip(keys[:40], got[:40], strict=True):
    order_key, draw_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, 4))
    draws = np.asarray(jax.random.uniform(draw_key, (4,)))
    factors = [1 - s + 2 * s * u for s, u in zip(strengths, draws, strict=True)]
    factors[3] -= 1
    expected = image
    steps = ("brightness", "contrast", "saturation", "hue")
    for i in order:
      expected = getattr(augment, steps[i])(expected, float(factors[i]))
    np.testing.assert_allclose(changed, expected, atol=1e-5)
    order_of.add(tuple(order))
  assert len(order_of) > 12
  none = augment.random_colours(keys[0], image, (0.0, 0.0, 0.0, 0.0))
  np.testing.assert_allclose(none, image, atol=1e-6)


@pytest.mark.parametrize(
  ("fn", "change"),
  [
    (augment.random_grey, augment.grey),
    (augment.random_solarise, augment.solarise),
  ],
)
def test_now_and_then(fn, change):
  image, keys = floats(photo(4, 4)), jax.random.split(jax.random.key(1), 1000)
  got = np.asarray(jax.jit(jax.vmap(lambda k: fn(k, image)))(keys))
  changed = np.abs(got - np.asarray(change(image))).max((1, 2, 3)) < 1e-6
  same = (got == np.asarray(image)).all((1, 2, 3))
  assert (changed ^ same).all()
  assert abs(changed.mean() - 0.2) < 5 * np.sqrt(0.16 / 1000)


def test_random_blur_is_a_blur_of_some_strength():
  image, keys = floats(photo(8, 8)), jax.random.split(jax.random.key(1), 50)
  blur = functools.partial(augment.random_blur, image=image, size=3)
  got = np.asarray(jax.jit(jax.vmap(blur))(keys))
  rough = np.abs(np.diff(got, axis=1)).mean((1, 2, 3))
  least = np.abs(np.diff(augment.blur(image, 2.0, 3), axis=0)).mean()
  most = np.abs(np.diff(np.asarray(image), axis=0)).mean()
  assert (rough > least * 0.99).all()
  assert (rough < most * 1.01).all()
  assert rough.max() - rough.min() > 0.5 * (most - least)
  never = augment.random_blur(keys[0], image, 3, probability=0.0)
  np.testing.assert_array_equal(never, image)


def test_settings_are_checked():
  key, image = jax.random.key(0), floats(photo())
  with pytest.raises(ValueError, match=r"area is 0\.5 to 0\.1"):
    augment.random_box(key, 8, 8, (0.5, 0.1))
  with pytest.raises(ValueError, match=r"aspect is 0\.0 to 1\.0"):
    augment.random_box(key, 8, 8, (0.5, 1.0), (0.0, 1.0))
  with pytest.raises(ValueError, match="the blur is 4 wide"):
    augment.blur(image, 1.0, 4)
  with pytest.raises(ValueError, match="the blur is 25 wide"):
    augment.blur(image, 1.0, 25)
  with pytest.raises(ValueError, match="four numbers"):
    augment.random_colours(key, image, (0.4, 0.4, 0.4))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_dtype_stays(dtype):
  image, key = floats(photo(8, 8)).astype(dtype), jax.random.key(0)
  for fn in (
    augment.random_resized_crop,
    augment.random_colours,
    augment.random_grey,
    augment.random_solarise,
    functools.partial(augment.random_blur, size=3),
  ):
    assert fn(key, image).dtype == dtype


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_one_device_equals_four(mode):
  images = jnp.stack([floats(photo(8, 8, seed)) for seed in range(8)])

  def change(key, image):
    keys = jax.random.split(key, 5)
    image = augment.random_resized_crop(keys[0], image)
    image = augment.random_flip(keys[1], image)
    image = augment.random_colours(keys[2], image)
    image = augment.random_grey(keys[3], image)
    image = augment.random_blur(keys[4], image, 3, probability=0.5)
    return augment.random_solarise(keys[4], image)

  def step(key, data, *, axis_name=None):
    images, row = data
    changed = augment.per_row(change)(row_keys(key, row), images)
    return key, accel.all_gather(changed, axis_name)

  key, data = jax.random.key(5), (images, jnp.arange(8, dtype=jnp.int32))
  lift = functools.partial(accel.data_parallel, donate=False)
  _, one = lift(step, devices=jax.devices()[:1])(key, data)
  _, four = lift(step, mode=mode)(accel.place(key), data)
  np.testing.assert_allclose(one, four, atol=1e-6)
