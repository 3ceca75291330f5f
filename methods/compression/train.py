"""The phases of a run: the dense network, and a pipeline for each arm."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kd_jax import experiment
from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  artifact,
  distilling,
  hosts,
  meter,
  packing,
  pipeline,
  stages,
  training,
)
from kd_jax.methods.compression import (
  data as tables,
)
from kd_jax.methods.compression.arms import ARMS, DISTILLED, of_arm
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.model import Model

PyTree = Any
Phases = list[experiment.Phase | experiment.WholeRun]


@dataclasses.dataclass(frozen=True)
class Own:
  """A user's network.

  Attributes:
    module: any linen module; its output is logits, or has `logits`.
    variables: trained ones; None trains new ones.
  """

  module: nn.Module
  variables: PyTree = None

  def product(self, products, data, seed):
    """The product of a training phase that has been."""
    del products, data, seed
    plain = {k: _plain(v) for k, v in self.variables.items()}
    return {"variables": jax.device_get(plain), "states": {}}, {}


def _plain(tree):
  """Nested dicts, whatever mapping it was."""
  if isinstance(tree, Mapping):
    return {k: _plain(v) for k, v in tree.items()}
  return tree


def phases(
  config: Config,
  data: Mapping[str, Any],
  say: Callable[[str], None],
  own: Own | None = None,
) -> Phases:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own in the role "images".
    say: takes lines of news.
    own: a user's network in the place of the configured one.

  Returns:
    The dense network; for each arm the steps of its pipeline, and its file.

  Raises:
    UsageError: for fields, data or pipelines that do not fit together.
  """
  for arm in config.arms:
    pipeline.parse(of_arm(config, arm)[1])
  found = tables.load(config, data, say)
  reference = make_model(config, found)
  if own is not None:
    reference = dataclasses.replace(reference, module=own.module)
  made: Phases = [dense_phase(config, reference, found, "")]
  if own is not None and own.variables is not None:
    made = [experiment.WholeRun("train", own.product, host=True)]
  if any(arm in DISTILLED for arm in config.arms):
    made.append(distilling.teacher_phase(config, found))
  for arm in config.arms:
    made += arm_phases(config, reference, found, arm, say)
  return made


def make_model(config: Config, found: tables.Tables) -> Model:
  """The network of a configuration, for its data.

  Args:
    config: the configuration.
    found: the data.

  Returns:
    The network.
  """
  return build(config, found.image, found.classes)


def build(config: Config, image: tuple[int, ...], classes: int) -> Model:
  """The network for images of a shape.

  Args:
    config: the configuration.
    image: the shape of one.
    classes: how many logits.

  Returns:
    The network.
  """
  how: dict[str, Any] = {"widths": config.widths} if config.widths else {}
  if config.model == "small_cnn" and config.widths:
    how["strides"] = tuple(2 if i < 2 else 1 for i in range(len(config.widths)))
  module = hosts.create(config.model, classes, **how)
  return Model(module, image, config.mean, config.std)


def dense_phase(
  config: Config, model: Model, found: tables.Tables, arm: str
) -> experiment.Phase:
  """Trains the dense network.

  Args:
    config: the configuration.
    model: the network.
    found: the data.
    arm: "" for the one that the arms share.

  Returns:
    The phase.
  """

  def init(products, seed):
    del products
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return model.init(key), {}

  return training.training_phase(
    config,
    model,
    training.NOTHING,
    init,
    found,
    name="train",
    arm=arm,
    rate=config.learning_rate,
    steps=config.dense_steps,
  )


def arm_phases(
  config: Config,
  reference: Model,
  found: tables.Tables,
  arm: str,
  say: Callable[[str], None] = lambda line: None,
) -> Phases:
  """One arm's phases.

  Args:
    config: the run's configuration.
    reference: the dense network.
    found: the data.
    arm: its name.
    say: takes lines of news.

  Returns:
    The phases, the file last.
  """
  own, text = of_arm(config, arm)
  steps, model, made, start = pipeline.parse(text), reference, [], "train"
  if arm in DISTILLED:
    model = distilling.student_model(own, found)
    made = distilling.phases(own, found, arm)
    start = made[-1].key
  elif own != config:
    model = make_model(own, found)
    made = [dense_phase(own, model, found, arm)]
    start = made[-1].key
  origin = start
  more, scheme, start = stages.arm_phases(own, model, steps, found, arm, start)
  job = packing.Job(
    own,
    model,
    reference,
    scheme,
    pipeline.code(steps),
    found,
    arm,
    start,
    origin,
    ARMS[arm].against,
    say,
  )
  return [*made, *more, packing.pack_phase(job)]


def apply(
  config: Config, products: experiment.Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The compressed network, read from its file, to use.

  Args:
    config: the configuration.
    products: of a run with the arm "pipeline".

  Returns:
    `apply(variables, images) -> logits` for bytes (b, h, w, c), and the
    variables, decoded once.

  Raises:
    UsageError: if the arm was not among the run's.
  """
  if "pipeline.file" not in products:
    raise UsageError(
      f"there is no network to load: the run has the arms "
      f"{', '.join(config.arms)} and not pipeline"
    )
  content = np.asarray(products["pipeline.file"]["artifact"]).tobytes()
  variables = meter.deploy(artifact.decode(content))
  file = products["pipeline.file"]
  image, (classes,) = map(np.ndarray.tolist, (file["image"], file["classes"]))
  model = build(config, tuple(image), classes)

  def logits(variables, images):
    return model.logits(variables, model.prepare(images))

  return jax.jit(logits), variables
