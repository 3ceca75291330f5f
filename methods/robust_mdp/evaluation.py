"""How far a learner is from the exact values, and how its policy fares."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax import metrics
from kd_jax.methods.robust_mdp import backups, policies
from kd_jax.methods.robust_mdp.problems import label

# The part of a curve that the rate is fitted to: the last decade.
DECADE = 10


def sup_error(
  q: Float[Array, "*m l s a"], reference: Float[Array, "l s a"]
) -> Float[Array, "*m l"]:
  """The sup norm of Q - Q*; NaN or infinite where Q is.

  Args:
    q: members' Q.
    reference: Q* for each weight.

  Returns:
    The errors.
  """
  wide = jnp.broadcast_to(reference, q.shape)
  return jnp.abs(q - wide).max((-2, -1))


def rate(
  history: Float[Array, "*m l k"],
  steps: Float[Array, "k"],
) -> Float[Array, "*m l"]:
  """The slope of log error against log samples over the last decade.

  Args:
    history: errors at points.
    steps: steps taken at the points; the samples are proportional to them.

  Returns:
    The slopes, by least squares.
  """
  inside = (steps * DECADE >= steps[-1]) & (steps > 0)
  weight = inside / inside.sum()
  x = jnp.where(inside, jnp.log(jnp.maximum(steps, 1.0)), 0.0)
  x = jnp.where(inside, x - jnp.dot(weight, x), 0.0)
  y = jnp.log(jnp.maximum(history, 1e-12))
  return jnp.tensordot(y, x, 1) / jnp.square(x).sum()


def make_measure(
  names: Sequence[str], backup: Callable[..., Any] | None, start: Any
) -> Callable[..., dict[str, metrics.Mean]]:
  """Builds the measure of a learner's product, one value a seed.

  Args:
    names: what each weight adds to a metric's name ("" for a single one).
    backup: `(model, v, lam) -> Q`, the learner's own; None leaves the residual
      and the worst case out.
    start: the distribution of the first state.

  Returns:
    `(product, data, *, axis_name) -> {name: Mean}`, for a product with "q"
    (M, L, S, A), "reference" (L, S, A) and, of learners, "history" (M, L, K)
    and "at" (K), and for data with "lams" (L), "model" or None, and "shifted".
    It gives, for each weight and (without its name) as the mean over them,
    "error", "v_error", "slope", and where there is a model "nominal" (the
    greedy policy's value at the start), "at_SHIFT" (that under another kernel),
    "residual" and "worst" (that under the worst kernel).
  """

  def measure(product, data, *, axis_name=None):
    del axis_name  # A product is measured whole.
    q, reference = product["q"], product["reference"]
    found = {
      "error": sup_error(q, reference),
      "v_error": sup_error(
        q.max(-1, keepdims=True), reference.max(-1, keepdims=True)
      ),
    }
    if "history" in product and product["history"].shape[-1] > DECADE:
      found["slope"] = rate(product["history"], product["at"])
    if data["model"] is not None:
      found |= _values(q, data, backup, start)
    whole = {}
    for name, values in found.items():
      for i, suffix in enumerate(names):
        if suffix:
          whole[f"{name}_{suffix}"] = per_seed(values[:, i])
      whole[name] = per_seed(values.mean(-1))
    whole["error_quarter_more"] = per_seed(1.25 * found["error"].mean(-1))
    whole["error_worst"] = per_seed(found["error"].max(-1))
    if "slope" in found:
      whole["slope_worst"] = per_seed(found["slope"].max(-1))
    finite = jnp.isfinite(q).all((-2, -1))
    whole["finite"] = per_seed(finite.mean(-1))
    extra = product.get("extra", {})
    for name in ("lost", "steepest"):
      if name in extra:
        whole[name] = per_seed(extra[name].mean(-1))
    return whole

  return measure


def per_seed(values: Float[Array, "m"]) -> metrics.Mean:
  """One value a seed, as the loop takes it; NaN for what is not finite."""
  values = jnp.where(jnp.isfinite(values), values, jnp.nan)
  values = values.astype(jnp.float32)
  return metrics.Mean(values, jnp.ones_like(values))


def _values(q, data, backup, start) -> Mapping[str, Float[Array, "m l"]]:
  """What the greedy policies are worth at the start."""
  model, lams = data["model"], data["lams"]

  def each(q, lam):
    policy = q.argmax(-1)  # Of equal actions the first.

    def value(model):
      return jnp.dot(start, policies.policy_value(model, policy))

    own = {f"at_{name}": value(m) for name, m in data["shifted"].items()}
    own["nominal"] = value(model)
    if backup is not None:
      own["residual"] = jnp.abs(backup(model, q.max(-1), lam) - q).max()
      own["worst"] = jnp.dot(
        start,
        policies.worst_value(lambda m, v: backup(m, v, lam), model, policy),
      )
    return own

  over_lams = jax.vmap(each)
  # A seed at a time: a policy's linear system is (S, S).
  return jax.lax.map(lambda x: over_lams(x, lams), q)


def robust(divergence: Any) -> Callable[..., Any]:
  """The penalised backup of a divergence, as `make_measure` takes it."""
  return lambda model, v, lam: backups.robust_backup(divergence, model, v, lam)


def suffixes(weights: Sequence[float]) -> tuple[str, ...]:
  """What each weight adds to a metric's name."""
  if len(weights) == 1 and weights[0] == float("inf"):
    return ("",)
  return tuple(f"lam_{label(lam)}" for lam in weights)
