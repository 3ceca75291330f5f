import functools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.backbones import convolution
from kd_jax.backbones.convolution import chunks, convolve, plan, winograd

# (space, channels, features, kernel, and what differs from the defaults)
SHAPES = [
  ((9, 7), 64, 65, 3, {"padding": 1}),
  ((8, 10), 64, 64, 3, {}),
  ((11, 8), 64, 64, 3, {"padding": ((2, 0), (1, 2))}),
  ((8, 8), 64, 64, 3, {"padding": "VALID"}),
  ((9, 7), 17, 18, 3, {"padding": 1}),
  ((4, 4), 64, 64, 3, {"padding": 1}),
  ((6, 6), 3, 4, 5, {"padding": 2}),
  ((6, 5), 3, 4, 3, {"padding": 3}),
  ((6, 5), 4, 3, 1, {"padding": 0}),
  ((8, 6), 3, 5, 3, {"strides": 2, "padding": 1}),
  ((8, 7), 16, 5, 3, {"strides": 2, "padding": 1}),
  ((8, 8), 16, 6, 3, {"strides": 2}),
  ((9, 8), 3, 4, 7, {"strides": 2, "padding": 3}),
  ((7, 8), 16, 5, 1, {"strides": 2, "padding": 0}),
  ((9, 8), 17, 4, 2, {"strides": 4, "padding": 0}),
  ((9, 8), 17, 4, 3, {"strides": (1, 2), "padding": 1}),
  ((9, 9), 4, 5, 3, {"padding": 2, "dilation": 2}),
  ((9, 9), 4, 5, 3, {"strides": 2, "padding": 2, "dilation": (1, 2)}),
  ((8, 8), 6, 6, 3, {"strides": 2, "padding": 1, "groups": 6}),
  ((8, 8), 6, 12, 3, {"padding": 1, "dilation": 2, "groups": 6}),
  ((8, 8), 6, 6, 3, {"padding": 1, "groups": 2}),
  ((10,), 4, 5, 3, {"strides": 2, "padding": 1}),
  ((5, 4, 5), 4, 5, 3, {"strides": 2, "padding": 1}),
  ((37, 9), 64, 64, 3, {"padding": ((1, 0), (1, 2))}),
]


@pytest.fixture(autouse=True)
def few_tiles_will_do(monkeypatch):
  """So that two images take the way of a training batch."""
  monkeypatch.setattr(plan, "TILES", 1)
  convolution._products.cache_clear()
  yield
  convolution._products.cache_clear()


def arrays(space, c, f, k, how, members=()):
  draw = np.random.default_rng(0)
  x = draw.standard_normal((*members, 2, *space, c))
  kernel = draw.standard_normal(
    (*members, *[k] * len(space), c // how.get("groups", 1), f)
  )
  return jnp.float32(x), jnp.float32(kernel)


def close(tree, other):
  for got, expected in zip(
    jax.tree.leaves(tree), jax.tree.leaves(other), strict=True
  ):
    assert got.shape == expected.shape
    atol = 6e-6 * np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


def value_and_gradients(x, kernel, **how):
  """Outputs, and gradients against a fixed drawing of numbers."""

  def inner(x, kernel):
    y = convolve(x, kernel, **how)
    weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return (y * weights).sum(), y

  grads, y = jax.grad(inner, (0, 1), has_aux=True)(x, kernel)
  return y, *grads


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_compilers(shape):
  x, kernel = arrays(*shape)
  run = functools.partial(value_and_gradients, **shape[-1])
  native = jax.jit(functools.partial(run, native=True))(x, kernel)
  close(jax.jit(run)(x, kernel), native)


@pytest.mark.parametrize("mapped", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize(
  ("shape", "few"),
  [(SHAPES[1], 3), (SHAPES[4], 3), (SHAPES[4], 2), (SHAPES[10], 3)],
  ids=str,
)
def test_members(monkeypatch, shape, few, mapped):
  """Under vmap, over images, kernels or both; few are written out."""
  monkeypatch.setattr(convolution, "WRITTEN_OUT", few)
  x, kernel = arrays(*shape, members=(3,))
  x = x[0] if mapped[0] is None else x
  kernel = kernel[0] if mapped[1] is None else kernel
  run = functools.partial(value_and_gradients, **shape[-1])
  got = jax.jit(jax.vmap(run, mapped))(x, kernel)
  for member in range(3):
    pairs = zip((x, kernel), mapped, strict=True)
    one = run(*(v if m is None else v[member] for v, m in pairs), native=True)
    close(jax.tree.map(lambda v, m=member: v[m], got), one)
  text = jax.jit(jax.vmap(run, mapped)).lower(x, kernel).as_text()
  assert ("stablehlo.while" in text) == (few < 3)


@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[4], SHAPES[10]], ids=str)
def test_no_images(shape):
  x, kernel = arrays(*shape)
  run = functools.partial(value_and_gradients, **shape[-1])
  y, dx, dkernel = run(x[:0], kernel)
  assert (y.shape[0], dx.shape) == (0, (0, *x.shape[1:]))
  np.testing.assert_array_equal(dkernel, jnp.zeros_like(kernel))


