"""SwAV: one view's code is predicted from another.

Source: Caron et al. 2020, arXiv 2006.09882.
"""

import jax
import jax.numpy as jnp

from kd_jax import losses
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl.learners import queue
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """Codes of the two global views, predicted by all others."""
  codes = [_codes(out, s, i, where, axis_name) for i in range(2)]
  return {
    "prediction": losses.swapped_prediction(
      jnp.stack([view.scores for view in out.views]),
      jnp.stack(codes),
      temperature=s.temperature,
      where=where,
    )
  }


def _codes(out, s, view, where, axis_name):
  """Sinkhorn's; without iterations, what a softmax would say."""
  scores = out.views[view].scores
  if not s.iterations:
    return jax.nn.softmax(jax.lax.stop_gradient(scores) / s.epsilon)
  more = {}
  if s.queue:
    ring = out.memory["embeddings"]
    # Of embeddings that are old, by prototypes that are not.
    old = jnp.matmul(
      ring.rows[view],
      jax.lax.stop_gradient(out.prototypes).T,
      precision="highest",
    )
    full = ring.filled == ring.rows.shape[1]
    more = {
      "queue_scores": old,
      "queue_where": jnp.broadcast_to(full, old.shape[:1]),
    }
  return losses.sinkhorn_codes(
    scores,
    epsilon=s.epsilon,
    iterations=s.iterations,
    where=where,
    axis_name=axis_name,
    **more,
  )


def memory(s, key, d):
  """A queue for each of the views that assign."""
  if not s.queue:
    return {}
  return {"embeddings": queue.create(key, 2, s.queue, d)}


def remember(old, out: Outputs, s, *, axis_name=None):
  """Pushes both views' embeddings, from `queue_start` on."""
  if not old:
    return old
  rows = jnp.stack([l2_normalize(view.z) for view in out.views[:2]])
  ring = queue.push(
    old["embeddings"],
    rows,
    wanted=out.progress >= s.queue_start,
    axis_name=axis_name,
  )
  return {"embeddings": ring}


LEARNER = Learner(
  name="swav",
  title="predicts the other view's balanced code",
  terms=terms,
  weights=scaled("prediction"),
  defaults={
    "views": "symmetric",
    "temperature": 0.1,
    "joint_statistics": True,
    "probe_rate": 0.15,
  },
  views=0,
  prototypes="unit",
  memory=memory,
  remember=remember,
)
