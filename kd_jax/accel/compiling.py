"""Compiling, with what the compiler for the CPU has to be told."""

import os
from typing import Any

import jax

# XLA hands products, sums and convolutions to a library of its own (YNN). Its
# convolutions run on one core: on two cores they take 1.1 to 3 times as long as
# the compiler's others. They are left out here, and products go with what
# leads to them (by default alone): networks gain up to 14 in 100 by that.
_KINDS = ("DOT", "REDUCE")
# The third level takes a tenth longer to compile and nothing was seen to be
# faster by it. Whoever names a level in XLA_FLAGS gets that one.
_LEVEL = "xla_backend_optimization_level"
CPU_OPTIONS: dict[str, str | int] = {
  "xla_cpu_experimental_ynn_fusion_type": ",".join(
    f"LIBRARY_FUSION_TYPE_{kind}" for kind in _KINDS
  ),
  _LEVEL: 2,
}


def compiled(lowered: Any, platform: str | None = None) -> Any:
  """Compiles a program as all of the suite's programs are compiled.

  A program of one's own that trains `backbones.Conv` on the CPU gains by it,
  too: `accel.compiled(jax.jit(step).lower(state, batch))`.

  Args:
    lowered: what `jax.jit(...).lower(...)` gave, or pmap's.
    platform: "cpu", "gpu" or "tpu"; the default backend if None.

  Returns:
    The compiled program.
  """
  if (platform or jax.default_backend()) != "cpu":
    return lowered.compile()
  options = dict(CPU_OPTIONS)
  if _LEVEL in os.environ.get("XLA_FLAGS", ""):
    options.pop(_LEVEL, None)
  try:
    return lowered.compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as error:
    # Of an older compiler, which has no such library to leave out.
    if "INVALID_ARGUMENT" not in str(error):
      raise
    return lowered.compile()
