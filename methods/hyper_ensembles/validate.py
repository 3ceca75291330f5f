"""Wrong fields, each refused in a sentence before anything is computed."""

import itertools
import math
import numbers
from typing import Any

import numpy as np

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles.space import Space, spans

CHOICES = {
  "model": ("mlp", "lenet", "resnet20", "wrn28_10"),
  "objective": ("nll", "error", "nll_and_error"),
  "optimizer": ("adam", "sgd"),
  "schedule": ("cosine", "stairs"),
  "dtype": ("float32", "bfloat16"),
  "hyper.bounds": ("full", "inner", "narrow"),
  "hyper.rows": ("example", "batch"),
  "hyper.loss": ("gibbs", "ensemble"),
}
KINDS = ("l2", "dropout", "smoothing")
_RANGES = (
  ("seeds", 1, fields.MOST),
  ("members", 2, fields.MOST),
  ("runs", 1, fields.MOST),
  ("steps", 1, fields.MOST),
  ("batch_size", 1, fields.MOST),
  ("warmup", 0, fields.MOST),
  ("norm_l2", 0.0, math.inf),
  ("l2", 0.0, math.inf),
  ("dropout", 0.0, fields.BELOW_1),
  ("smoothing", 0.0, fields.BELOW_1),
  ("learning_rate", fields.ABOVE_0, math.inf),
  ("fast_rate", fields.ABOVE_0, math.inf),
  ("data.train", 0, fields.MOST),
  ("data.val", 2, fields.MOST),
  ("data.wrong", 0.0, fields.BELOW_1),
  ("hyper.every", 1, fields.MOST),
  ("hyper.warmup", 0, fields.MOST),
  ("hyper.batch", 1, fields.MOST),
  ("hyper.samples", 0, fields.MOST),
  ("hyper.tau", 0.0, math.inf),
  ("hyper.longer", fields.ABOVE_0, math.inf),
  ("hyper.rate", fields.ABOVE_0, math.inf),
  ("hyper.norm_l2", 0.0, math.inf),
  ("hyper.embed_scale", fields.ABOVE_0, math.inf),
)


def check_fields(config: Any) -> None:
  """Checks a configuration.

  Args:
    config: the configuration.

  Raises:
    UsageError: for the first field that is wrong.
  """
  fields.check(config, CHOICES, _RANGES)
  _check_tuned(config)
  _check_lists(config)
  for lead, part in (("", config), ("hyper.", config.hyper)):
    if part.fast_init > 1:
      raise UsageError(
        f"{lead}fast_init is {part.fast_init:g}; above 0 it is a chance, at "
        "most 1"
      )
  if config.warmup >= config.steps:
    raise UsageError(
      f"warmup is {config.warmup}; it must be less than the {config.steps} "
      "steps"
    )


def check_search(
  members: int, runs: int, space: Space, labels: np.ndarray, objective: str
) -> None:
  """Checks what a search of one's own is asked for.

  Args:
    members: K.
    runs: of the search.
    space: the box.
    labels: of the validation data.
    objective: of the selection.

  Raises:
    UsageError: for the first that is wrong.
  """
  for name, value in (("members", members), ("runs", runs)):
    if not isinstance(value, numbers.Integral):
      raise UsageError(f"{name} is {value!r}; a whole number is needed")
  if not isinstance(space, Space):
    raise UsageError(f"space is {type(space).__name__}; a Space is needed")
  if members < 1:
    raise UsageError(f"members is {members}; it must be at least 1")
  if runs < members:
    raise UsageError(
      f"runs is {runs}, fewer than the {members} members to choose from them"
    )
  known = CHOICES["objective"]
  if objective not in known:
    raise UsageError(
      f"objective is {objective!r}; there are {', '.join(known)}"
    )
  if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
    raise UsageError(
      f"validation labels are {labels.dtype} {labels.shape}; a whole number "
      "for each input is needed"
    )
  try:
    space.check()
  except ValueError as error:
    raise UsageError(str(error)) from None


def check_predictions(logits: Any, labels: np.ndarray) -> None:
  """Holds what a network predicts against the labels, nothing being trained.

  Args:
    logits: their shape, or what else `predict` gives.
    labels: of the validation data.

  Raises:
    UsageError: if they do not fit.
  """
  shape = getattr(logits, "shape", None)
  if shape is None or len(shape) != 2 or shape[0] != len(labels):
    raise UsageError(
      f"predict gives {type(logits).__name__ if shape is None else shape} for "
      f"{len(labels)} labels; ({len(labels)}, classes) is needed"
    )
  if labels.min() < 0 or labels.max() >= shape[1]:
    raise UsageError(
      f"validation labels go from {labels.min()} to {labels.max()}; predict "
      f"gives {shape[1]} logits, of the labels 0 to {shape[1] - 1}"
    )


def _check_lists(config) -> None:
  if not config.widths or min(config.widths) < 1:
    raise UsageError(f"widths is {config.widths}; expected layers")
  if min(config.hyper.embed_hidden, default=1) < 1:
    raise UsageError(
      f"hyper.embed_hidden is {config.hyper.embed_hidden}; expected widths"
    )
  stairs = config.stairs
  if any(not 0 < part < 1 for part in stairs) or any(
    a >= b for a, b in itertools.pairwise(stairs)
  ):
    raise UsageError(
      f"stairs is {stairs}; it must rise, above 0 and below 1 (parts of all "
      "steps)"
    )
  for name in ("mean", "std"):
    values = getattr(config.data, name)
    if not values or not all(map(math.isfinite, values)):
      raise UsageError(f"data.{name} is {values}; expected a number a channel")
  if min(config.data.std) <= 0:
    raise UsageError(f"data.std is {config.data.std}; it must be above 0")


def _check_tuned(config) -> None:
  if not config.tuned:
    raise UsageError(f"tuned is empty; there are {', '.join(KINDS)}")
  for kind in config.tuned:
    if kind not in KINDS:
      raise UsageError(f"tuned has {kind!r}; there are {', '.join(KINDS)}")
  for kind in KINDS:
    low, high = getattr(config, f"{kind}_range")
    if not spans(low, high):
      raise UsageError(
        f"{kind}_range is ({low:g}, {high:g}); it must begin above 0 and end "
        "above that, also as float32"
      )
  for kind in ("dropout", "smoothing"):
    if getattr(config, f"{kind}_range")[1] >= 1:
      raise UsageError(f"{kind}_range must end below 1")
  if set(config.tuned) == {"dropout"} and config.model in (
    "resnet20",
    "wrn28_10",
  ):
    raise UsageError(f"{config.model} has no dropout to tune")
