"""MoCo: keys of a slow encoder are the negatives.

Versions 1 and 2 keep them in a queue and look one way, query to key ("v2" has a
projector of two layers and stronger views). "v2+" is solo-learn's: both ways,
meaned, a queue for each view. The authors' notebook for CIFAR adds both ways
and pushes all keys into one queue. Version 3 has a predictor, no queue, and the
keys of the whole batch.

A slow encoder whose batch statistics see query and key alike would find the key
by them: statistics are of all devices' rows here (the usual alternative to
shuffling rows among devices).

Source: He et al. 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297;
Chen, Xie and He 2021, arXiv 2104.02057.
"""

import functools

import jax.numpy as jnp

from kd_jax import losses
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl.learners import queue
from kd_jax.methods.ssl.learners.record import Learner, Outputs, scaled


def _way(out: Outputs, s, query, key, ring, where):
  return losses.info_nce_queue(
    out.views[query].z,
    out.targets[key].z,
    out.memory["keys"].rows[ring],
    temperature=s.temperature,
    where=where,
    stop_target_gradient=s.stop_gradient,
  )


def one_way(out: Outputs, s, *, where=None, axis_name=None):
  """The first view finds the second's key."""
  del axis_name
  return {"contrast": _way(out, s, 0, 1, 0, where)}


def both_ways(out: Outputs, s, *, where=None, axis_name=None):
  """The mean of both ways, each with the queue of its keys' view."""
  del axis_name
  there, back = _way(out, s, 0, 1, 0, where), _way(out, s, 1, 0, 1, where)
  return {"contrast": (there + back) / 2}


def both_added(out: Outputs, s, *, where=None, axis_name=None):
  """The sum of both ways, with one queue."""
  del axis_name
  there, back = _way(out, s, 0, 1, 0, where), _way(out, s, 1, 0, 0, where)
  return {"contrast": there + back}


def batch(out: Outputs, s, *, where=None, axis_name=None):
  """Version 3: both ways added, keys of the batch."""
  how = {
    "temperature": s.temperature,
    "where": where,
    "axis_name": None if s.local_negatives else axis_name,
    "stop_target_gradient": s.stop_gradient,
  }
  (first, second), (key, key2) = out.views, out.targets
  there = losses.info_nce_batch(first.p, key2.z, **how)
  return {"contrast": there + losses.info_nce_batch(second.p, key.z, **how)}


def memory(rings, s, key, d):
  """The queues."""
  return {"keys": queue.create(key, rings, s.queue, d)}


def remember(rings, pushed, old, out: Outputs, s, *, axis_name=None):
  """Pushes the keys of the views that are asked for."""
  del s
  keys = jnp.stack([l2_normalize(out.targets[i].z) for i in pushed])
  keys = keys.reshape(rings, -1, keys.shape[-1])
  return {"keys": queue.push(old["keys"], keys, axis_name=axis_name)}


def _queued(name, title, terms, rings, pushed, **defaults):
  return Learner(
    name=name,
    title=title,
    terms=terms,
    weights=scaled("contrast"),
    defaults={"views": "symmetric_weak", "probe_rate": 3.0, **defaults},
    teacher="before",
    memory=functools.partial(memory, rings),
    remember=functools.partial(remember, rings, pushed),
  )


V1 = _queued(
  "moco_v1",
  "contrast with a queue of a slow encoder's keys, linear head",
  one_way,
  1,
  (1,),
  temperature=0.07,
  projector="128 bias",
)
V2 = _queued(
  "moco_v2", "contrast with a queue, two layers of head", one_way, 1, (1,)
)
V2_PLUS = _queued(
  "moco_v2plus",
  "the same both ways, a queue for each view (solo-learn)",
  both_ways,
  2,
  (1, 0),
)
NOTEBOOK = _queued(
  "moco_notebook",
  "the same both ways, added, one queue (the authors' CIFAR notebook)",
  both_added,
  1,
  (1, 0),
)
V3 = Learner(
  name="moco_v3",
  title="contrast with the batch's keys of a slow encoder, a predictor",
  terms=batch,
  weights=scaled("contrast"),
  defaults={"views": "asymmetric", "ema_end": 1.0},
  teacher="before",
)