def test_no_members():
  x, kernel = arrays(*SHAPES[4], members=(3,))
  run = functools.partial(value_and_gradients, **SHAPES[4][-1])
  for got, whole in zip(
    jax.vmap(run)(x[:0], kernel[:0]), jax.vmap(run)(x, kernel), strict=True
  ):
    assert got.shape == (0, *whole.shape[1:])


@pytest.mark.parametrize("few", [2, 4])
def test_members_of_members(monkeypatch, few):
  monkeypatch.setattr(convolution, "WRITTEN_OUT", few)
  space, c, f, k, how = SHAPES[4]
  x, kernel = arrays(space, c, f, k, how, members=(2, 2))
  run = functools.partial(value_and_gradients, **how)
  both = jax.vmap(jax.vmap(run))
  native = functools.partial(run, native=True)
  close(both(x, kernel), jax.vmap(jax.vmap(native))(x, kernel))
  # Four are written out, or one level is and the other is a loop.
  text = jax.jit(both).lower(x, kernel).as_text()
  assert ("stablehlo.while" in text) == (few < 4)


@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[10]], ids=str)
@pytest.mark.parametrize("by", [0, 1])
def test_gradients_of_gradients(shape, by):
  x, kernel = arrays(*shape)

  def penalty(x, kernel, native):
    def loss(*args):
      return (convolve(*args, **shape[-1], native=native) ** 2).sum()

    return (jax.grad(loss, by)(x, kernel) ** 2).sum()

  got = jax.grad(penalty, (0, 1))(x, kernel, False)
  close(got, jax.grad(penalty, (0, 1))(x, kernel, True))


def lowered(platform, space, c, f, k, how):
  run = jax.jit(functools.partial(value_and_gradients, **how))
  exported = jax.export.export(run, platforms=[platform])
  lines = exported(*arrays(space, c, f, k, how)).mlir_module().splitlines()
  kinds = ("stablehlo.convolution", "stablehlo.dot_general")
  return [[x for x in lines if kind in x] for kind in kinds]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_that_accelerators_take(shape):
  """Stated by hand, they are those that JAX derives; members at once too."""
  x, kernel = arrays(*shape, members=(2,))

  def derived(x, kernel, dy):
    y = functools.partial(convolve, **shape[-1], native=True)
    return jax.vjp(y, x, kernel)[1](dy)

  def stated(x, kernel, dy):
    return geometry(x.shape, kernel.shape, **shape[-1]).native_gradients(
      x, kernel, dy
    )

  y = jax.vmap(functools.partial(convolve, **shape[-1]))(x, kernel)
  dy = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
  expected = jax.jit(jax.vmap(derived))(x, kernel, dy)
  close(jax.jit(jax.vmap(stated))(x, kernel, dy), expected)


def geometry(shape, window, strides=1, padding="SAME", dilation=1, groups=1):
  n = len(shape) - 2
  steps = convolution._each(strides, n), convolution._each(dilation, n)
  zeros = convolution._padding(padding, shape[1:-1], window[:-2], *steps)
  return plan.Geometry(steps[0], zeros, steps[1], groups)


@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[9]], ids=str)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_compilers_own(platform, shape):
  convolutions, products = lowered(platform, *shape)
  assert (len(convolutions), len(products)) == (3, 0)


@pytest.mark.parametrize("shape", SHAPES[:18], ids=str)
def test_no_gradient_on_the_cpu_is_slow_in_a_loop(shape):
  """None is a convolution with a kernel as large as the image, or turned by
  the compiler: in a loop these take tens of times as long."""
  convolutions, _ = lowered("cpu", *shape)
  if shape[4].get("dilation", 1) != (1, 2):  # Its input gradient is left.
    for line in convolutions:
      assert "reverse = [true" not in line
      assert "dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line


