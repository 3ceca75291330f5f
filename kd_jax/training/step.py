"""The one train step that gradient-trained methods share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kd_jax import accel
from kd_jax.losses import compose
from kd_jax.metrics import Mean, mean
from kd_jax.training.accumulation import accumulate
from kd_jax.training.state import State, step_key

PyTree = Any
Terms = Callable[..., Mapping[str, Any]]


def make_train_step(
  forward: Callable[..., tuple[Any, PyTree]],
  terms: Terms,
  weights: Mapping[str, Any],
  tx: optax.GradientTransformation,
  *,
  extra_terms: Sequence[tuple[Terms, Mapping[str, Any]]] = (),
  measures: Callable[..., Mapping[str, Mean]] | None = None,
  microbatches: int = 1,
) -> Callable[..., tuple[State, dict[str, Mean]]]:
  """Builds a pure step: forward, terms, combine, gradient, update.

  Args:
    forward: `(params, state, batch, key, *, axis_name) -> (outputs,
      model_state)`.
    terms: `(outputs, batch, *, axis_name) -> {name: per-example array or
      scalar}`.
    weights: one weight per term; a callable is a schedule of the step.
    tx: the optimizer.
    extra_terms: further (terms, weights) pairs, of the same signatures; a name
      that is taken is an error.
    measures: `(outputs, batch) -> {name: Mean}`: what is logged and not
      optimised.
    microbatches: the batch is taken in so many parts, one after the other, and
      their gradients add up (see `accumulation`).

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`. The
    metrics hold "loss", every term, the measures and "grad_norm", summed over
    the devices.

  Raises:
    ValueError: at the call, for a term without a weight or the reverse, or a
      name that two sets of terms share.
  """
  parts_of = [(terms, weights), *extra_terms]

  def gradient(state, batch, key, *, axis_name=None):
    where = batch.get("where")

    def loss_fn(params):
      outputs, model_state = forward(
        params, state, batch, key, axis_name=axis_name
      )
      values, scales = _gather(parts_of, outputs, batch, state, axis_name)
      loss, parts = compose.combine(
        values, scales, where=where, axis_name=axis_name
      )
      return loss, (parts, outputs, model_state)

    (loss, (parts, outputs, model_state)), grads = jax.value_and_grad(
      loss_fn, has_aux=True
    )(state.params)
    if measures is not None:
      parts = {**parts, **measures(outputs, batch)}
    return (loss, grads), model_state, parts

  if microbatches > 1:
    gradient = accumulate(gradient, microbatches)

  def train_step(state, batch, *, axis_name=None):
    key = step_key(state)
    found, model_state, parts = gradient(state, batch, key, axis_name=axis_name)
    (loss, grads), model_state = accel.mean((found, model_state), axis_name)
    metrics = accel.sum(parts, axis_name)
    metrics["loss"] = mean(loss)
    metrics["grad_norm"] = mean(_norm(grads))
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      model_state=model_state,
    )
    return state, metrics

  return train_step


def _norm(tree: PyTree) -> jax.Array:
  """The Euclidean norm of all numbers of a tree."""
  squares = [jnp.square(x).sum() for x in jax.tree.leaves(tree)]
  return jnp.sqrt(jnp.stack(squares).sum())


def _gather(parts_of, outputs, batch, state, axis_name):
  """Every pair's terms under one roof, and their weights at this step."""
  values, scales = {}, {}
  for terms, weights in parts_of:
    new = terms(outputs, batch, axis_name=axis_name)
    if taken := sorted(set(new) & set(values)):
      raise ValueError(f"two sets of terms share the names {taken}")
    values.update(new)
    scales.update(
      {k: w(state.step) if callable(w) else w for k, w in weights.items()}
    )
  return values, scales
