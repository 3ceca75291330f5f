"""What teacher and student carry from step to step, and their optimizers."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from kd_jax.methods.kd3 import model, selection
from kd_jax.methods.kd3.config import Config, OptimConfig
from kd_jax.training import state as states
from kd_jax.training.state import step_key

PyTree = Any
# Folded into the seed's key for initial parameters.
TEACHER, STUDENT = 1, 2


@struct.dataclass
class StudentState(states.State):
  """What a student carries beside its own.

  `params` holds "student" and, where noisy labels are learned, "transition".

  Attributes:
    teacher: the teacher's variables; constant.
    accuracy: the teacher's accuracy on images it did not learn from; constant.
    web: rows of the columns that are on the web; constant.
    web_count: how many of them are; the rest is padding.
    order: places in `web`, the selected ones first.
    front: how many are selected.
    since: the step at which they were.
    history: by epoch, "selected" (how many) and "relevant" (their share); -1
      where nothing was selected anew.
    image: height, width and channels of made images; none are made if empty.
  """

  teacher: PyTree
  accuracy: Float[Array, ""]
  web: Int[Array, "n"]
  web_count: Int[Array, ""]
  order: Int[Array, "n"]
  front: Int[Array, ""]
  since: Int[Array, ""]
  history: dict[str, Float[Array, "t"]]
  image: tuple[int, ...] = struct.field(pytree_node=False, default=())

  def variables(self) -> dict[str, PyTree]:
    """What `model.student_predict` takes."""
    return {
      "params": self.params["student"],
      **self.model_state,
      "teacher": self.teacher,
    }


def optimizer(optim: OptimConfig, steps: int) -> optax.GradientTransformation:
  """SGD with momentum, decaying every parameter.

  Args:
    optim: its numbers.
    steps: the length of the training.

  Returns:
    The transformation.
  """
  if optim.schedule == "cosine":
    rate = optax.cosine_decay_schedule(optim.learning_rate, steps)
  else:
    drops = {round(d * steps): 0.1 for d in optim.drops}
    rate = optax.piecewise_constant_schedule(optim.learning_rate, drops)
  return optax.chain(
    optax.add_decayed_weights(optim.weight_decay),
    optax.sgd(rate, momentum=optim.momentum),
  )


def student_optimizer(config: Config) -> optax.GradientTransformation:
  """The student's optimizer; Adam for a transition matrix.

  Args:
    config: an arm's configuration.

  Returns:
    The transformation of {"student": ..., "transition": ...}.
  """
  sgd = optimizer(config.optim, config.epochs * config.epoch_steps)
  if not config.loss.noisy_weight:
    return sgd
  return optax.multi_transform(
    {"sgd": sgd, "adam": optax.adam(config.loss.noisy_rate)},
    {"student": "sgd", "transition": "adam"},
  )


def create_teacher_state(
  config: Config, seed: Any, shape: tuple[int, ...], classes: int
) -> states.State:
  """A teacher at step 0.

  Args:
    config: the method's configuration.
    seed: the run's seed; may be traced.
    shape: of one image, (h, w, c).
    classes: C.

  Returns:
    The state.
  """
  key = jax.random.fold_in(jax.random.key(seed), TEACHER)
  x = jnp.zeros((1, *shape))
  variables = model.network(config.teacher, classes).init(key, x, train=False)
  tx = optimizer(config.teacher_optim, config.teacher_steps)
  return states.State.create(
    seed=seed,
    params=variables["params"],
    opt_state=tx.init(variables["params"]),
    model_state={"batch_stats": variables["batch_stats"]},
  )


def create_state(
  config: Config,
  seed: Any,
  shape: tuple[int, ...],
  teacher: PyTree,
  web: Mapping[str, Array],
  *,
  tx: optax.GradientTransformation | None = None,
) -> StudentState:
  """A student at step 0, with the whole web for its selection.

  Args:
    config: an arm's configuration.
    seed: the run's seed; may be traced.
    shape: of one image, (h, w, c).
    teacher: the teacher's "params" and "batch_stats".
    web: "index", "count" and "teacher_accuracy" (see `web.find_web`).
    tx: the optimizer; `student_optimizer` if None.

  Returns:
    The state.
  """
  channels, classes = teacher["params"]["head"]["kernel"].shape
  key = jax.random.fold_in(jax.random.key(seed), STUDENT)
  variables = model.student_module(config, teacher).init(
    key,
    jnp.zeros((1, *shape)),
    jnp.zeros((1, channels)),
    method="everything",
  )
  params = {"student": variables["params"]}
  if config.loss.noisy_weight:
    params["transition"] = jnp.zeros((classes, classes - 1))
  tx = student_optimizer(config) if tx is None else tx
  state = StudentState.create(
    seed=seed,
    params=params,
    opt_state=tx.init(params),
    model_state={"batch_stats": variables["batch_stats"]},
    teacher=teacher,
    accuracy=web["teacher_accuracy"],
    web=web["index"],
    web_count=web["count"],
    order=jnp.arange(web["index"].shape[0], dtype=jnp.int32),
    front=jnp.int32(0),
    since=jnp.int32(0),
    history={
      k: jnp.full(config.epochs, -1.0) for k in ("selected", "relevant")
    },
  )
  valid = jnp.arange(state.web.shape[0]) < state.web_count
  key = step_key(state, selection.SHUFFLING)
  order, front = selection.arrange(key, valid, valid)
  return state.replace(order=order, front=front)
