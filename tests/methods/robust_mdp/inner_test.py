"""The inner solvers against a primal solver that knows no dual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from kd_jax.methods.robust_mdp import ball, inner
from kd_jax.methods.robust_mdp.divergences import (
  CHI_SQUARE,
  DIVERGENCES,
  L1,
  Divergence,
)

ALL = list(DIVERGENCES.values())
each = pytest.mark.parametrize("divergence", ALL, ids=lambda d: d.name)


def distance(name, kernel, p):
  ratio = kernel / p
  if name == "chi2":
    return np.sum(p * (ratio - 1) ** 2)
  if name == "kl":
    return np.sum(kernel * np.log(np.maximum(ratio, 1e-300)))
  return np.abs(kernel - p).sum()


def problem(rng, n=6):
  return (
    rng.dirichlet(np.ones(n)),
    rng.uniform(0, 10, n),
    np.exp(rng.uniform(-1.5, 2)),
  )


def primal_smooth(name, p, v, lam):
  found = optimize.minimize(
    lambda k: k @ v + lam * distance(name, k, p),
    p,
    bounds=[(1e-12, 1)] * len(p),
    constraints={"type": "eq", "fun": lambda k: k.sum() - 1},
    method="SLSQP",
    options={"ftol": 1e-13, "maxiter": 500},
  )
  return found.fun


def primal_l1(p, v, lam=None, rho=None):
  """Linear in the kernel and in how much each place gains or loses."""
  n = len(p)
  cost = np.concatenate([v, np.full(2 * n, lam or 0.0)])
  same = np.hstack([np.eye(n), -np.eye(n), np.eye(n)])
  one = np.concatenate([np.ones(n), np.zeros(2 * n)])[None]
  more = {}
  if rho is not None:
    spent = np.concatenate([np.zeros(n), np.ones(2 * n)])[None]
    more = {"A_ub": spent, "b_ub": [rho]}
  found = optimize.linprog(
    cost, A_eq=np.vstack([same, one]), b_eq=[*p, 1.0], **more
  )
  return found.fun


@each
def test_penalised_is_the_primal(divergence, double):
  rng = np.random.default_rng(1)
  solve = jax.jit(inner.penalised(divergence))
  for _ in range(100):
    p, v, lam = problem(rng)
    if divergence is L1:
      brute = primal_l1(p, v, lam=lam)
    else:
      brute = primal_smooth(divergence.name, p, v, lam)
    found = solve(p, v, lam)
    assert float(found.value) == pytest.approx(brute, abs=1e-6)


@each
def test_the_solution_is_consistent(divergence, double):
  rng = np.random.default_rng(2)
  for _ in range(20):
    p, v, lam = problem(rng)
    found = inner.penalised(divergence)(p, v, lam)
    kernel = np.asarray(found.kernel)
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-9)
    far = distance(divergence.name, kernel, p)
    assert float(found.distance) == pytest.approx(far, abs=1e-9)
    assert float(found.value) == pytest.approx(kernel @ v + lam * far, abs=1e-9)
    low = p @ divergence.conjugate((found.eta - 1e-12 - v) / lam)
    dual = float(found.eta - lam * low)
    assert float(found.value) == pytest.approx(dual, abs=1e-9)


@each
def test_bisection_alone_gives_the_same(divergence, double):
  rng = np.random.default_rng(3)
  closed = jax.jit(inner.penalised(divergence))
  bisected = jax.jit(inner.by_bisection(divergence))
  for _ in range(20):
    p, v, lam = problem(rng)
    one, two = closed(p, v, lam), bisected(p, v, lam)
    assert float(two.value) == pytest.approx(float(one.value), abs=1e-9)
    assert float(two.eta) == pytest.approx(float(one.eta), abs=1e-9)
    if divergence is not L1:
      np.testing.assert_allclose(two.kernel, one.kernel, atol=1e-8)


def test_a_new_divergence_is_two_functions(double):
  """Twice chi-square: f = 2 (t - 1)^2, f*(s) = 2 chi2*(s / 2)."""
  double_chi = Divergence(
    "twice",
    lambda s: 2 * CHI_SQUARE.conjugate(s / 2),
    lambda s: CHI_SQUARE.derivative(s / 2),
  )
  p, v, lam = problem(np.random.default_rng(4))
  found = inner.penalised(double_chi)(p, v, lam)
  same = inner.penalised(CHI_SQUARE)(p, v, 2 * lam)
  assert float(found.value) == pytest.approx(float(same.value), abs=1e-9)
  assert float(found.distance) == pytest.approx(
    2 * float(same.distance), abs=1e-8
  )
  near = ball.constrained(double_chi)(p, v, 0.2)
  assert float(near.value) == pytest.approx(
    float(ball.constrained(CHI_SQUARE)(p, v, 0.1).value), abs=1e-8
  )


def test_mean_less_variance_where_the_penalty_is_large(double):
  p, v, _ = problem(np.random.default_rng(5))
  mean = p @ v
  variance = p @ (v - mean) ** 2
  found = inner.penalised(CHI_SQUARE)(p, v, 40.0)
  assert float(found.value) == pytest.approx(mean - variance / 160, abs=1e-10)


@each
def test_the_limits_of_the_weight(divergence, double):
  p, v, _ = problem(np.random.default_rng(6))
  p[2] = 0
  p /= p.sum()
  v[2] = -7  # Off the support: nobody goes there.
  solve = inner.penalised(divergence)
  large = 1e9 if divergence is not L1 else 1e3
  assert float(solve(p, v, large).value) == pytest.approx(p @ v, abs=1e-6)
  least = v[p > 0].min()
  assert float(solve(p, v, 1e-9).value) == pytest.approx(least, abs=1e-6)
  assert float(solve(p, v, 0.5).kernel[2]) == 0
  assert float(inner.by_bisection(divergence)(p, v, 0.5).kernel[2]) == 0


def dual_by_search(name, p, v, rho):
  """The one-dimensional duals of chi-square and KL, by Brent's method."""

  def chi_square(eta):
    return np.sqrt((1 + rho) * (p @ np.maximum(eta - v, 0) ** 2)) - eta

  def kl(lam):
    return lam * rho + lam * np.log(p @ np.exp(-v / lam))

  fn, low = (chi_square, v.min()) if name == "chi2" else (kl, 1e-2)
  found = optimize.minimize_scalar(
    fn, bounds=(low, 1e3), method="bounded", options={"xatol": 1e-10}
  )
  return -found.fun


