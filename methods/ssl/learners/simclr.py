"""SimCLR: every other image of the batch is a negative.

Source: Chen, Kornblith, Norouzi and Hinton 2020, arXiv 2002.05709.
"""

from kd_jax import losses
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """NT-Xent of the two projections."""
  first, second = (view.z for view in out.views)
  return {
    "contrast": losses.nt_xent(
      first,
      second,
      temperature=s.temperature,
      where=where,
      axis_name=None if s.local_negatives else axis_name,
    )
  }


LEARNER = Learner(
  name="simclr",
  title="contrast with the batch (NT-Xent)",
  terms=terms,
  weights=scaled("contrast"),
  defaults={"joint_statistics": True, "probe_rate": 1.0},
)
