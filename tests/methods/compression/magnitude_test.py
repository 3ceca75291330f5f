import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  magnitude,
  protocol,
  thresholds,
  trees,
)

KEY = jax.random.key(0)


def params(seed=0):
  rng = np.random.default_rng(seed)
  shapes = {"a": (5, 7), "b": (7, 4), "head": (4, 3)}
  return {
    name: {
      "kernel": jnp.asarray(rng.normal(size=s), jnp.float32),
      "bias": jnp.ones(s[1]),
    }
    for name, s in shapes.items()
  }


def largest(w, count):
  """The plain statement: sort by size, of equals the first ones."""
  flat = np.abs(np.asarray(w)).ravel()
  order = sorted(range(flat.size), key=lambda i: (-flat[i], i))
  mask = np.zeros(flat.size, bool)
  mask[order[:count]] = True
  return mask.reshape(w.shape)


@pytest.mark.parametrize("count", [0, 1, 3, 7, 8])
def test_keeps_exactly_so_many_and_of_equals_the_first(count):
  size = jnp.array([1.0, 2.0, 2.0, 0.0, 2.0, 3.0, 0.0, 2.0])
  got = jax.jit(magnitude.keep_largest)(size, count)
  np.testing.assert_array_equal(got, largest(size, count))
  assert got.sum() == count


def test_counts_are_of_exact_numbers():
  assert magnitude.kept(1000, 0.9) == 100  # (1 - .9) 1000 is 99.99999999999997.
  assert magnitude.kept(10, 0.3) == 7
  assert magnitude.kept(3, 0.99) == 1


def test_local_masks_are_the_layers_largest_and_the_last_goes_gently():
  p = params()
  _, state = magnitude.prune(0.8).init(KEY, p)
  for name, sparsity in (("a", 0.8), ("b", 0.8), ("head", 0.4)):
    w = p[name]["kernel"]
    want = largest(w, magnitude.kept(w.size, sparsity))
    np.testing.assert_array_equal(state["mask"][f"{name}/kernel"], want)


def test_a_global_mask_is_the_largest_of_all():
  p = params()
  _, state = magnitude.prune(0.7, scope="global").init(KEY, p)
  weights = trees.kernels(p)
  every = np.concatenate([np.ravel(w) for w in weights.values()])
  got = np.concatenate([np.ravel(state["mask"][k]) for k in weights])
  want = largest(every, magnitude.kept(every.size, 0.7))
  np.testing.assert_array_equal(got, want)


def test_random_masks_have_the_same_counts_and_another_choice():
  p = params()
  by_size = magnitude.prune(0.5).init(KEY, p)[1]["mask"]
  at_random = magnitude.prune(0.5, random=True).init(KEY, p)[1]["mask"]
  for path, mask in by_size.items():
    assert mask.sum() == at_random[path].sum()
  assert (by_size["a/kernel"] != at_random["a/kernel"]).any()


def test_the_cubic_schedule():
  got = magnitude.cubic(0.9, 0.0, 100, 500, 100)
  want = [0.9 - 0.9 * (1 - (t - 100) / 400) ** 3 for t in range(100, 501, 100)]
  np.testing.assert_allclose(got, want)
  assert got[-1] == 0.9


def _train(tx, p, steps, seed=1):
  state = tx.init(p)
  rng = np.random.default_rng(seed)
  history = []

  @jax.jit
  def step(p, state, grads):
    updates, state = tx.update(grads, state, p)
    return optax.apply_updates(p, updates), state

  for _ in range(steps):
    grads = jax.tree.map(
      lambda w: jnp.asarray(rng.normal(size=w.shape), jnp.float32), p
    )
    p, state = step(p, state, grads)
    history.append(jax.device_get((p, state.scheme)))
  return history


def test_gradual_masks_follow_the_schedule_and_never_come_back():
  p = params()
  scheme = magnitude.prune(0.8, schedule=(2, 6, 2))
  p, state = scheme.init(KEY, p)
  assert all(m.all() for m in state["mask"].values())
  history = _train(protocol.wrap(optax.adam(0.1), scheme, state), p, 9)
  levels = magnitude.cubic(0.8, 0.0, 2, 6, 2)
  before = None
  for step, (now, own) in enumerate(history):
    event = min(max(step - 2, 0) // 2, 2) if step >= 2 else 0
    for path, mask in own["mask"].items():
      factor = 0.5 if "head" in path else 1.0
      want = magnitude.kept(mask.size, factor * levels[event])
      assert mask.sum() == want, (step, path)
      # Momentum does not revive what was pruned.
      assert (trees.get(now, path)[~mask] == 0).all()
      if before is not None:
        assert not (mask & ~before[path]).any()
    before = own["mask"]


def test_without_the_constraint_momentum_revives_weights():
  p = params()
  scheme = magnitude.prune(0.5)
  p, state = scheme.init(KEY, p)
  loose = protocol.Transform("loose", "mask", scheme.init)
  _, (now, _) = _train(protocol.wrap(optax.adam(0.1), loose, state), p, 2)
  mask = state["mask"]["a/kernel"]
  assert (np.asarray(now["a"]["kernel"])[~np.asarray(mask)] != 0).all()


def test_han_thresholds_the_dense_layers_spread_in_rounds():
  p = params()
  scheme = thresholds.han({"head*": 0.4, "*": 1.0}, rounds=(0, 2))
  _, state = scheme.init(KEY, p)
  w = np.asarray(p["a"]["kernel"])
  first = np.abs(w) > 0.5 * w.std()
  np.testing.assert_array_equal(state["mask"]["a/kernel"], first)
  same = scheme.update(state, p, None, jnp.int32(1))
  np.testing.assert_array_equal(same["mask"]["a/kernel"], first)
  second = scheme.update(state, p, None, jnp.int32(2))
  want = np.abs(w) > w.std()
  np.testing.assert_array_equal(second["mask"]["a/kernel"], want)
  # The spread is the dense layer's, also when the weights have moved.
  moved = jax.tree.map(lambda x: 10 * x, p)
  again = scheme.update(state, moved, None, jnp.int32(2))
  head = np.asarray(p["head"]["kernel"])
  kept = np.abs(10 * head) > 0.4 * head.std()
  first = np.abs(head) > 0.2 * head.std()
  np.testing.assert_array_equal(again["mask"]["head/kernel"], kept & first)


def test_dropout_of_a_pruned_layer():
  assert thresholds.dropout_rate(0.5, 100, 25) == 0.25


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: magnitude.prune(1.0), "below 1"),
    (lambda: magnitude.prune(0.5, scope="layer"), "local or global"),
    (lambda: thresholds.han(0.0), "above 0"),
    (lambda: magnitude.prune(0.5, include="c/*").init(KEY, params()), "match"),
  ],
)
def test_wrong_settings_are_refused(make, words):
  with pytest.raises(UsageError, match=words):
    make()
