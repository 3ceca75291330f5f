"""Devices: placing arrays on them, lifting a step to many, collectives.

A step is a pure function `step(state, data, *, axis_name=None)`. On one device
it is jitted as it is; on several `data_parallel` runs the same body once per
device under the axis name "batch". What crosses devices is said inside the step
by name (`mean`, `sum`, `all_gather`), and each of these is the identity when
`axis_name` is None, so that one body serves both.

State goes in and comes out unstacked: what `data_parallel` returns can be
saved, evaluated and placed on another number of devices as it stands.
"""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd_jax.errors import UsageError

AXIS = "batch"
Mode = Literal["auto", "jit", "pmap", "shard_map"]
T = TypeVar("T")
PyTree = Any


# Collectives: each one is the identity without an axis.


def mean(tree: T, axis_name: str | None) -> T:
  """Means every array of `tree` over the devices (identity without an axis).

  The place for gradients and for a model's running statistics: integer leaves
  (a counter, say) are the same on every device and pass as they are.

  Args:
    tree: arrays, one value per device.
    axis_name: the name the step was lifted under, or None.

  Returns:
    The tree of means, the same on every device.
  """
  if axis_name is None:
    return tree
  return jax.tree.map(
    lambda x: (
      jax.lax.pmean(x, axis_name)
      if jnp.issubdtype(jnp.result_type(x), jnp.inexact)
      else x
    ),
    tree,
  )


def sum(tree: T, axis_name: str | None) -> T:
  """Sums every array of `tree` over the devices (identity without an axis).

  Args:
    tree: arrays, one value per device; the place for metrics.
    axis_name: the name the step was lifted under, or None.

  Returns:
    The tree of sums, the same on every device.
  """
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def all_gather(x: T, axis_name: str | None) -> T:
  """Concatenates every device's rows (identity without an axis).

  Differentiable: the gradient of a row collects what all devices did with it.

  Args:
    x: arrays whose first axis is this device's part of the batch.
    axis_name: the name the step was lifted under, or None.

  Returns:
    The same with the rows of all devices, in the order of the devices.
  """
  if axis_name is None:
    return x
  return jax.tree.map(lambda a: jax.lax.all_gather(a, axis_name, tiled=True), x)


def axis_size(axis_name: str | None) -> int:
  """How many devices the step runs on (1 without an axis)."""
  return 1 if axis_name is None else int(jax.lax.psum(1, axis_name))


def axis_index(axis_name: str | None) -> jax.Array | int:
  """Which of them this one is (0 without an axis)."""
  return 0 if axis_name is None else jax.lax.axis_index(axis_name)


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
  _rows(tree, there.shape[AXIS])
  return jax.tree.map(
    lambda a: jax.lax.with_sharding_constraint(a, P(AXIS)), tree
  )


# Placing.


def mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A one-dimensional mesh over the devices, its axis named "batch"."""
  devices = list(jax.devices() if devices is None else devices)
  return Mesh(
    np.array(devices), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
  )


def place(tree: T, devices: Sequence[jax.Device] | None = None) -> T:
  """Copies every array to every device, once.

  Columns that are not placed travel with every call, and a state that is not
  placed costs a second compilation.

  Args:
    tree: arrays, on the host or on devices.
    devices: where to; all devices by default.

  Returns:
    The same tree, replicated. Never the caller's own buffers, so that a step
    which donates its state cannot delete what the caller still holds.
  """
  sharding = NamedSharding(mesh(devices), P())

  # device_put keeps the buffer of an array that is there already, and on the
  # CPU that of a NumPy array, whatever its may_alias says: copied first.
  def put(x):
    own = x.copy() if isinstance(x, jax.Array) else np.array(x)
    return jax.device_put(own, sharding)

  return jax.tree.map(put, tree)


def check_replicated(tree: PyTree) -> None:
  """Checks that every device holds the same bits.

  `out_axes=None` and a replicated output spec believe the step: a forgotten
  collective leaves each device its own values, and reading the array shows only
  the first one's.

  Args:
    tree: arrays that should be replicated.

  Raises:
    ValueError: names the first leaf whose copies differ.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not isinstance(leaf, jax.Array) or not leaf.is_fully_replicated:
      continue
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    shards = leaf.addressable_shards
    if len(shards) < 2:
      continue
    first = np.asarray(shards[0].data).tobytes()
    for shard in shards[1:]:
      if np.asarray(shard.data).tobytes() != first:
        raise ValueError(
          f"{jax.tree_util.keystr(path)} differs between {shards[0].device} "
          f"and {shard.device}: a collective is missing in the step"
        )


# Lifting.


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
    compiled = self.lower(state, data).compile()
    return Lifted(compiled, self._prepare, self.mode, self.devices)

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
) -> Lifted:
  """Lifts `step(state, data, *, axis_name=None)` to all devices.

  Args:
    step: a pure function. Every array it returns must be the same on every
      device (gathered, meaned or summed over `axis_name`).
    mode: "auto" takes plain jit on one device, pmap on several, and shard_map
      on several hosts (there pmap hands the state back host-local, and a second
      call with donation fails). "jit" is one program over a sharded batch.
    devices: all of them by default.
    data: "sharded" splits the first axis of every array of `data` over the
      devices; "replicated" gives each device all of it (columns to draw from).
    donate: whether the state's buffers are reused for the new state.

  Returns:
    The lifted step.

  Raises:
    ValueError: for an unknown mode.
    UsageError: (a ValueError) at the call, if the devices do not divide the
      batch.
  """
  devices = list(jax.devices() if devices is None else devices)
  many = len({d.process_index for d in devices}) > 1
  if mode == "auto":
    mode = "jit" if len(devices) == 1 else "shard_map" if many else "pmap"
  if mode not in ("jit", "pmap", "shard_map"):
    raise ValueError(
      f"mode is {mode!r}; it is one of auto, jit, pmap, shard_map"
    )
  lift = {"jit": _lift_jit, "pmap": _lift_pmap, "shard_map": _lift_shard_map}
  call, prepare = lift[mode](
    step, devices, data == "sharded", (0,) if donate else ()
  )
  return Lifted(call, prepare, mode, devices)


