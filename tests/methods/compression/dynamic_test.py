import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.methods.compression import dynamic

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def normal(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_chances_fall_in_a_line():
  np.testing.assert_allclose(dynamic.survival(4), [0.875, 0.75, 0.625, 0.5])


def test_the_mean_of_a_linear_block_in_training_is_its_test():
  w, x = normal(3, 3), jnp.abs(normal(2, 3)) + 5  # The ReLU is open.
  branch = lambda x: x @ w  # noqa: E731
  keys = jax.random.split(KEY, 4000)
  drawn = jax.vmap(
    lambda k: dynamic.stochastic_block(branch, x, 2 * x, 0.6, k)
  )(keys)
  test = dynamic.stochastic_block(branch, x, 2 * x, 0.6, None)
  # Two outcomes, with the gate's shares; their mean is the test's.
  open_, shut = (np.maximum(v, 0) for v in (branch(x) + 2 * x, 2 * x))
  share = np.mean([np.allclose(d, open_, rtol=1e-5) for d in np.asarray(drawn)])
  assert abs(share - 0.6) < 4 * (0.24 / 4000) ** 0.5
  np.testing.assert_allclose(
    0.6 * open_ + 0.4 * shut, test, rtol=1e-4, atol=1e-4
  )


def test_a_shut_branch_is_not_computed():
  def branch(x):
    return x @ jnp.ones((3, 3))

  text = str(
    jax.make_jaxpr(
      lambda k: dynamic.stochastic_block(
        branch, jnp.ones((2, 3)), jnp.ones((2, 3)), 0.5, k
      )
    )(KEY)
  )
  assert "cond" in text


def test_saliency_is_the_entropys_gradient():
  w, c = normal(4, 3), normal(2, 2, 2, 4)

  def classify(c):
    return jnp.tanh(c).mean((1, 2)) @ w

  got = dynamic.saliency(classify, c)

  def doubt(c):
    z = np.asarray(classify(jnp.asarray(c)), np.float64)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return -(p * np.log(p)).sum()

  step = 1e-2
  for i in np.ndindex(2, 2, 2):
    slopes = []
    for d in range(4):
      e = np.zeros(c.shape, np.float32)
      e[(*i, d)] = step
      slopes.append((doubt(c + e) - doubt(c - e)) / (2 * step))
    np.testing.assert_allclose(got[i], np.linalg.norm(slopes), atol=2e-3)


def test_the_most_salient_places_are_computed_anew_from_their_patches():
  images, coarse = normal(2, 8, 8, 1), normal(2, 3, 3, 2)
  scores = jnp.asarray(RNG.permutation(18).reshape(2, 3, 3), jnp.float32)

  def fine(patches):
    assert patches.shape == (2 * 2, 4, 4, 1)
    return jnp.stack([patches.mean((1, 2, 3)), patches[:, 0, 0, 0]], -1)

  got, vectors, place = dynamic.refine(fine, images, coarse, scores, 2, (2, 4))
  for b in range(2):
    best = np.argsort(-np.ravel(scores[b]))[:2]
    np.testing.assert_array_equal(place[b], best)
    want = np.array(coarse[b])
    for at, v in zip(best, vectors[b], strict=True):
      i, j = divmod(int(at), 3)
      patch = images[b, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
      np.testing.assert_allclose(v, [patch.mean(), patch[0, 0, 0]], atol=1e-6)
      want[i, j] = v
    np.testing.assert_array_equal(got[b], want)


def test_gates_keep_k_experts_and_know_their_balance():
  x, gate, noise = normal(6, 4), normal(4, 5), normal(4, 5)
  found = dynamic.noisy_top_k(x, gate, noise, 2, None)
  h = np.asarray(x @ gate)
  for i in range(6):
    best = np.argsort(-h[i])[:2]
    e = np.exp(h[i][best])
    want = np.zeros(5)
    want[best] = e / e.sum()
    np.testing.assert_allclose(found.weights[i], want, rtol=1e-4)
  total = np.asarray(found.weights).sum(0)
  want = total.var() / total.mean() ** 2
  np.testing.assert_allclose(found.importance, want, rtol=1e-4)
  drawn = dynamic.noisy_top_k(x, gate, noise, 2, KEY)
  assert ((np.asarray(drawn.weights) > 0).sum(1) == 2).all()
  assert (drawn.weights != found.weights).any()


def test_a_mixture_is_the_sum_over_experts_as_long_as_there_is_room():
  x = normal(6, 3)
  w = normal(4, 3, 2)
  weights = dynamic.noisy_top_k(x, normal(3, 4), normal(3, 4), 2, None).weights

  def experts(x):
    return jnp.einsum("ecd,edo->eco", x, w)

  got = dynamic.mixture(experts, x, weights, 6)
  want = np.einsum("be,bd,edo->bo", weights, x, w)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  seats = np.asarray(dynamic.dispatch(weights, 2))
  assert (seats.sum((0, 2)) == np.minimum((weights > 0).sum(0), 2)).all()
  assert (seats.sum(0) <= 1).all()  # Nobody shares a seat.


def test_an_example_leaves_at_the_first_exit_that_is_sure():
  sure, unsure = jnp.array([[9.0, 0, 0]]), jnp.array([[1.0, 0.9, 0.8]])
  first = jnp.concatenate([sure, unsure, unsure])
  second = jnp.concatenate([unsure, -sure, unsure])
  third = jnp.concatenate([unsure, unsure, unsure + 1])
  taken, which = dynamic.early_exit([first, second, third], 0.7)
  np.testing.assert_array_equal(which, [0, 1, 2])
  np.testing.assert_array_equal(taken[0], sure[0])
  np.testing.assert_array_equal(taken[2], third[2])
  terms, weights = dynamic.exit_terms([first, second], jnp.array([0, 1, 2]))
  assert sum(weights.values()) == 1
  want = -jax.nn.log_softmax(second)[1, 1]
  np.testing.assert_allclose(terms["exit_1"][1], want, rtol=1e-6)
