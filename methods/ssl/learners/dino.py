"""DINO: a slow teacher's centred, sharpened answer is predicted.

Source: Caron et al. 2021, arXiv 2104.14294.
"""

import jax.numpy as jnp

from kd_jax import accel, losses
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def terms(out: Outputs, s, *, where=None, axis_name=None):
  """All views under the teacher's answers to the global ones."""
  del axis_name
  return {
    "self_distillation": losses.dino(
      jnp.stack([view.scores for view in out.views]),
      jnp.stack([view.scores for view in out.targets]),
      out.memory["centre"],
      student_temperature=s.temperature,
      teacher_temperature=teacher_temperature(s, out.progress),
      where=where,
    )
  }


def teacher_temperature(s, progress):
  """Rises linearly in the first part of the training."""
  if not s.teacher_warmup:
    return s.teacher_temperature
  part = jnp.minimum(progress / s.teacher_warmup, 1.0)
  start = s.teacher_temperature_start
  return start + part * (s.teacher_temperature - start)


def memory(s, key, d):
  """The centre, 0 at first."""
  del key, d
  return {"centre": jnp.zeros(s.prototypes)}


def remember(old, out: Outputs, s, *, axis_name=None):
  """Moves the centre to the mean of the teacher's raw logits of all rows."""
  scores = jnp.stack([view.scores for view in out.targets])
  mean = accel.mean(scores.mean((0, 1)), axis_name)
  return {"centre": s.centre * old["centre"] + (1 - s.centre) * mean}


LEARNER = Learner(
  name="dino",
  title="predicts a slow teacher's centred answer",
  terms=terms,
  weights=scaled("self_distillation"),
  defaults={
    "views": "asymmetric",
    "temperature": 0.1,
    "ema_end": 1.0,
    "joint_statistics": True,
  },
  teacher="after",
  views=0,
  prototypes="weight_norm",
  memory=memory,
  remember=remember,
)
