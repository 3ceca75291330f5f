import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.backbones import SmallCNN, tap


class Users(nn.Module):
  """A network of somebody else: a layer used twice, and something sown."""

  @nn.compact
  def __call__(self, x):
    twice = nn.Dense(3, name="twice")
    x = twice(twice(x))
    self.sow("intermediates", "norm", jnp.linalg.norm(x))
    return x


@pytest.fixture
def users():
  x = jnp.arange(6.0).reshape(2, 3)
  return Users(), Users().init(jax.random.key(0), x), x


def test_taps_are_the_activations(users):
  module, variables, x = users
  outputs, taps = tap(module, ["twice/*", "norm"])(variables, x)
  p = jax.tree.map(np.asarray, variables["params"]["twice"])
  first = np.asarray(x) @ p["kernel"] + p["bias"]
  second = first @ p["kernel"] + p["bias"]
  assert list(taps) == ["twice/__call__/0", "twice/__call__/1", "norm"]
  np.testing.assert_allclose(taps["twice/__call__/0"], first, rtol=1e-4)
  np.testing.assert_allclose(taps["twice/__call__/1"], second, rtol=1e-4)
  np.testing.assert_allclose(taps["norm"], np.linalg.norm(second), rtol=1e-4)
  np.testing.assert_array_equal(outputs, module.apply(variables, x))


def test_a_pattern_without_a_match_lists_the_paths(users):
  module, variables, x = users
  with pytest.raises(ValueError, match=r"'thrice/\*'.*norm, twice/__call__/0"):
    tap(module, ["norm", "thrice/*"])(variables, x)


def test_mutable_collections_come_back_and_gradients_flow():
  model = SmallCNN(2, widths=(3,), strides=(1,))
  x = jax.random.normal(jax.random.key(1), (2, 4, 4, 1))
  variables = model.init(jax.random.key(0), x, train=False)
  tapped = tap(model, "conv_0/__call__")

  @jax.jit
  def train(variables):
    return tapped(variables, x, train=True, mutable=["batch_stats"])

  (out, updated), taps = train(variables)
  expected, stats = model.apply(
    variables, x, train=True, mutable=["batch_stats"]
  )
  np.testing.assert_allclose(out.logits, expected.logits, atol=1e-6)
  assert jax.tree.structure(updated) == jax.tree.structure(dict(stats))
  (activations,) = taps.values()
  # The mean that the norm has seen is the tapped layer's.
  np.testing.assert_allclose(
    updated["batch_stats"]["norm_0"]["mean"],
    0.1 * activations.mean((0, 1, 2)),
    atol=1e-6,
  )

  def total(params):
    taps = tapped({**variables, "params": params}, x, train=False)[1]
    return taps["conv_0/__call__"].sum()

  grads = jax.grad(total)(variables["params"])
  assert np.abs(grads["conv_0"]["kernel"]).min() > 0
  assert not np.any(grads["head"]["kernel"])


@pytest.mark.parametrize("mutable", ["batch_stats", True])
def test_other_forms_of_mutable(mutable):
  model = SmallCNN(2, widths=(3,), strides=(1,))
  x = jnp.ones((2, 4, 4, 1))
  variables = model.init(jax.random.key(0), x, train=False)
  (_, updated), taps = tap(model, "*")(
    variables, x, train=True, mutable=mutable
  )
  assert "intermediates" not in updated
  assert "batch_stats" in updated
  assert "__call__" in taps
