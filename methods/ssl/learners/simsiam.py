"""SimSiam: BYOL without a slow network.

Source: Chen and He 2021, arXiv 2011.10566.
"""

from kd_jax import losses
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """Predictions of each view and the stopped projections of the other."""
  del axis_name
  (first, second), (target, target2) = out.views, out.targets
  return {
    "similarity": losses.simsiam(
      first.p,
      second.p,
      target.z,
      target2.z,
      where=where,
      stop_target_gradient=s.stop_gradient,
    )
  }


LEARNER = Learner(
  name="simsiam",
  title="predicts the other view's projection, gradient stopped",
  terms=terms,
  weights=scaled("similarity"),
  defaults={
    "views": "symmetric_weak",
    "predictor_constant": True,
    "probe_rate": 30.0,
  },
)
