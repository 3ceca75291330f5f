"""One's own network through a pipeline, from Python."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kd_jax import api
from kd_jax.experiment import Method
from kd_jax.methods.compression import artifact, meter, train
from kd_jax.methods.compression.advise import advise
from kd_jax.methods.compression.model import Model

PyTree = Any


def compress(
  method: Method,
  module: nn.Module,
  variables: PyTree,
  data: Any,
  pipeline: str,
  **how: Any,
) -> api.Run:
  """Runs a pipeline on a trained network of any kind.

  Args:
    method: `compression.METHOD`.
    module: any linen module; it returns logits, or something with `logits`.
    variables: its trained variables; None trains new ones first.
    data: images and labels, as `--data` or as a dict of arrays.
    pipeline: e.g. "filters:0.5 | gradual:0.8 | share:5 | huffman".
    **how: fields of the configuration, and what `kd_jax.train` takes
      (`workdir`, `quiet`).

  Returns:
    The run; `read` gives the network.
  """
  own = train.Own(module, variables)
  phases = functools.partial(train.phases, own=own)
  how.setdefault("arms", ("dense", "pipeline"))
  question = functools.partial(advise, module=module)
  answers = {
    **method.answers,
    "advise": dataclasses.replace(method.answers["advise"], run=question),
  }
  return api.train(
    dataclasses.replace(method, phases=phases, apply=None, answers=answers),
    data={"images": data},
    pipeline=pipeline,
    **how,
  )


def read(
  module: nn.Module, content: bytes | np.ndarray, **prepared: Any
) -> tuple[Callable[[PyTree, jax.Array], jax.Array], PyTree]:
  """A network out of its file.

  Args:
    module: the module that it was compressed with.
    content: the file's bytes, or the product "artifact".
    **prepared: `mean` and `std` of the images, if they were set.

  Returns:
    `apply(variables, images) -> logits`, and the variables, decoded once.

  Raises:
    UsageError: if it is no such file.
  """
  content = content if isinstance(content, bytes) else content.tobytes()
  variables = meter.deploy(artifact.decode(content))
  model = Model(module, (), **prepared)
  apply = jax.jit(lambda v, images: model.logits(v, model.prepare(images)))
  return apply, variables
