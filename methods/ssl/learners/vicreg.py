"""VICReg: variance, invariance, covariance.

Source: Bardes, Ponce and LeCun 2022, arXiv 2105.04906.
"""

from kd_jax import losses
from kd_jax.methods.ssl.learners.record import Learner, Outputs


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """The three terms; of the variance half of each view's."""
  del s
  first, second = (view.z for view in out.views)
  how = {"where": where, "axis_name": axis_name}
  spread, twisted = (
    [term(z, **how) for z in (first, second)]
    for term in (losses.variance_hinge, losses.covariance_penalty)
  )
  return {
    "invariance": losses.invariance(first, second, where=where),
    "variance": sum(spread) / 2,
    "covariance": sum(twisted),
  }


def weights(s):
  """25, 25 and 1."""
  names = ("invariance", "variance", "covariance")
  return {name: s.scale * getattr(s, name) for name in names}


LEARNER = Learner(
  name="vicreg",
  title="invariance, variance and covariance",
  terms=terms,
  weights=weights,
  defaults={"views": "asymmetric"},
)
