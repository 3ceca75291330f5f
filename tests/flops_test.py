import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import flops
from kd_jax.backbones import create


@pytest.mark.parametrize(
  ("name", "multiply_adds"), [("resnet18", 557e6), ("resnet34", 1.16e9)]
)
def test_published_costs(name, multiply_adds):
  got = flops.forward(create(name, 10), (1, 32, 32, 3), train=False) / 2
  np.testing.assert_allclose(got, multiply_adds, rtol=0.01)


def test_batch_multiplies():
  model = create("resnet_tiny", 3)
  one = flops.forward(model, (1, 8, 8, 3), train=False)
  assert flops.forward(model, (5, 8, 8, 3), train=False) == 5 * one


def test_products_by_hand():
  a, b = jnp.zeros((3, 4, 5)), jnp.zeros((3, 5, 7))
  assert flops.count(jnp.matmul, a, b) == 2 * 3 * 4 * 5 * 7
  assert flops.count(lambda a: jnp.sin(a) + 1, a) == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_a_gradient_costs_twice_the_forward_pass(stride):
  x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 2, 3, 5))

  def conv(x, kernel):
    # Windows that tile: as many products either way, none with padding.
    pad = [(0, 0), (0, 0)] if stride == 2 else [(0, 1), (0, 1)]
    return jax.lax.conv_general_dilated(
      x, kernel, (stride,) * 2, pad, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def both(x, kernel, dy):
    return jax.vjp(conv, x, kernel)[1](dy)

  forward = flops.count(conv, x, kernel)
  out = 8 // stride
  assert forward == 2 * (2 * out * out * 5) * (2 * 2 * 3)
  dy = jnp.zeros((2, out, out, 5))
  # vjp runs the forward pass too.
  assert flops.count(both, x, kernel, dy) == 3 * forward


def test_loops_multiply():
  a = jnp.zeros((4, 4))
  once = 2 * 4**3

  def scanned(a):
    def body(c, _):
      return jax.jit(jnp.matmul)(c, a), None

    return jax.lax.scan(body, a, None, length=7)[0]

  def endless(a):
    def grow(c):
      return jax.checkpoint(jnp.matmul)(c, a)

    return jax.lax.while_loop(lambda c: c.sum() < 9, grow, a)

  def either(a):
    return jax.lax.cond(a.sum() > 0, lambda a: a, lambda a: a @ a, a)

  assert flops.count(scanned, a) == 7 * once
  assert flops.count(either, a) == once
  assert flops.count(endless, a, trips=3) == 3 * once
  with pytest.raises(ValueError, match="trips"):
    flops.count(endless, a)


def test_a_loop_without_products_needs_no_length():
  key = jax.random.key(0)

  def draw(key):
    return jax.lax.while_loop(lambda c: c < 5, lambda c: c + 1, 0), key

  assert flops.count(draw, key) == 0


def test_every_device_counts():
  mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("d")
  a, b = jnp.zeros((8, 4)), jnp.zeros((4, 4))
  split = jax.shard_map(
    jnp.matmul,
    mesh=mesh,
    in_specs=(spec, jax.sharding.PartitionSpec()),
    out_specs=spec,
  )
  assert flops.count(split, a, b) == flops.count(jnp.matmul, a, b)


# By family, on images that are large beside their padding: its zeros are no
# work to the compiler, and are counted here.
FAMILIES = {
  "small_cnn": ({}, 64),
  "resnet_tiny": ({}, 64),
  "resnet50": ({"blocks": (1, 1, 1, 1), "width": 8}, 256),
  "wrn_16_1": ({}, 64),
  "vgg8": ({}, 256),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_compilers_count_of_a_training_step(name):
  """Forward and twice as many back, by formula, and what XLA counts."""
  fields, size = FAMILIES[name]
  model, shape = create(name, 10, **fields), (2, size, size, 3)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(
    lambda x: model.init(jax.random.key(0), x, train=False), x
  )

  def loss(params, rest, x):
    out, _ = model.apply(
      {**rest, "params": params}, x, train=True, mutable=["batch_stats"]
    )
    return (out.logits**2).sum()

  params, rest = variables["params"], {"batch_stats": variables["batch_stats"]}
  # For an accelerator, whose program holds convolutions as they are.
  traced = jax.jit(jax.grad(loss)).trace(params, rest, x)
  counted = traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]
  formula = 3 * flops.forward(model, shape, train=False)
  np.testing.assert_allclose(formula, counted, rtol=0.12)
