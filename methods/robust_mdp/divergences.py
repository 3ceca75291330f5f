"""The dual of the penalised inner problem: one concave function of one number.

For a divergence f, the worst kernel near P* costs

  inf_P { P.V + lam D_f(P || P*) } = sup_eta E_{s' ~ P*} J(eta, V(s')),
  J(eta, v) = -lam f*((eta - v) / lam) + eta,

so that a divergence is its conjugate f* and the derivative f*'; everything else
(objective, gradient, the interval of eta, exact solvers) follows from the two.

Letters: lam is the weight of the penalty in units of value (small is robust),
eta the dual variable, v = V(s') the value of one next state, v_max a bound of
V.

Source: Yang et al. 2023, section 3 (eq. 9) and section 4.1; chi-square is the
paper's, KL and L1 are ours.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, "*n"]
# exp overflows float32 above 88.
_LARGEST_EXPONENT = 80.0


@dataclasses.dataclass(frozen=True)
class Divergence:
  """D_f(P || P*) = sum_x P*(x) f(P(x) / P*(x)), by the conjugate of f.

  Attributes:
    name: what it is called.
    conjugate: f*(s) = sup_{t >= 0} { s t - f(t) }, elementwise.
    derivative: f*', elementwise, non-decreasing; it is the likelihood ratio of
      the worst kernel.
    limit: f* is infinite above it (L1: 1).
    bounds: `(lam, v_max) -> (lowest, highest)`, the interval that eta is
      projected to; None for the one that must hold the maximum, see `theta`.
  """

  name: str
  conjugate: Callable[[Scalar], Scalar]
  derivative: Callable[[Scalar], Scalar]
  limit: float = math.inf
  bounds: Callable[[Scalar, float], tuple[Scalar, Scalar]] | None = None

  @functools.cached_property
  def tilt(self) -> float:
    """The largest s with f*'(s) <= 1, which is f'(1); found by bisection.

    Where all next states are worth v, eta* = v + lam tilt.
    """
    low, high = -64.0, 64.0
    with jax.ensure_compile_time_eval():
      for _ in range(60):
        middle = (low + high) / 2
        below = float(self.derivative(jnp.asarray(middle))) <= 1 + 2e-7
        low, high = (middle, high) if below else (low, middle)
    return round(low, 5)


def _chi_square_bounds(lam, v_max):
  """Lemma A.1; the one of section 4.1 begins lower, at -2 lam."""
  return -lam, 2 * v_max + 2 * lam


CHI_SQUARE = Divergence(
  "chi2",
  lambda s: jnp.square(jnp.maximum(s / 2 + 1, 0)) - 1,
  lambda s: jnp.maximum(s / 2 + 1, 0),
  bounds=_chi_square_bounds,
)
KL = Divergence(
  "kl",
  lambda s: jnp.exp(jnp.minimum(s - 1, _LARGEST_EXPONENT)),
  lambda s: jnp.exp(jnp.minimum(s - 1, _LARGEST_EXPONENT)),
)
# The L1 distance, twice the total variation: neither smooth nor finite, so that
# the paper's Assumptions 4.1 and 4.2 do not hold for it.
L1 = Divergence(
  "l1",
  lambda s: jnp.where(s <= 1, jnp.maximum(s, -1), jnp.inf),
  lambda s: jnp.where(s <= 1, (s > -1).astype(s.dtype), jnp.inf),
  limit=1.0,
)
DIVERGENCES = {d.name: d for d in (CHI_SQUARE, KL, L1)}


def dual_objective(
  divergence: Divergence,
) -> Callable[[Scalar, Scalar, Scalar], Scalar]:
  """J(eta, v) = -lam f*((eta - v) / lam) + eta.

  Source: Yang et al. 2023, eq. 9.

  Args:
    divergence: f.

  Returns:
    `(eta, v, lam) -> J`, elementwise, concave in eta; its mean over s' is the
    dual. -inf where f* is infinite.
  """

  def objective(eta, v, lam):
    return eta - lam * divergence.conjugate((eta - v) / lam)

  return objective


def dual_gradient(
  divergence: Divergence,
) -> Callable[[Scalar, Scalar, Scalar], Scalar]:
  """dJ/deta = 1 - f*'((eta - v) / lam).

  Source: Yang et al. 2023, section 4.1.

  Args:
    divergence: f.

  Returns:
    `(eta, v, lam) -> dJ/deta`, elementwise.
  """

  def gradient(eta, v, lam):
    return 1 - divergence.derivative((eta - v) / lam)

  return gradient


def _within(divergence, eta, v, lam):
  """(eta - v) / lam, no further than f* is finite.

  An eta at the edge stands a last place beyond it once it is divided.
  """
  return jnp.minimum((eta - v) / lam, divergence.limit)


def edge_objective(
  divergence: Divergence, eta: Scalar, v: Scalar, lam: Scalar
) -> Scalar:
  """J at eta, or at the largest number below it where J is finite.

  Args:
    divergence: f.
    eta: the dual variable.
    v: V(s').
    lam: the weight of the penalty.

  Returns:
    J, never -inf.
  """
  at = feasible(divergence, eta, v, lam)
  return at - lam * divergence.conjugate(_within(divergence, at, v, lam))


def edge_gradient(
  divergence: Divergence, eta: Scalar, v: Scalar, lam: Scalar
) -> Scalar:
  """dJ/deta at eta, or at the largest number below it where J is finite.

  Args:
    divergence: f.
    eta: the dual variable.
    v: V(s').
    lam: the weight of the penalty.

  Returns:
    dJ/deta, never -inf.
  """
  at = feasible(divergence, eta, v, lam)
  return 1 - divergence.derivative(_within(divergence, at, v, lam))


def theta(
  divergence: Divergence, lam: Scalar, v_max: float
) -> tuple[Scalar, Scalar]:
  """The interval of eta.

  The maximum lies in [lam tilt, lam tilt + v_max], because the derivative's
  mean is 1 there; chi-square takes the wider one of Lemma A.1.

  Args:
    divergence: f.
    lam: the weight of the penalty.
    v_max: V is in [0, v_max].

  Returns:
    Its ends.
  """
  if divergence.bounds is not None:
    return divergence.bounds(lam, v_max)
  return lam * divergence.tilt, lam * divergence.tilt + v_max


def project(
  divergence: Divergence, eta: Scalar, lam: Scalar, v_max: float
) -> Scalar:
  """eta, or the end of its interval that is nearest.

  Args:
    divergence: f.
    eta: the dual variable.
    lam: the weight of the penalty.
    v_max: V is in [0, v_max].

  Returns:
    The projection onto `theta`.
  """
  return jnp.clip(eta, *theta(divergence, lam, v_max))


def feasible(
  divergence: Divergence, eta: Scalar, v: Scalar, lam: Scalar
) -> Scalar:
  """The largest number up to eta at which J(., v) is finite.

  Args:
    divergence: f.
    eta: the dual variable.
    v: V(s').
    lam: the weight of the penalty.

  Returns:
    min(eta, v + lam limit); eta itself for a finite f*.
  """
  if math.isinf(divergence.limit):
    return eta
  return jnp.minimum(eta, v + lam * divergence.limit)
