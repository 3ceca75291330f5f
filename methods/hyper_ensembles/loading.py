"""A finished run's ensemble as a function of images."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax.methods.hyper_ensembles import judging, measures
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.plans import Plan

PyTree = Any


def ensemble(
  config: Config, products: Any
) -> tuple[Callable[..., jax.Array], PyTree] | None:
  """The first seed's hyper-deep ensemble, else its hyper-batch ensemble.

  Args:
    config: the configuration.
    products: of the run.

  Returns:
    `apply(variables, images)` and the variables; None if there is neither.
  """
  first = lambda tree: jax.tree.map(lambda x: jnp.asarray(x)[0], tree)  # noqa: E731
  if "hyper_deep.final" in products:
    chosen, again = first(products["chosen"]), first(products["again"])
    search, strata = first(products["search"]), first(products["strata"])
    k = config.members
    whole = jax.tree.map(
      lambda a, b: jnp.concatenate(
        [a[chosen["picks"]][:, None], b.reshape(k, k - 1, *b.shape[1:])], 1
      ).reshape(k * k, *a.shape[1:]),
      search,
      strata,
    )
    members = jax.tree.map(lambda x: x[again["picks"]], whole)
    weights, kind = again["weights"], "single"
  elif "hyper_batch.train" in products:
    members = first(products["hyper_batch.train"])
    weights = jnp.full(config.members, 1 / config.members)
    kind = "hyper"
  else:
    return None
  classes = _classes(members)
  plan = Plan(config, kind, classes, 1)

  def apply(variables, images):
    logits = judging.committee(plan, variables["members"], jnp.asarray(images))
    return jnp.exp(measures.mixed(logits, variables["weights"]))

  return jax.jit(apply), {"members": members, "weights": weights}


def _classes(members: Any) -> int:
  """How many logits the last layer has."""
  names = sorted(n for n in members.params if n.startswith("dense"))
  return members.params[names[-1]]["kernel"].shape[-1]
