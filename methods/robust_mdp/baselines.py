"""What the paper's algorithms are held against, from the same samples.

Updates of all pairs at once, for one member, as in `learner`; nothing here
knows a kernel except the plug-in, whose point is that it stores one.

Sources are in each docstring; those marked [known] follow summaries of the
works, which were not read anew.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp import ball
from kd_jax.methods.robust_mdp.backups import Model
from kd_jax.methods.robust_mdp.divergences import KL, Divergence

Scalar = Float[Array, ""]


def q_learning_update(
  q: Float[Array, "*n"],
  reward: Float[Array, "*n"],
  v_next: Float[Array, "*n"],
  beta: Scalar,
  discount: Scalar,
) -> Float[Array, "*n"]:
  """Ordinary Q-learning: (1 - beta) Q + beta (r + gamma V(s')).

  Args:
    q: Q.
    reward: r.
    v_next: V(s') of one sample each.
    beta: the step size.
    discount: gamma.

  Returns:
    The new Q.
  """
  return q + beta * (reward + discount * v_next - q)


def contaminated_target(
  v_next: Float[Array, "*n"], least: Scalar, share: Scalar
) -> Float[Array, "*n"]:
  """(1 - share) V(s') + share min_s V: robust Q-learning by R-contamination.

  Source: Wang and Zou, NeurIPS 2021 [known]; there is no inner problem.

  Args:
    v_next: V(s') of one sample each.
    least: min_s V.
    share: R, of the transitions that the adversary takes.

  Returns:
    What stands in the place of V(s').
  """
  return (1 - share) * v_next + share * least


def plug_in(
  drawn: Int[Array, "n s a"],
  rewards: Float[Array, "s a"],
  discount: Float[Array, ""],
) -> Model:
  """The empirical model of n samples of each pair: |S|^2 |A| numbers.

  Robust value iteration on it is section 6's plug-in in the penalised form, and
  REVI (Panaganti and Kalathil, AISTATS 2022 [known]) in the constrained one.

  Args:
    drawn: next states.
    rewards: R.
    discount: gamma.

  Returns:
    The dense model of the sampled frequencies.
  """
  n, states, actions = drawn.shape
  row = jnp.arange(states).reshape(1, states, 1)
  column = jnp.arange(actions).reshape(1, 1, actions)
  hits = jnp.zeros((states, actions, states), rewards.dtype)
  hits = hits.at[
    jnp.broadcast_to(row, drawn.shape),
    jnp.broadcast_to(column, drawn.shape),
    drawn,
  ].add(1.0)
  return Model(hits / n, None, rewards, discount)


def multilevel_target(
  v_next: Float[Array, "k *n"],
  level: Int[Array, "*n"],
  rho: Scalar,
  epsilon: float,
) -> Float[Array, "*n"]:
  """The multilevel Monte Carlo estimate of the constrained KL value.

  N ~ Geometric, P(N = n) = epsilon (1 - epsilon)^n; of 2^(N + 1) samples
  V(X_1) + [Psi(all) - Psi(even) / 2 - Psi(odd) / 2] / P(N), Psi the
  constrained value of the empirical distribution. N is capped, for static
  shapes: the last level's chance holds all beyond it, and the estimate's mean
  is then that of Psi on the largest sample, 2^(cap + 1), whose bias stays.

  Source: Liu et al., ICML 2022 [known].

  Args:
    v_next: 2^(cap + 1) samples of V(s') each; a level uses its first ones.
    level: N, at most the cap.
    rho: the radius of the KL ball.
    epsilon: below 1/2.

  Returns:
    What stands in the place of V(s'), with unbounded variance as the cap grows.
  """
  cap = v_next.shape[0].bit_length() - 2
  solve = ball.constrained(KL)
  values = jnp.moveaxis(v_next, 0, -1)
  correction = jnp.zeros_like(values[..., 0])
  for n in range(cap + 1):
    sample = values[..., : 2 ** (n + 1)]
    halves = sample[..., 0::2], sample[..., 1::2]

    def psi(x):
      return solve(jnp.full_like(x, 1 / x.shape[-1]), x, rho).value

    fine = psi(sample) - (psi(halves[0]) + psi(halves[1])) / 2
    chance = level_chance(n, cap, epsilon)
    correction = jnp.where(level == n, fine / chance, correction)
  return values[..., 0] + correction


def level_chance(n: int, cap: int, epsilon: float) -> float:
  """P(N = n) of the geometric level, all beyond the cap put on the cap.

  Args:
    n: the level.
    cap: the largest one.
    epsilon: its parameter.

  Returns:
    The chance.
  """
  whole = (1 - epsilon) ** n
  return whole if n == cap else epsilon * whole


def levels(
  uniforms: Float[Array, "*n"], cap: int, epsilon: float
) -> Int[Array, "*n"]:
  """Draws the levels N.

  Args:
    uniforms: in [0, 1).
    cap: the largest one.
    epsilon: the parameter.

  Returns:
    N.
  """
  n = jnp.floor(jnp.log1p(-uniforms) / jnp.log1p(-jnp.float32(epsilon)))
  return jnp.minimum(n, cap).astype(jnp.int32)


def constrained_ascent(
  divergence: Divergence,
  eta: Float[Array, "*n"],
  lam: Float[Array, "*n"],
  v_next: Float[Array, "*n"],
  rho: Scalar,
  rate: Scalar,
  highest: Scalar,
) -> tuple[Float[Array, "*n"], Float[Array, "*n"], Float[Array, "*n"]]:
  """A stochastic step on the constrained dual: the negative control.

  d/deta = 1 - f*'(u), d/dlam = -rho - f*(u) + u f*'(u), u = (eta - V) / lam:
  for chi-square the latter is -rho + u^2 / 4, unbounded as lam falls to 0.

  Source: Yang et al. 2023, section 3 (why the constrained dual fails).

  Args:
    divergence: f.
    eta: the dual variable.
    lam: the multiplier, at least 1e-3 (at 0 the gradient does not exist).
    v_next: V(s') of one sample each.
    rho: the radius.
    rate: the step size.
    highest: eta is kept in [-highest, 2 highest], lam below highest.

  Returns:
    eta, lam, and the size of the gradient in lam.
  """
  u = (eta - v_next) / lam
  ratio = divergence.derivative(u)
  slope = -rho - divergence.conjugate(u) + u * ratio
  new_eta = jnp.clip(eta + rate * (1 - ratio), -highest, 2 * highest)
  # The dual is concave and maximised.
  new_lam = jnp.clip(lam + rate * slope, 1e-3, highest)
  return new_eta, new_lam, jnp.abs(slope)


def constrained_target(
  divergence: Divergence,
  eta: Float[Array, "*n"],
  lam: Float[Array, "*n"],
  v_next: Float[Array, "*n"],
  rho: Scalar,
) -> Float[Array, "*n"]:
  """-lam rho + eta - lam f*((eta - v) / lam) of a sample.

  Args:
    divergence: f.
    eta: the dual variable.
    lam: the multiplier.
    v_next: V(s').
    rho: the radius.

  Returns:
    What stands in the place of V(s').
  """
  return eta - lam * (rho + divergence.conjugate((eta - v_next) / lam))


def averaged(
  mean: Float[Array, "*n"], q: Float[Array, "*n"], t: jax.Array
) -> Float[Array, "*n"]:
  """The running mean of Q over outer steps (Polyak), t from 0.

  Args:
    mean: the mean of the first t.
    q: the next one.
    t: how many there were.

  Returns:
    The mean of t + 1.
  """
  return mean + (q - mean) / (t + 1)
