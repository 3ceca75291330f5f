"""The benchmark's rows: training steps and the selection pass.

Images are random bytes and networks untrained: neither changes the time.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment, flops
from kd_jax.datasets import pipeline
from kd_jax.methods.kd3 import model, selection, state, steps
from kd_jax.methods.kd3.arms import PRESETS
from kd_jax.methods.kd3.config import Config, NetConfig, TeacherConfig

SMALL = PRESETS["small"]
CLASSES = 10
IMAGES = 1024


def _resnet(batch_size):
  return Config(
    teacher=TeacherConfig("resnet34"),
    student=NetConfig("resnet18"),
    batch_size=batch_size,
  )


def _columns(shape):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (IMAGES, *shape)).astype(np.uint8)
  return {"image": image}


def _init(config, shape):
  def init(products, seed):
    del products
    x = jnp.zeros((1, *shape))
    teacher = model.network(config.teacher, CLASSES).init(
      jax.random.key(0), x, train=False
    )
    web = {
      "index": jnp.arange(IMAGES, dtype=jnp.int32),
      "count": jnp.int32(IMAGES),
      "teacher_accuracy": jnp.float32(0.9),
    }
    return state.create_state(config, seed, shape, teacher, web)

  return init


def train_case(config: Config, shape: tuple[int, ...]) -> experiment.Phase:
  """A student's training step.

  Args:
    config: the configuration.
    shape: of an image.

  Returns:
    The phase to time.
  """
  step = steps.make_train_step(config)
  return experiment.Phase(
    name="step",
    init=_init(config, shape),
    step=pipeline.from_columns(step, config.batch_size, draw=selection.draw),
    steps=1,
    data=_columns(shape),
    fused=_many_at_once(),
    batch_size=config.batch_size,
  )


def _many_at_once():
  """Whether to time fused steps.

  Of residual networks they are a minute on a CPU, where a dispatch costs
  nothing beside a step.
  """
  return jax.default_backend() != "cpu"


def _student_in_torch(run, config, shape):
  from kd_jax.methods.kd3 import plain_student

  return getattr(plain_student, run)(config, shape, CLASSES, IMAGES)


def select_case(config: Config, shape: tuple[int, ...]) -> experiment.Phase:
  """A selection over `IMAGES` images.

  Args:
    config: the configuration.
    shape: of an image.

  Returns:
    The phase to time.
  """
  select = selection.make_select(config)

  def step(carried, data, *, axis_name=None):
    return select(carried, data, axis_name=axis_name)[0], {}

  return experiment.Phase(
    name="select",
    init=_init(config, shape),
    step=step,
    steps=1,
    data=_columns(shape),
    # In a loop the compiler would score the same images once.
    fused=False,
    batch_size=IMAGES,
  )


def _forwards(config, shape) -> tuple[int, int, int]:
  """Operations of one image through teacher, student and projector."""
  x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  nets = [
    model.network(net, CLASSES) for net in (config.teacher, config.student)
  ]
  maps = [
    jax.eval_shape(
      lambda x, n=n: n.init_with_output(jax.random.key(0), x, train=False)[0], x
    ).feature_map.shape
    for n in nets
  ]
  size = tuple(min(a, b) for a, b in zip(*(m[1:3] for m in maps), strict=True))
  projector = model.Projector(maps[0][-1], config.loss.projector_factor)
  return (
    *(flops.forward(n, x.shape, train=False) for n in nets),
    flops.forward(projector, (1, *size, maps[1][-1]), train=False),
  )


def train_flops(config: Config, shape: tuple[int, ...]) -> int:
  """Model operations of a training step.

  Two passes of the student forward and back (three times a forward each), the
  projector once, and the teacher forward on both versions.

  Args:
    config: the configuration.
    shape: of an image.

  Returns:
    Floating point operations.
  """
  teacher, student, projector = _forwards(config, shape)
  return config.batch_size * (2 * teacher + 6 * student + 3 * projector)


def select_flops(config: Config, shape: tuple[int, ...]) -> int:
  """Model operations of a selection: every network forward, once an image.

  Args:
    config: the configuration.
    shape: of an image.

  Returns:
    Floating point operations.
  """
  return IMAGES * sum(_forwards(config, shape))


def _case(
  name: str,
  make: Callable[..., experiment.Phase],
  count: Callable[..., int],
  config: Config,
  shape: tuple[int, ...],
) -> experiment.Case:
  # The peer computes in float32, whole batches at once.
  plain = config.dtype == "float32" and config.microbatches == 1
  run = {train_case: "training", select_case: "selecting"}.get(make)
  run = run if plain else None
  beside = functools.partial(_student_in_torch, run, config, shape)
  peers = (experiment.Peer("plain PyTorch", beside),) if run else ()
  return experiment.Case(
    name=name,
    make=functools.partial(make, config, shape),
    flops=functools.partial(count, config, shape),
    dtype=config.dtype,
    peers=peers,
  )


def _paper(dtype: str) -> experiment.Case:
  """The paper's batch and networks."""
  config = dataclasses.replace(_resnet(1024), dtype=dtype)
  case = _case(
    f"kd3 step, ResNet-34 to ResNet-18, 32x32, batch 1024, {dtype}",
    train_case,
    train_flops,
    config,
    (32, 32, 3),
  )
  # The peer is written for the CPU.
  return dataclasses.replace(case, accelerator=True, peers=())


CASES = (
  _case(
    "kd3 step, small CNNs, 14x14", train_case, train_flops, SMALL, (14, 14, 1)
  ),
  _case(
    "kd3 step, small CNNs, 14x14, bfloat16",
    train_case,
    train_flops,
    dataclasses.replace(SMALL, dtype="bfloat16"),
    (14, 14, 1),
  ),
  _case(
    "kd3 step, small CNNs, 14x14, 4 microbatches",
    train_case,
    train_flops,
    dataclasses.replace(SMALL, microbatches=4),
    (14, 14, 1),
  ),
  _case(
    "kd3 selection, small CNNs, 14x14",
    select_case,
    select_flops,
    SMALL,
    (14, 14, 1),
  ),
  _case(
    "kd3 step, ResNet-34 to ResNet-18, 32x32, batch 8",
    train_case,
    train_flops,
    _resnet(8),
    (32, 32, 3),
  ),
  _paper("float32"),
  _paper("bfloat16"),
)
