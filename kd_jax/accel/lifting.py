"""One step on many devices: jit, pmap and shard_map behind one call."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.export
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kd_jax.accel import hosts
from kd_jax.accel.collectives import AXIS
from kd_jax.accel.compiling import compiled
from kd_jax.accel.placing import check_rows, mesh

Mode = Literal["auto", "jit", "pmap", "shard_map"]
T = TypeVar("T")
PyTree = Any


class Lifted:
  """A step made ready for a set of devices; call it like the step.

  Attributes:
    mode: the mode that was chosen.
    devices: the devices it runs on.
  """

  def __init__(
    self,
    call: Callable[..., Any],
    prepare: Callable[[PyTree], tuple[Any, ...]],
    mode: str,
    devices: Sequence[jax.Device],
  ):
    self.mode = mode
    self.devices = tuple(devices)
    self._call = call
    self._prepare = prepare

  def __call__(self, state: PyTree, data: PyTree) -> PyTree:
    """Runs the step; `state` is gone afterwards if it was donated."""
    return self._call(state, *self._prepare(data))

  def lower(self, state: PyTree, data: PyTree) -> Any:
    """The lowered program, for its cost or its text."""
    return self._call.lower(state, *self._prepare(data))

  def export(
    self, state: PyTree, data: PyTree, platforms: Sequence[str]
  ) -> Any:
    """Lowers for platforms that need not be here ("cuda", "tpu").

    Args:
      state: arrays or their shapes.
      data: arrays or their shapes.
      platforms: names of `jax.export`.

    Returns:
      The `jax.export.Exported` program.

    Raises:
      ValueError: for a step that was lifted by pmap, which has no such form.
    """
    if self.mode == "pmap":
      raise ValueError("pmap does not export; lift with mode='shard_map'")
    export = jax.export.export(self._call, platforms=platforms)
    return export(state, *self._prepare(data))

  def compile(self, state: PyTree, data: PyTree) -> "Lifted":
    """Compiles for these shapes without running.

    Args:
      state: arrays or their shapes.
      data: arrays or their shapes.

    Returns:
      The compiled step, called in the same way and never compiling again.
    """
    lowered = self.lower(state, data)
    call = compiled(lowered, self.devices[0].platform)
    return Lifted(call, self._prepare, self.mode, self.devices)

  def cost(self) -> dict[str, float]:
    """The compiler's count of a compiled step ("flops", "bytes accessed")."""
    analysis = self._call.cost_analysis()
    return analysis[0] if isinstance(analysis, list) else analysis or {}

  def memory(self) -> Any:
    """The compiler's account of a compiled step's memory, or None."""
    return self._call.memory_analysis()


def data_parallel(
  step: Callable[..., Any],
  *,
  mode: Mode = "auto",
  devices: Sequence[jax.Device] | None = None,
  data: Literal["sharded", "replicated"] = "sharded",
  donate: bool = True,
  split: PyTree = None,
) -> Lifted:
  """Lifts `step(state, data, *, axis_name=None)` to all devices.

  Args:
    step: a pure function. Every array it returns must be the same on every
      device (gathered, meaned or summed over `axis_name`), but for the leaves
      of the state that are split.
    mode: "auto" takes plain jit on one device, pmap on several, and shard_map
      on several hosts (there pmap hands the state back host-local, and a second
      call with donation fails). "jit" is one program over a sharded batch.
    devices: all of them by default.
    data: "sharded" splits the first axis of every array of `data` over the
      devices; "replicated" gives each device all of it (columns to draw from).
    donate: whether the state's buffers are reused for the new state.
    split: a tree of bools with the state's structure, true where the first axis
      of a leaf is divided over the devices (rows of a table, members of an
      ensemble); the step must then return `(state, the rest)`. Several devices
      run it by shard_map, whatever the mode: pmap would need such a state
      stacked, and jit has no axis name.

  Returns:
    The lifted step.

  Raises:
    ValueError: for an unknown mode.
    UsageError: (a ValueError) at the call, if the devices do not divide the
      batch.
  """
  devices = list(hosts.devices() if devices is None else devices)
  many = len({d.process_index for d in devices}) > 1
  if mode == "auto":
    mode = "jit" if len(devices) == 1 else "shard_map" if many else "pmap"
  if mode not in ("jit", "pmap", "shard_map"):
    raise ValueError(
      f"mode is {mode!r}; it is one of auto, jit, pmap, shard_map"
    )
  if split is not None and len(devices) > 1:
    mode = "shard_map"
  lift = {"jit": _lift_jit, "pmap": _lift_pmap, "shard_map": _lift_shard_map}
  more = {} if split is None or mode != "shard_map" else {"split": split}
  call, prepare = lift[mode](
    step, devices, data == "sharded", (0,) if donate else (), **more
  )
  return Lifted(call, prepare, mode, devices)


