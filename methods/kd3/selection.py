"""Which web images an epoch trains on: dynamic instance selection.

Pure functions with static shapes: a selection is an order of all images, the
selected ones first, and how many these are. Letters: n web images, C classes,
t the epoch counted from 1, conf_i and c_i the largest probability of image i
and its class, n_c how many images fall to class c, tau_c the class's threshold.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from kd_jax.datasets import hosted, pipeline
from kd_jax.methods.kd3 import inputs, model
from kd_jax.methods.kd3.config import (
  ALPHA_CUT,
  ALPHA_LENGTH,
  ALPHA_RATE,
  PAPER_EPOCHS,
  Config,
  SelectConfig,
)
from kd_jax.training.state import step_key

# Streams of a step's key.
SCORING, SHUFFLING, CHOOSING = 1, 2, 3


class Scores(NamedTuple):
  """What the networks say of every web image.

  Attributes:
    confidence: conf_i.
    predicted: c_i.
  """

  confidence: Float[Array, "n"]
  predicted: Int[Array, "n"]


def alpha(
  epoch: Int[Array, ""], epochs: int, blend: str = "schedule"
) -> Float[Array, ""]:
  """The teacher's weight in the blend of logits.

  alpha(t) = 1 - exp(-5 ((s + 1) / 160 - 1)^2) for s < 120, and 0 from then on,
  with s = 240 t / epochs: the published schedule, rescaled to the run's length.

  Source: Tang et al. 2023 (ICCV), dynamic instance selection; the constants are
  those of the authors' code.

  Args:
    epoch: t, from 1.
    epochs: how many there are.
    blend: "schedule", "teacher" (1) or "student" (0).

  Returns:
    alpha(t).
  """
  if blend != "schedule":
    return jnp.float32(blend == "teacher")
  s = epoch.astype(jnp.float32) * (PAPER_EPOCHS / epochs)
  falling = 1 - jnp.exp(-ALPHA_RATE * ((s + 1) / ALPHA_LENGTH - 1) ** 2)
  # In whole numbers: of 58 epochs the 29th would round to just below the cut.
  return jnp.where(PAPER_EPOCHS * epoch < ALPHA_CUT * epochs, falling, 0.0)


def score(
  teacher_logits: Float[Array, "b c"],
  student_logits: Float[Array, "b c"],
  weight: Float[Array, ""],
) -> Scores:
  """Confidence and class of the blended prediction.

  z = alpha zT + (1 - alpha) zS; conf = max softmax(z), c = argmax.

  Args:
    teacher_logits: zT.
    student_logits: zS.
    weight: alpha.

  Returns:
    The scores.
  """
  blended = weight * teacher_logits + (1 - weight) * student_logits
  p = jax.nn.softmax(blended.astype(jnp.float32))
  return Scores(p.max(-1), p.argmax(-1).astype(jnp.int32))


def thresholds(
  counts: Int[Array, "c"], p_cutoff: float = 0.95
) -> Float[Array, "c"]:
  """A threshold per class, lower for classes that few images fall to.

  b_c = n_c / max n, tau_c = p_cutoff b_c / (2 - b_c). Every image is counted,
  confident or not.

  Source: Tang et al. 2023 (ICCV); the map is that of Zhang et al., FlexMatch,
  NeurIPS 2021, eq. 11, which counts the confident ones only.

  Args:
    counts: n_c.
    p_cutoff: the threshold of the most frequent class.

  Returns:
    tau_c.
  """
  b = counts / jnp.maximum(counts.max(), 1)
  return p_cutoff * b / (2 - b)


def choose(
  select: SelectConfig,
  scores: Scores,
  tau: Float[Array, "c"],
  valid: Bool[Array, "n"],
  key: Key[Array, ""],
) -> Bool[Array, "n"]:
  """Applies a rule.

  Args:
    select: the rule.
    scores: of every image.
    tau: the classes' thresholds.
    valid: False on places that hold no image.
    key: for "random", and for which of equally confident images "top_k" takes
      (their order may tell: ours on the embedded web stand relevant first).

  Returns:
    Which images are selected.
  """
  n = valid.shape[0]
  if select.rule == "classwise":
    mask = scores.confidence > tau[scores.predicted]
  elif select.rule == "fixed":
    mask = scores.confidence > select.p_cutoff
  elif select.rule in ("top_k", "random"):
    merit = jnp.where(valid, scores.confidence, -1.0)
    if select.rule == "random":
      merit = valid.astype(jnp.float32)
    best = jnp.lexsort((jax.random.bits(key, (n,), jnp.uint32), -merit))
    mask = jnp.zeros(n, bool).at[best[: select.count]].set(True)
  else:
    mask = valid
  return mask & valid


def arrange(
  key: Key[Array, ""], mask: Bool[Array, "n"], valid: Bool[Array, "n"]
) -> tuple[Int[Array, "n"], Int[Array, ""]]:
  """Orders the images: the selected ones first, at random.

  Args:
    key: for the random order.
    mask: which are selected.
    valid: False on places that hold no image; these come last.

  Returns:
    A permutation, and how many to take from its front: the number selected, or
    of all images where none is.
  """
  drawn = jax.random.bits(key, mask.shape, jnp.uint32)
  order = jnp.lexsort((drawn, jnp.where(valid, ~mask, 2)))
  selected = mask.sum()
  front = jnp.where(selected > 0, selected, valid.sum())
  return order.astype(jnp.int32), front.astype(jnp.int32)


def draw(
  state: Any, slots: Int[Array, "b"], batch_size: int, n: int
) -> Int[Array, "b"]:
  """Goes through the selection, again and again, for `pipeline.from_columns`.

  One pass takes every selected image once, and each pass in a new order: so
  does an arm that selects once what one that selects every epoch does.

  Args:
    state: its `web`, `order`, `front` and `since` (the step of the selection).
    slots: places in the global batch.
    batch_size: B.
    n: rows of the columns (the state knows which of them are on the web).

  Returns:
    Rows of the columns.
  """
  del n
  taken = state.step - state.since
  place = pipeline.rows(state.seed, taken, batch_size, state.front, slots)
  return state.web[state.order[place]]


def make_select(config: Config) -> Callable[..., Any]:
  """Builds the function that selects, between the epochs.

  Args:
    config: an arm's configuration.

  Returns:
    `(state, columns, *, axis_name=None) -> (state, record)`: the state with a
    new `order`, `front` and `since`, and what is logged: alpha, n_c, tau_c,
    kept (per class), selected, and share_relevant where `columns` tell it.
  """
  scorer = pipeline.map_columns(_score_batch(config), config.score_batch_size)

  def select(state, columns, *, axis_name=None):
    valid = jnp.arange(state.web.shape[0]) < state.web_count
    epoch = state.step // config.epoch_steps + 1
    weight = alpha(epoch, config.epochs, config.select.blend)
    scores = scorer(
      (state, columns, weight), {"web": state.web}, axis_name=axis_name
    )
    counts = per_class(scores.predicted, valid, _classes(state))
    tau = thresholds(counts, config.select.p_cutoff)
    mask = choose(config.select, scores, tau, valid, step_key(state, CHOOSING))
    order, front = arrange(step_key(state, SHUFFLING), mask, valid)
    record = {
      "alpha": weight,
      "n_c": counts,
      "tau_c": tau,
      "kept": per_class(scores.predicted, mask, _classes(state)),
      "selected": mask.sum(),
    }
    history = {"selected": mask.sum().astype(jnp.float32)}
    if "relevant" in columns:
      relevant = jnp.asarray(columns["relevant"])[state.web]
      share = (relevant & mask).sum() / jnp.maximum(mask.sum(), 1)
      record["share_relevant"] = history["relevant"] = share
    state = state.replace(
      order=order,
      front=front,
      since=state.step,
      history=_remember(state.history, epoch - 1, history),
    )
    return state, record

  return select


def per_class(
  predicted: Int[Array, "n"], mask: Bool[Array, "n"], classes: int
) -> Int[Array, "c"]:
  """Counts the images of a mask by class."""
  return jnp.zeros(classes, jnp.int32).at[predicted].add(mask)


def _remember(
  history: Mapping[str, Array], epoch, values: Mapping[str, Array]
) -> dict[str, Array]:
  return {
    **history,
    **{k: history[k].at[epoch].set(v) for k, v in values.items()},
  }


def _classes(state) -> int:
  return state.teacher["params"]["head"]["kernel"].shape[-1]


def _score_batch(config):
  """Scores the rows of a batch of places on the web."""

  def score_batch(carried, batch, *, axis_name=None):
    del axis_name  # Rows are scored one by one.
    state, columns, weight = carried
    images = hosted.rows(columns["image"], batch["web"])
    x = inputs.prepare(config.data, images)
    if config.select.augment:
      key = step_key(state, SCORING)
      x = inputs.perturb(key, batch["index"], x, config.data)
    teacher = model.teacher_predict(config, state.teacher, x)
    student = model.student_predict(config, state.variables(), x)
    return score(teacher.logits, student.logits, weight)

  return score_batch
