"""Stopping by the span gives the same fixed point, sooner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import backups, environments, exact, span
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE, KL

TASKS = {"chain": {}, "garnet": {"states": 30}, "riverswim": {}}


pytestmark = pytest.mark.usefixtures("double")


def kinds(model):
  return {
    "ordinary": lambda v: backups.ordinary_backup(model, v),
    "chi2": lambda v: backups.robust_backup(CHI_SQUARE, model, v, 0.7),
    "kl": lambda v: backups.robust_backup(KL, model, v, 0.7),
  }


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("kind", ["ordinary", "chi2", "kl"])
def test_the_middle_of_the_bounds_is_the_fixed_point(name, kind):
  mdp = environments.make(name, **TASKS[name])
  model = jax.tree.map(jnp.asarray, backups.model(mdp, np.float64))
  backup = kinds(model)[kind]
  full = exact.value_iteration(backup, model, stop=1e-14)
  for tolerance in (1e-2, 1e-6):
    soon = span.span_iteration(backup, model, tolerance=tolerance)
    assert jnp.abs(soon.q - full.q).max() <= tolerance * (1 + 1e-6)
    assert soon.sweeps < full.sweeps


def test_where_transitions_mix_it_takes_a_tenth_of_the_sweeps():
  mdp = environments.make("garnet", states=200, branching=20)
  model = jax.tree.map(jnp.asarray, backups.model(mdp, np.float64))
  backup = kinds(model)["chi2"]
  tail = mdp.discount / (1 - mdp.discount)
  full = exact.value_iteration(backup, model, stop=1e-6 / tail / mdp.v_max)
  soon = span.span_iteration(backup, model, tolerance=1e-6)
  assert 10 * soon.sweeps < full.sweeps