@each
def test_constrained_is_the_primal(divergence, double):
  rng = np.random.default_rng(7)
  solve = jax.jit(ball.constrained(divergence))
  for _ in range(20):
    p, v, _ = problem(rng)
    rho = rng.uniform(0.01, 0.6)
    found = float(solve(p, v, rho).value)
    if divergence is L1:
      brute = primal_l1(p, v, rho=rho)
    else:
      brute = dual_by_search(divergence.name, p, v, rho)
    assert found == pytest.approx(brute, abs=1e-5)


@pytest.mark.parametrize("rho", [50.0, 1e-5])
def test_extreme_radii(rho, double):
  p, v = np.array([0.2, 0.5, 0.3]), np.array([3.0, 1.0, 2.0])
  found = ball.constrained(CHI_SQUARE)(p, v, rho)
  if rho > 1:  # The whole support is within reach.
    assert float(found.value) == pytest.approx(1.0, abs=1e-5)
  else:
    sd = np.sqrt(p @ (v - p @ v) ** 2)
    expected = p @ v - np.sqrt(rho) * sd
    assert float(found.value) == pytest.approx(expected, abs=1e-6)


@each
def test_the_least_distance_that_reaches_a_value(divergence, double):
  rng = np.random.default_rng(8)
  solve = jax.jit(ball.constrained(divergence))
  reach = jax.jit(ball.distance_to_reach(divergence))
  for _ in range(10):
    p, v, _ = problem(rng)
    rho = rng.uniform(0.05, 0.4)
    near = solve(p, v, rho)
    far, slope = reach(p, v, near.value)
    assert float(far) == pytest.approx(rho, abs=1e-6)
    assert float(slope) == pytest.approx(1 / float(near.lam), rel=1e-3)
    free, none = reach(p, v, p @ v + 0.1)
    assert float(free) == float(none) == 0