def test_few_images_at_a_time(monkeypatch):
  """How many does not change the numbers, also if it does not divide."""
  space, c, f, k, how = SHAPES[1]
  x, kernel = arrays(space, c, f, k, how, members=(3,))
  x, kernel = x.reshape(6, *x.shape[2:]), kernel[0]
  expected = value_and_gradients(x, kernel, native=True)
  monkeypatch.setattr(chunks, "ROWS", 1)
  for numbers, each in [(1, 1), (16 * 20 * c * 2, 2), (16 * 20 * c * 5, 3)]:
    monkeypatch.setattr(chunks, "NUMBERS", numbers)
    assert chunks._images(6, 16 * 20 * c, 20) == each
    convolution._products.cache_clear()
    close(value_and_gradients(x, kernel), expected)


def test_large_kernels_are_taken_in_parts(monkeypatch):
  """In parts of a quarter of the outputs; 6 do not divide by 4."""
  for f, parts in ((8, 4), (6, 2)):
    x, kernel = arrays((9, 7), 5, f, 3, {})
    monkeypatch.setattr(winograd, "MOST", 36 * 5 * 2)
    cut = winograd._parts(kernel, winograd.FOUR)
    assert [k.shape[-1] for k in cut] == [f // parts] * parts
    padding = ((1, 1), (1, 1))
    native = functools.partial(convolve, padding=padding, native=True)
    y, back = jax.vjp(native, x, kernel)
    dy = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    for numbers, rows in ((chunks.NUMBERS, chunks.ROWS), (1, 1)):
      monkeypatch.setattr(chunks, "NUMBERS", numbers)
      monkeypatch.setattr(chunks, "ROWS", rows)
      close(winograd.forward(x, kernel, padding), y)
      close(winograd.gradients(x, kernel, dy, padding), back(dy))
    monkeypatch.undo()


def test_nothing_is_too_large_to_be_kept():
  """What an allocator hands back at once, of ResNet's widest layer."""
  x, kernel = jnp.ones((64, 4, 4, 512)), jnp.ones((3, 3, 512, 512))
  text = jax.jit(value_and_gradients).lower(x, kernel).as_text()
  sizes = re.findall(r"tensor<([0-9x]+)xf32>", text)
  largest = max(np.prod([int(n) for n in s.split("x")]) for s in sizes)
  assert largest <= winograd.MOST < 2**23


def test_half_precision_is_computed_in_float32():
  x, kernel = (v.astype(jnp.bfloat16) for v in arrays(*SHAPES[1]))
  y = convolve(x, kernel)
  assert y.dtype == jnp.bfloat16
  exact = convolve(x.astype(jnp.float32), kernel.astype(jnp.float32))
  np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))


TILES = [winograd.TWO, winograd.FOUR]


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"of {tile.m}")
def test_a_tile_along_an_axis_is_exact(tile):
  """In double precision, against the sums of three that it stands for."""
  draw = np.random.default_rng(1)
  x, w = draw.standard_normal(tile.m + 2), draw.standard_normal(3)
  y = tile.outputs @ ((tile.kernels @ w) * (tile.inputs @ x))
  np.testing.assert_allclose(y, np.correlate(x, w, "valid"), rtol=1e-12)


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"of {tile.m}")
@pytest.mark.parametrize(
  "padding", [((1, 1), (1, 1)), ((2, 0), (0, 1))], ids=str
)
def test_tiles_are_the_compilers(tile, padding):
  """Also for images that they do not divide."""
  x, kernel = arrays((7, 10), 5, 6, 3, {})
  native = functools.partial(convolve, padding=padding, native=True)
  y, back = jax.vjp(native, x, kernel)
  dy = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
  close(winograd.forward(x, kernel, padding, tile), y)
  close(winograd.gradients(x, kernel, dy, padding, tile), back(dy))


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_four_devices(mode):
  x, kernel = arrays(*SHAPES[1])
  x = jnp.concatenate([x, x + 1])

  def step(kernel, x, *, axis_name=None):
    gradient = jax.grad(lambda k: (convolve(x, k) ** 2).sum())
    return accel.sum(gradient(kernel), axis_name)

  got = accel.data_parallel(step, mode=mode, donate=False)(
    accel.place(kernel), x
  )
  close(got, step(kernel, x))


@pytest.mark.parametrize(
  ("x", "kernel", "groups", "says"),
  [
    ((2, 4, 4, 3), (3, 3, 4, 5), 1, "x has 3 channels; a kernel of"),
    ((2, 4, 4, 4), (3, 3, 4, 4), 2, "in 2 groups takes 8"),
    ((2, 4, 4, 4), (3, 4, 4), 1, r"x is \(2, 4, 4, 4\), for a kernel of"),
  ],
)
def test_shapes_that_do_not_fit(unhooked, x, kernel, groups, says):
  with pytest.raises(ValueError, match=says):
    unhooked(convolve)(jnp.ones(x), jnp.ones(kernel), groups=groups)