def _rows(data: PyTree, devices: int) -> None:
  """Raises UsageError if that many devices do not divide the batch."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(data):
    name = f"data{jax.tree_util.keystr(path)}"
    if not np.ndim(leaf):
      raise UsageError(f"{name} has no rows to divide over {devices} devices")
    if leaf.shape[0] % devices:
      raise UsageError(
        f"a global batch of {leaf.shape[0]} rows ({name}) does not divide over "
        f"{devices} devices"
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
      _rows(data, len(devices))
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
    _rows(data, len(devices))
    return jax.tree.map(_split(n), data), index

  return call, prepare


def _split(n):
  def split(a):
    shape = (n, a.shape[0] // n, *a.shape[1:])
    if isinstance(a, jax.ShapeDtypeStruct):
      return jax.ShapeDtypeStruct(shape, a.dtype)
    return a.reshape(shape)

  return split


def _lift_shard_map(step, devices, sharded, donate):
  m = mesh(devices)

  def body(state, data):
    return step(state, data, axis_name=AXIS)

  # check_vma=False: with it on, gradients of replicated parameters come out
  # summed over the devices already, N times what pmap gives for the same body.
  call = jax.jit(
    jax.shard_map(
      body,
      mesh=m,
      in_specs=(P(), P(AXIS) if sharded else P()),
      out_specs=P(),
      check_vma=False,
    ),
    donate_argnums=donate,
  )

  def prepare(data):
    if sharded:
      _rows(data, len(devices))
    return (data,)

  return call, prepare


def scan_steps(step: Callable[..., Any]) -> Callable[..., Any]:
  """Fuses n steps into one dispatch, n being an argument.

  One program serves every n, the remainder of an epoch included, so that the
  bits of a state do not depend on how its steps were grouped.

  Args:
    step: `(state, data, *, axis_name) -> (state, {name: Mean})`.

  Returns:
    `(state, (data, n), *, axis_name) -> (state, ({name: Mean}, healthy))`:
    n steps over the same data, the metrics added up, and how many steps came
    before the first one with a non-finite metric (n if there was none).
  """

  def steps(state, data, *, axis_name=None):
    data, n = data
    shapes = jax.eval_shape(lambda s: one_step(step)(s, data)[1][0], state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(_, carry):
      state, totals, healthy, whole = carry
      state, metrics = step(state, data, axis_name=axis_name)
      whole = whole & _finite(metrics)
      totals = jax.tree.map(jnp.add, totals, metrics)
      return state, totals, healthy + whole.astype(jnp.int32), whole

    start = (state, zeros, jnp.int32(0), jnp.bool_(True))
    state, totals, healthy, _ = jax.lax.fori_loop(0, n, body, start)
    return state, (totals, healthy)

  return steps


def one_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """A single step with `scan_steps`' results: metrics, and 1 if finite else 0.

  For bodies that must not stand in a loop (on the CPU a convolution's gradient
  inside a scan is tens of times slower than outside).

  Args:
    step: `(state, data, *, axis_name) -> (state, {name: Mean})`.

  Returns:
    `(state, data, *, axis_name) -> (state, ({name: Mean}, healthy))`.
  """

  def single(state, data, *, axis_name=None):
    state, metrics = step(state, data, axis_name=axis_name)
    return state, (metrics, _finite(metrics).astype(jnp.int32))

  return single


def _finite(metrics):
  leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(metrics)]
  return jnp.stack(leaves).all() if leaves else jnp.bool_(True)


# Feeding and starting.


def prefetch(
  batches: Iterable[T],
  size: int = 2,
  devices: Sequence[jax.Device] | None = None,
) -> Iterator[T]:
  """Keeps the next batches on their way to the devices.

  Args:
    batches: pytrees of host arrays with a leading batch axis.
    size: how many are under way at once; 2 hides the copy behind the step.
    devices: the batch is split over them.

  Yields:
    The batches in order, each one split over the devices.

  Raises:
    UsageError: (a ValueError) if the devices do not divide a batch.
  """
  m = mesh(devices)
  sharding = NamedSharding(m, P(AXIS))
  ready: collections.deque[T] = collections.deque()
  for batch in batches:
    _rows(batch, len(m.local_devices))
    ready.append(
      jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
      )
    )
    if len(ready) > size:
      yield ready.popleft()
  yield from ready


def start(cache: str | os.PathLike[str] | None = None) -> None:
  """Prepares the process: several hosts if there are any, and the cache.

  Call it before anything else touches a device, and before installing signal
  handlers: `jax.distributed.initialize` installs its own.

  Args:
    cache: folder of compiled programs. None takes JAX_COMPILATION_CACHE_DIR,
      or a folder of the user's cache.
  """
  if _several_hosts(os.environ) and not jax.distributed.is_initialized():
    jax.distributed.initialize()
  if cache is None and jax.config.jax_compilation_cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = os.path.join(home, "kd_jax", "xla")
  if cache is not None:
    jax.config.update("jax_compilation_cache_dir", os.fspath(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _several_hosts(environ) -> bool:
  counts = ("JAX_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
  if any(int(environ.get(name) or 1) > 1 for name in counts):
    return True
  return "," in environ.get("TPU_WORKER_HOSTNAMES", "")