def constrain(tree: T) -> T:
  """Asks the compiler to split the first axis over the devices.

  Only `mode="jit"` needs it: there the body is one program over the global
  batch, and rows that it draws itself would otherwise be computed by every
  device. In the other modes, and on one device, it is the identity.

  Args:
    tree: arrays with a leading batch axis.

  Returns:
    The same values.

  Raises:
    UsageError: (a ValueError) if the devices do not divide the rows.
  """
  there = jax.sharding.get_abstract_mesh()
  types = dict(zip(there.axis_names, there.axis_types, strict=True))
  if there.empty or types.get(AXIS) != jax.sharding.AxisType.Auto:
    return tree
  check_rows(tree, there.shape[AXIS])
  return jax.tree.map(
    lambda a: jax.lax.with_sharding_constraint(a, P(AXIS)), tree
  )


def _lift_jit(step, devices, sharded, donate):
  if len(devices) == 1:
    return jax.jit(step, donate_argnums=donate), lambda data: (data,)
  m = mesh(devices)
  replicated = NamedSharding(m, P())
  split = NamedSharding(m, P(AXIS)) if sharded else replicated
  call = _UnderMesh(
    jax.jit(
      step,
      in_shardings=(replicated, split),
      out_shardings=replicated,
      donate_argnums=donate,
    ),
    m,
  )

  def prepare(data):
    if sharded:
      check_rows(data, len(devices))
    return (data,)

  return call, prepare


class _UnderMesh:
  """Traces a jitted function with the mesh set, for `constrain` to see."""

  def __init__(self, fn, m):
    self._fn, self._mesh = fn, m

  def __call__(self, *args):
    with jax.set_mesh(self._mesh):
      return self._fn(*args)

  def lower(self, *args):
    with jax.set_mesh(self._mesh):
      return self._fn.lower(*args)


def _lift_pmap(step, devices, sharded, donate):
  n = len(devices)
  index = np.arange(n)

  # pmap wants one mapped argument, whatever the rest is.
  def body(state, data, _):
    return step(state, data, axis_name=AXIS)

  call = jax.pmap(
    body,
    axis_name=AXIS,
    in_axes=(None, 0 if sharded else None, 0),
    out_axes=None,
    donate_argnums=donate,
    devices=devices,
  )

  def prepare(data):
    if not sharded:
      return data, index
    check_rows(data, len(devices))
    return jax.tree.map(_split(n), data), index

  return call, prepare


def _split(n):
  def split(a):
    shape = (n, a.shape[0] // n, *a.shape[1:])
    if isinstance(a, jax.ShapeDtypeStruct):
      return jax.ShapeDtypeStruct(shape, a.dtype)
    return a.reshape(shape)

  return split


def _lift_shard_map(step, devices, sharded, donate, split=None):
  m = mesh(devices)
  whole, rows = P(), P(AXIS)
  state = whole
  if split is not None:
    state = jax.tree.map(lambda divided: rows if divided else whole, split)

  def body(state, data):
    return step(state, data, axis_name=AXIS)

  # check_vma=False: with it on, gradients of replicated parameters come out
  # summed over the devices already, N times what pmap gives for the same body.
  call = jax.jit(
    jax.shard_map(
      body,
      mesh=m,
      in_specs=(state, rows if sharded else whole),
      out_specs=whole if split is None else (state, whole),
      check_vma=False,
    ),
    donate_argnums=donate,
  )

  def prepare(data):
    if sharded:
      check_rows(data, len(devices))
    return (data,)

  return call, prepare
