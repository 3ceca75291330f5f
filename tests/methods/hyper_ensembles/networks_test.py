"""Networks: the paper's parameter counts, and what each part does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import draws
from kd_jax.methods.hyper_ensembles import networks
from kd_jax.methods.hyper_ensembles.networks import (
  Given,
  Kit,
  LeNet,
  Mlp,
  dropout,
)
from kd_jax.methods.hyper_ensembles.pooling import max_pool
from kd_jax.methods.hyper_ensembles.residual import ResNet

GIVEN = Given(z=jnp.zeros((1, 1, 6)))


def shapes(net, shape, given=GIVEN):
  x = jax.ShapeDtypeStruct((1, 2, *shape), jnp.float32)
  return jax.eval_shape(
    lambda x: net.init(jax.random.key(0), x, given, train=False), x
  )


def initial(net, x):
  return jax.jit(lambda: net.init(jax.random.key(0), x, GIVEN, train=False))()


def count(net, shape):
  return sum(x.size for x in jax.tree.leaves(shapes(net, shape)["params"]))


@pytest.mark.parametrize(
  ("classes", "kind", "published", "exact"),
  [
    (10, "single", "36.5", 36_479_194),
    (10, "batch", "36.6", 36_557_548),
    (10, "hyper", "73.1", 73_079_516),
    (100, "single", "36.5", 36_536_884),
    (100, "batch", "36.6", 36_615_868),
    (100, "hyper", "73.2", 73_196_876),
  ],
)
def test_a_wrn_has_the_papers_parameters(classes, kind, published, exact):
  members = 1 if kind == "single" else 4
  found = count(ResNet(classes, Kit(kind, members)), (32, 32, 3))
  assert found == exact
  assert f"{found / 1e6:.1f}" == published


def test_lenet_and_resnet_20_by_count():
  assert count(LeNet(10), (28, 28, 1)) == 545_546
  assert count(ResNet(10, Kit(), 3, 1, 1), (32, 32, 3)) == 272_282
  assert count(Mlp(10, widths=(64, 64)), (8, 8, 1)) == 8_970
  batch = count(Mlp(10, Kit("batch", 3), (64, 64)), (8, 8, 1))
  # d_in d_out + K (d_in + 2 d_out).
  ends = [(64, 64), (64, 64), (64, 10)]
  assert batch == sum(i * o + 3 * (i + 2 * o) for i, o in ends)
  hyper = count(Mlp(10, Kit("hyper", 3), (64, 64)), (8, 8, 1))
  assert hyper < 2.2 * batch


@pytest.mark.parametrize("net", [LeNet, Mlp])
@pytest.mark.parametrize("kind", ["single", "batch", "hyper"])
def test_logits_of_each_member(net, kind):
  members = 1 if kind == "single" else 2
  made = (
    net(4, Kit(kind, members), (5,))
    if net is Mlp
    else net(4, Kit(kind, members), (2, 3, 4), 5)
  )
  x = jax.random.normal(jax.random.key(1), (1, 3, 8, 8, 1))
  y = jax.jit(
    lambda x: made.init_with_output(jax.random.key(0), x, GIVEN, train=False)
  )(x)[0]
  assert y.shape == (members, 3, 4)
  if members > 1:  # Trap 9: members differ from the start.
    assert np.abs(y[0] - y[1]).max() > 1e-2


def test_batch_norms_are_one_for_all_members():
  net = ResNet(4, Kit("batch", 2), blocks=1, width=1)
  x = jax.random.normal(jax.random.key(1), (1, 6, 8, 8, 3))
  variables = initial(net, x)
  for stats in jax.tree.leaves(variables["batch_stats"]):
    assert stats.ndim == 1
  y, new = jax.jit(
    lambda v: net.apply(v, x, GIVEN, train=True, mutable=["batch_stats", "l2"])
  )(variables)
  assert y.shape == (2, 6, 4)
  moved = new["batch_stats"]["stage_0_0_norm_0"]["mean"]
  assert np.abs(moved).max() > 0
  # Of both members' activations: those of the first convolution.
  kernel = variables["params"]["conv_init"]
  wide = x * kernel["r"][:, None, None, None, :]
  first = jax.lax.conv_general_dilated(
    wide.reshape(-1, 8, 8, 3),
    kernel["kernel"],
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  ).reshape(2, 6, 8, 8, 16)
  first = first * kernel["s"][:, None, None, None, :]
  np.testing.assert_allclose(
    moved, 0.1 * first.mean((0, 1, 2, 3)), rtol=1e-3, atol=1e-4
  )


@pytest.mark.parametrize("version", [1, 2])
def test_penalties_of_groups_are_sown_once_each(version):
  net = ResNet(4, Kit(), blocks=1, width=1, version=version)
  x = jnp.zeros((1, 2, 8, 8, 3))
  variables = initial(net, x)
  p = variables["params"]
  weights = {
    0: [p["conv_init"]["kernel"]],
    4: [p["dense"]["kernel"]],
    5: [p["dense"]["bias"]],
    **{
      s + 1: [
        v["kernel"]
        for k, v in p.items()
        if k.startswith(f"stage_{s}") and "conv" in k
      ]
      for s in range(3)
    },
  }

  @jax.jit
  def sown(nu):
    given = GIVEN._replace(nu=nu)
    return net.apply(variables, x, given, train=False, mutable=["l2"])[1]

  for group, values in weights.items():
    found = sown(jnp.zeros((1, 1, 6)).at[..., group].set(2.0))
    expect = 2 * sum(float(jnp.square(v).sum()) for v in values)
    got = float(sum(jax.tree.leaves(found["l2"])))
    assert got == pytest.approx(expect, rel=1e-5)


def test_pooling_is_the_window_reductions():
  x = jax.random.normal(jax.random.key(0), (2, 3, 5, 6, 4))
  flat = x.reshape(-1, 5, 6, 4)
  expect = jax.lax.reduce_window(
    flat, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
  )
  np.testing.assert_array_equal(max_pool(x).reshape(-1, 2, 3, 4), expect)


def test_pooling_shares_the_gradient_among_the_largest():
  window = [[2.0, 1.0, 0.0], [2.0, 2.0, 5.0]]
  x = jnp.array(window)[None, None, :, :, None]
  grad = jax.grad(lambda x: 6 * max_pool(x).sum())(x)
  expect = [[2, 0, 0], [2, 2, 0]]  # The odd column is left out.
  np.testing.assert_allclose(grad[0, 0, :, :, 0], expect)


def test_gradients_go_through_pooling_in_a_compiled_network(monkeypatch):
  """A compiler may work activations out twice, a last place apart."""
  net = LeNet(4, Kit("hyper", 2), (2, 3, 4), 5)
  given = Given(z=jax.random.normal(jax.random.key(2), (2, 16, 6)))
  x = jax.random.normal(jax.random.key(1), (1, 16, 8, 8, 1))
  params = initial(net, x)["params"]

  def gradients():
    def energy(params, z):
      y = net.apply({"params": params}, x, Given(z=z), train=False)
      return jnp.square(y).sum()

    return jax.jit(jax.grad(energy, (0, 1)))(params, given.z)

  got = gradients()
  monkeypatch.setattr(
    networks,
    "max_pool",
    jax.vmap(lambda x: nn.max_pool(x, (2, 2), (2, 2))),
  )
  for a, b in zip(*map(jax.tree.leaves, (got, gradients())), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dropout_has_each_ones_rate_and_keeps_the_mean():
  rates = jnp.array([[0.1, 0.5], [0.9, 0.0]])
  given = Given(
    rates=rates[..., None],
    key=draws.stream_key(jnp.uint32(3), 0, jnp.int32(0)),
    rows=jnp.arange(2),
  )
  x = jnp.ones((1, 2, 50, 40))
  y = dropout(x, given, 0, 2)
  assert y.shape == (2, 2, 50, 40)
  np.testing.assert_allclose((y == 0).mean((2, 3)), rates, atol=0.03)
  np.testing.assert_allclose(y.max((2, 3)), 1 / (1 - rates), rtol=1e-6)
  # A row's mask is its place's: 1 = 4 devices. Layers have masks of their own.
  second = given._replace(rows=jnp.array([1]), rates=given.rates[:, 1:])
  np.testing.assert_array_equal(dropout(x[:, :1], second, 0, 2)[:, 0], y[:, 1])
  more = given._replace(rates=jnp.tile(rates[..., None], 2))
  same = (dropout(x, more, 1, 2)[0, 1] == 0) == (y[0, 1] == 0)
  assert abs(float(same.mean()) - 0.5) < 0.03


@pytest.mark.parametrize("net", [LeNet, Mlp])
def test_each_layer_drops_its_inputs_by_its_own_rate(net):
  kit = Kit("batch", 2)
  made = net(4, kit, (5,)) if net is Mlp else net(4, kit, (2, 3, 4), 5)
  slots = 2 if net is Mlp else 5
  x = jax.random.normal(jax.random.key(1), (1, 3, 8, 8, 1))
  params = initial(made, x)
  key = draws.stream_key(jnp.uint32(3), 0, jnp.int32(0))

  @jax.jit
  def logits(rates):
    given = GIVEN._replace(rates=rates, key=key, rows=jnp.arange(3))
    return made.apply(params, x, given, train=True)

  whole = logits(jnp.zeros((2, 1, slots)))
  for slot in range(slots):
    # Of the second member alone.
    dropped = logits(jnp.zeros((2, 1, slots)).at[1, :, slot].set(0.9))
    np.testing.assert_allclose(dropped[0], whole[0], rtol=1e-5)
    assert np.abs(dropped[1] - whole[1]).max() > 1e-2, slot
