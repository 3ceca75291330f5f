import dataclasses

import jax
import numpy as np

from kd_jax import fields
from kd_jax.methods.kd3 import cases


def test_the_formula_is_the_compilers_count(config):
  """On large images and layers: the compiler counts all that is elementwise,
  and of the padding's zeros nothing.
  """
  wide = dict.fromkeys(("teacher.widths", "student.widths"), (16, 32))
  own = fields.override(config, {**wide, "teacher.strides": (1, 1)})
  shape = (48, 48, 1)
  phase = dataclasses.replace(cases.train_case(own, shape), fused=False)
  state = jax.eval_shape(phase.init, {}, np.uint32(0))
  traced = jax.jit(phase.step).trace(state, phase.data)
  counted = traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]
  formula = cases.train_flops(own, shape)
  assert 0.9 < formula / counted < 1.05


def test_selection_is_all_forward(config):
  shape = (14, 14, 1)
  train, select = (
    f(config, shape) for f in (cases.train_flops, cases.select_flops)
  )
  teacher, student, projector = cases._forwards(config, shape)
  assert select == cases.IMAGES * (teacher + student + projector)
  assert train == config.batch_size * (
    2 * teacher + 6 * student + 3 * projector
  )
