"""What methods are compared with: labels, and no training at all."""

import jax.numpy as jnp
import optax

from kd_jax.losses.inputs import blank
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """Cross-entropy of the encoder's own classifier."""
  del s, axis_name
  entropy = optax.softmax_cross_entropy_with_integer_labels
  values = [entropy(view.logits, out.label) for view in out.views]
  return {"cross_entropy": blank(jnp.stack(values).mean(0), where)}


def nothing(out: Outputs, s, *, where=None, axis_name=None):
  """A loss of 0."""
  del s, where, axis_name
  return {"nothing": jnp.zeros(len(out.views[0].h))}


SUPERVISED = Learner(
  name="supervised",
  title="the same encoder trained on the labels (upper bound)",
  terms=terms,
  weights=scaled("cross_entropy"),
  views=1,
  labels=True,
)
RANDOM = Learner(
  name="random",
  title="the encoder as it was drawn, its batch statistics settled",
  terms=nothing,
  weights=scaled("nothing"),
  views=1,
  trains=False,
)
