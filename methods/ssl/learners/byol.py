"""BYOL: a predictor, and a target network that follows slowly.

Source: Grill et al. 2020, arXiv 2006.07733.
"""

from kd_jax import losses
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """Predictions of each view and the target's projections of the other."""
  del axis_name
  predictions, targets = (
    [view.p for view in out.views],
    [view.z for view in out.targets],
  )
  return {
    "regression": losses.byol(
      *predictions,
      *targets,
      where=where,
      stop_target_gradient=s.stop_gradient,
    )
  }


LEARNER = Learner(
  name="byol",
  title="predicts a slow network's projection",
  terms=terms,
  weights=scaled("regression"),
  defaults={"views": "asymmetric", "ema_end": 1.0},
  teacher="after",
)
