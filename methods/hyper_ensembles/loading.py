"""A finished run's ensemble as a function of images."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax.errors import UsageError
from kd_jax.experiment import Products
from kd_jax.methods.hyper_ensembles import choosing, judging, measures
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.plans import Plan
from kd_jax.methods.hyper_ensembles.pools import Regime

PyTree = Any


def apply(
  config: Config, products: Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The first seed's hyper-deep ensemble, else its hyper-batch ensemble.

  Args:
    config: the configuration.
    products: of a run with the arm "hyper_deep" or "hyper_batch".

  Returns:
    `apply(variables, images) -> probabilities` for images in [0, 1] or bytes,
    (n, h, w, c); and the variables: "members" and "weights".

  Raises:
    UsageError: if neither arm was among the run's.
  """
  if "hyper_deep.final" in products:
    found = jax.tree.map(jnp.asarray, dict(products))
    regime = Regime("", config, None)
    members, weights = choosing.committee(found, regime, "hyper_deep", 0)
    kind = "single"
  elif "hyper_batch.train" in products:
    found = products["hyper_batch.train"]
    members = jax.tree.map(lambda x: jnp.asarray(x)[0], found)
    weights = jnp.full(config.members, 1 / config.members)
    kind = "hyper"
  else:
    raise UsageError(
      f"there is no ensemble to load: the run has the arms "
      f"{', '.join(config.arms)}, neither hyper_deep nor hyper_batch"
    )
  plan = Plan(config, kind, _classes(members), 1)

  def ensemble(variables, images):
    images = jnp.asarray(images)
    logits = judging.all_logits(plan, variables["members"], images)
    return jnp.exp(measures.mixed(logits, variables["weights"]))

  return jax.jit(ensemble), {"members": members, "weights": weights}


def _classes(members: Any) -> int:
  """How many logits the last layer has."""
  names = [n for n in members.params if n.startswith("dense")]
  last = max(names, key=lambda n: (len(n), n))  # dense_10 is after dense_9.
  return members.params[last]["kernel"].shape[-1]