@each
def test_float32_keeps_five_digits(divergence, x64):
  rng = np.random.default_rng(9)
  p, v, _ = zip(*(problem(rng) for _ in range(50)), strict=True)
  p, v = np.array(p, np.float32), np.array(v, np.float32)
  single = inner.penalised(divergence)(p, v, jnp.float32(0.05)).value
  with x64():
    exact = inner.penalised(divergence)(
      p.astype(np.float64), v.astype(np.float64), 0.05
    )
    exact = np.asarray(exact.value)
  np.testing.assert_allclose(single, exact, atol=2e-5)


def test_chi_square_is_the_papers_sort(double):
  """Section 4: V ascending, the first piece whose root is on it."""
  rng = np.random.default_rng(11)
  solve = jax.jit(inner.penalised(CHI_SQUARE))
  for n in (1, 2, 7, 40):
    for _ in range(25):
      p, v = rng.dirichlet(np.full(n, 0.3)), rng.uniform(0, 10, n).round(1)
      p[rng.random(n) < 0.3] = 0
      p = p / p.sum() if p.sum() else np.eye(n)[0]
      lam = 10 ** rng.uniform(-3, 2)
      order = np.argsort(v, kind="stable")
      chance, value = p[order], v[order]
      c, m = chance.cumsum(), (chance * value).cumsum()
      q, after = (chance * value**2).cumsum(), np.append(value[1:], np.inf)
      e = (2 * lam + m) / np.where(c > 0, c, np.nan)
      k = np.flatnonzero((c > 0) & (e <= after))[0]
      c, m, q, e = c[k], m[k], q[k], e[k]
      least = -(c * e**2 - 2 * e * m + q) / (4 * lam) - lam + e
      found = solve(p, v, lam)
      assert float(found.value) == pytest.approx(least, rel=1e-7, abs=1e-7)
      assert float(found.eta) == pytest.approx(e - 2 * lam, rel=1e-9, abs=1e-9)


@each
def test_values_that_all_share_and_values_of_each(divergence):
  """A dense model's V is one vector; a compact one's is gathered."""
  rng = np.random.default_rng(10)
  p = rng.dirichlet(np.ones(5), (3, 2)).astype(np.float32)
  v = rng.uniform(0, 3, 5).astype(np.float32)
  solve = jax.jit(inner.penalised(divergence))
  shared = solve(p, v, 0.3)
  wide = solve(p, np.broadcast_to(v, p.shape), 0.3)
  order = rng.permutation(5)
  mixed = solve(p[..., order], v[order], 0.3)
  np.testing.assert_allclose(shared.value, wide.value, rtol=1e-5)
  np.testing.assert_allclose(shared.value, mixed.value, rtol=1e-5)
  slope = jax.grad(lambda v: inner.penalised(divergence)(p, v, 0.3).value.sum())
  # The envelope: the derivative in V is the worst kernel.
  if divergence is not L1:
    expected = np.asarray(shared.kernel).sum((0, 1))
    np.testing.assert_allclose(slope(jnp.asarray(v)), expected, rtol=1e-4)


@pytest.mark.parametrize("lam", [1e-6, 1e-4, 1e-2, 1.0])
def test_chi_square_in_float32_with_a_rare_floor(lam, x64):
  """The least value has a chance of 1e-8 to .1, the others are up to 10."""
  rng = np.random.default_rng(12)
  n = 400
  rare = 10 ** rng.uniform(-8, -1, (n, 1))
  p = np.hstack([rare, (1 - rare) * rng.dirichlet(np.ones(5), n)])
  v = np.hstack([np.zeros((n, 1)), rng.uniform(0, 10, (n, 5))])
  p, v = p.astype(np.float32), v.astype(np.float32)
  lam = np.float32(lam)
  solve = jax.jit(inner.penalised(CHI_SQUARE))
  value, _, found, distance = solve(p, v, lam)
  slope = jax.grad(lambda v: solve(p, v, lam).value.sum())(v)
  assert value.dtype == np.float32
  with x64():
    exact = inner.penalised(CHI_SQUARE)(
      p.astype(np.float64), v.astype(np.float64), np.float64(lam)
    )
    exact = jax.tree.map(np.asarray, exact)
  np.testing.assert_allclose(value, exact.value, atol=5e-6)
  np.testing.assert_allclose(distance, exact.distance, rtol=2e-6)
  np.testing.assert_allclose(found, exact.kernel, atol=1e-6)
  # The gradient in v is the worst kernel.
  np.testing.assert_allclose(slope, exact.kernel, atol=1e-6)
