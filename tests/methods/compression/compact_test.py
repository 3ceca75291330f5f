import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.compression import compact, groups, hosts
from kd_jax.methods.compression.model import Model

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def normal(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_crelu_keeps_both_signs():
  x = jnp.array([[1.0, -2.0]])
  np.testing.assert_array_equal(compact.crelu(x), [[1, 0, 0, 2]])


def test_many_biases_of_one_map():
  layer = compact.MultiBias(3)
  x = normal(2, 4)
  bias = normal(3, 4)
  got = layer.apply({"params": {"bias": bias}}, x)
  want = np.maximum(np.concatenate([x + b[None] for b in bias], 1), 0)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_doubly_convolutional_filters_are_all_crops():
  layer = compact.DoublyConv(2, 4, 3, pool=2)
  x = normal(1, 6, 5, 3)
  kernel = normal(4, 4, 3, 2)
  got = layer.apply({"params": {"kernel": kernel}}, x)
  maps = [
    jax.lax.conv_general_dilated(
      x, kernel[i : i + 3, j : j + 3], (1, 1), "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    for i in range(2)
    for j in range(2)
  ]  # fmt: skip
  np.testing.assert_allclose(got, np.max(maps, 0), rtol=1e-4, atol=1e-5)
  assert compact.crops(kernel, 2).shape == (2, 2, 3, 9 * 2)
  with pytest.raises(ValueError, match="groups of 3"):
    compact.DoublyConv(2, 4, 3, pool=3).init(KEY, x)


@pytest.mark.parametrize("group", ["p4", "p4m"])
def test_a_turned_image_turns_the_maps_and_shifts_the_group(group):
  """f(g x) = g f(x), through two layers, for every element."""
  g = groups.symmetry(group)
  lift = groups.GroupConv(3, group=group)
  conv = groups.GroupConv(2, group=group)
  x = normal(2, 5, 5, 2)
  first = lift.init(KEY, x)
  y = lift.apply(first, x)
  assert y.shape == (2, 5, 5, g.order, 3)
  second = conv.init(KEY, y)

  @jax.jit
  def f(x):
    return conv.apply(second, jnp.tanh(lift.apply(first, x)))

  plain = np.asarray(f(x))
  for e in range(g.order):
    got = f(g.act(e, x, (1, 2)))
    # The map of h comes from where e^-1 h was.
    want = g.act(e, plain, (1, 2))[:, :, :, g.before[e]]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  if group == "p4":
    turned = np.rot90(plain, 1, (1, 2))
    shifted = np.roll(turned, 1, 3)  # A cyclic shift by one.
    np.testing.assert_allclose(f(jnp.rot90(x, 1, (1, 2))), shifted,
                               rtol=1e-4, atol=1e-5)  # fmt: skip


def test_the_groups_table():
  table = groups.symmetry("p4").before
  want = (np.arange(4)[None] - np.arange(4)[:, None]) % 4
  np.testing.assert_array_equal(table, want)
  for row in groups.symmetry("p4m").before:
    assert sorted(row) == list(range(8))


@pytest.mark.parametrize("kind", ["p4", "p4m"])
def test_a_group_network_answers_a_turned_image_alike(kind):
  model = Model(compact.CompactCNN(3, kind, (8, 16)), (6, 6, 1))
  variables = model.init(KEY)
  x = normal(2, 6, 6, 1)
  logits = jax.jit(model.logits)
  a, b = logits(variables, x), logits(variables, x[:, ::-1, ::-1])
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_weights_of_each_kind_for_as_many_maps():
  count = {}
  for kind in compact.KINDS:
    model = Model(compact.CompactCNN(10, kind, (32, 64, 64)), (16, 16, 1))
    shapes = jax.eval_shape(model.init, KEY)
    last = shapes["params"]
    count[kind] = sum(
      w.size for w in jax.tree.leaves(last) if len(w.shape) >= 3
    )
  plain = 9 * (32 + 32 * 64 + 64 * 64)
  assert count["plain"] == plain
  assert count["crelu"] == count["mba"] == plain / 2
  assert count["dcnn"] == 16 * (8 + 32 * 16 + 64 * 16)  # Four crops of 4x4.
  # |G| T maps of T filters that see |G| S: a |G|-th of the plain weights.
  assert count["p4"] == 9 * (8 + 32 * 16 + 64 * 16)
  assert count["p4m"] == 9 * (4 + 32 * 8 + 64 * 8)
  d, t = 9, 64
  assert count["separable"] == (9 + 32) + (9 * 32 + 32 * t) + (9 * t + t * t)
  assert (9 * t + t * t) / (9 * t * t) == 1 / t + 1 / d


def test_a_fire_module_is_its_three_convolutions():
  fire = hosts.Fire(2, 3, 4)
  x = normal(1, 4, 4, 5)
  params = fire.init(KEY, x)["params"]
  shapes = {k: v["kernel"].shape for k, v in params.items()}
  assert shapes == {
    "squeeze": (1, 1, 5, 2), "one": (1, 1, 2, 3), "three": (3, 3, 2, 4)
  }  # fmt: skip
  assert fire.apply({"params": params}, x).shape == (1, 4, 4, 7)
