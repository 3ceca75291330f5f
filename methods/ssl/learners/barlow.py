"""Barlow Twins: the views' cross-correlation is the identity.

Source: Zbontar et al. 2021, arXiv 2103.03230.
"""

from kd_jax import losses
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """One number of the batch."""
  first, second = (view.z for view in out.views)
  return {
    "redundancy": losses.barlow_twins(
      first,
      second,
      off_diagonal=s.off_diagonal,
      where=where,
      axis_name=axis_name,
    )
  }


LEARNER = Learner(
  name="barlow",
  title="cross-correlation of the views, an identity (Barlow Twins)",
  terms=terms,
  weights=scaled("redundancy"),
  defaults={"views": "asymmetric", "probe_rate": 0.1},
)
