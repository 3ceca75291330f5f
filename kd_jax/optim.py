"""What optax lacks: two forms of LARS, held and clipped tensors, slow copies.

`optax.lars` multiplies by the learning rate before the momentum is added up, as
google's code does. The two of this module multiply after it, as the code of
most self-supervised papers does; while the rate changes the results differ.
Biases and the scales of norms (arrays of one axis) neither decay nor adapt.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

PyTree = Any
Rate = float | Callable[[Array], Array]


class Counted(NamedTuple):
  """How many updates there were, and another transformation's state.

  Attributes:
    count: of updates.
    inner: the other's state.
  """

  count: Int[Array, ""]
  inner: PyTree


def lars(
  learning_rate: Rate,
  *,
  weight_decay: float = 0.0,
  momentum: float = 0.9,
  trust: float = 0.001,
) -> optax.GradientTransformation:
  """LARS as in the code of BYOL, Barlow Twins, VICReg and MoCo v3.

  g += decay p; g *= trust |p| / |g|; m = momentum m + g; p -= rate m. SwAV's
  LARC does the same to arrays of one axis, too, and divides by |g| + decay |p|
  with the g before decay. Where |p| or |g| is 0 nothing is adapted.

  Args:
    learning_rate: a number or a schedule.
    weight_decay: of arrays with two axes or more.
    momentum: of what was adapted.
    trust: eta, "LARS, eta .001".

  Returns:
    The transformation.

  Source: You, Gitman and Ginsburg 2017, arXiv 1708.03888.
  """

  def adapt(g, p, rate):
    del rate
    up, down = _norm(p), _norm(g)
    return g * _ratio(trust * up, down, up, down)

  return optax.chain(
    optax.add_decayed_weights(weight_decay, mask=is_matrix),
    _adapted(adapt),
    optax.trace(momentum),
    optax.scale_by_learning_rate(learning_rate),
  )


def lars_clipped(
  learning_rate: Rate,
  *,
  weight_decay: float = 0.0,
  momentum: float = 0.9,
  trust: float = 0.02,
) -> optax.GradientTransformation:
  """LARS as solo-learn has it for CIFAR: another trust, never a longer step.

  g = (g + decay p) min(trust |p| / ((|g| + decay |p|) rate), 1): with `trust`
  .02 it is plain SGD wherever |p| is large beside |g|. Where |p| or |g| is 0
  nothing decays, either. Learning rates for it and for `lars` have nothing to
  do with each other.

  Args:
    learning_rate: a number or a schedule.
    weight_decay: of arrays with two axes or more.
    momentum: of what was adapted.
    trust: eta, "LARS, eta .02, clip_lr".

  Returns:
    The transformation.
  """

  def adapt(g, p, rate):
    up, down = _norm(p), _norm(g)
    most = _ratio(trust * up, (down + weight_decay * up) * rate, up, down)
    decay = jnp.where((up > 0) & (down > 0), weight_decay, 0.0)
    return (g + decay * p) * jnp.minimum(most, 1.0)

  return optax.chain(
    _adapted(adapt, learning_rate),
    optax.trace(momentum),
    optax.scale_by_learning_rate(learning_rate),
  )


def is_matrix(params: PyTree) -> PyTree:
  """Which arrays of a tree have two axes or more: what decays and adapts.

  Args:
    params: arrays.

  Returns:
    The tree of bools.
  """
  return jax.tree.map(lambda p: p.ndim > 1, params)


def _ratio(up, down, *norms):
  """Up over down; 1 where one of the norms is 0."""
  fine = jnp.all(jnp.stack(norms) > 0) & (down > 0)
  return jnp.where(fine, up / jnp.where(fine, down, 1.0), 1.0)


def _norm(x):
  return jnp.sqrt((x * x).sum())


def _adapted(adapt, learning_rate=1.0):
  """Adapts each array of two axes or more: `(g, p, rate) -> g`."""

  def init(params):
    del params
    return Counted(jnp.int32(0), ())

  def update(updates, state, params):
    rate = learning_rate
    rate = rate(state.count) if callable(rate) else rate

    updates = jax.tree.map(
      lambda g, p: adapt(g, p, rate) if p.ndim > 1 else g, updates, params
    )
    return updates, Counted(state.count + 1, ())

  return optax.GradientTransformation(init, update)


def clip_each(max_norm: float) -> optax.GradientTransformation:
  """Shortens every array by itself to a norm, rather than all of them together.

  Args:
    max_norm: DINO's is 3.

  Returns:
    The transformation; it multiplies by min(1, max_norm / (|g| + 1e-6)).
  """

  def one(g):
    norm = jnp.sqrt((g * g).sum())
    return g * jnp.minimum(1.0, max_norm / (norm + 1e-6))

  return optax.stateless(lambda updates, params: jax.tree.map(one, updates))


def hold(
  inner: optax.GradientTransformation, steps: int
) -> optax.GradientTransformation:
  """Leaves parameters where they are for the first steps, decay and all.

  Schedules inside go on; momentum does not gather. A count of steps inside goes
  on, too: Adam's first free step is as long as its correction of that count
  makes it, .5 to .8 of a fresh one's after twenty to sixty steps.

  Args:
    inner: what applies afterwards.
    steps: how many steps are held.

  Returns:
    The transformation.
  """

  def init(params):
    return Counted(jnp.int32(0), inner.init(params))

  def update(updates, state, params):
    free = state.count >= steps

    def kept(tree):
      return jax.tree.map(lambda x: jnp.where(free, x, jnp.zeros_like(x)), tree)

    updates, found = inner.update(kept(updates), state.inner, kept(params))
    return updates, Counted(state.count + 1, found)

  return optax.GradientTransformation(init, update)


def warmup_cosine(
  peak: float, steps: int, *, warmup: int = 0, end: float = 0.0
) -> Callable[[Array], Array]:
  """A rate that rises linearly from 0 and falls along a cosine.

  Args:
    peak: the highest rate.
    steps: the length of the training.
    warmup: steps until the peak.
    end: the rate at the end.

  Returns:
    The schedule.
  """
  warmup = min(warmup, steps - 1)
  if not warmup:
    return optax.cosine_decay_schedule(peak, steps, alpha=end / peak)
  return optax.warmup_cosine_decay_schedule(
    0.0, peak, warmup, steps, end_value=end
  )


def cosine_between(
  start: float, end: float, steps: int
) -> Callable[[Array], Array]:
  """From one number to another along half a cosine (BYOL's target rate).

  Equation: end - (end - start) (cos(pi t / steps) + 1) / 2.

  Args:
    start: the value at step 0.
    end: the value at the last step.
    steps: the length of the training.

  Returns:
    The schedule.
  """

  def value(step):
    part = jnp.clip(jnp.asarray(step, jnp.float32) / steps, 0.0, 1.0)
    return end - (end - start) * (jnp.cos(jnp.pi * part) + 1) / 2

  return value


def ema(old: PyTree, new: PyTree, keep: Array | float) -> PyTree:
  """An exponential moving average: what is kept of the old, and the rest new.

  Args:
    old: a tree.
    new: a tree of the same structure, or one that has more entries in its dicts
      (what has no slow copy).
    keep: the share of the old, from 0 to 1.

  Returns:
    The average, of the old tree's structure.
  """
  if isinstance(old, dict):
    return {name: ema(value, new[name], keep) for name, value in old.items()}
  return jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, old, new)
