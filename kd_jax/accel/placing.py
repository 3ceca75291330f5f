"""Where arrays lie: replicated once, or batches on their way."""

import collections
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd_jax.accel import hosts
from kd_jax.accel.collectives import AXIS
from kd_jax.errors import UsageError

T = TypeVar("T")
PyTree = Any


def mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A one-dimensional mesh over the devices, its axis named "batch"."""
  devices = list(hosts.devices() if devices is None else devices)
  return Mesh(
    np.array(devices), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
  )


def place(
  tree: T,
  devices: Sequence[jax.Device] | None = None,
  split: PyTree = None,
) -> T:
  """Copies every array to every device, once.

  Columns that are not placed travel with every call, and a state that is not
  placed costs a second compilation.

  Args:
    tree: arrays, on the host or on devices.
    devices: where to; all devices by default.
    split: a tree of bools with the same structure, true where the first axis of
      an array is divided over the devices instead.

  Returns:
    The same tree, replicated. Never the caller's own buffers, so that a step
    which donates its state cannot delete what the caller still holds.

  Raises:
    UsageError: (a ValueError) if the devices do not divide a split array.
  """
  m = mesh(devices)
  whole, rows = NamedSharding(m, P()), NamedSharding(m, P(AXIS))

  # device_put keeps the buffer of an array that is there already, and on the
  # CPU that of a NumPy array, whatever its may_alias says: copied first.
  on_host = m.devices.flat[0].platform == "cpu"
  here = len(m.local_devices) == m.size

  def put(x, divided=False):
    if divided:
      check_rows(x, m.size)
    if not here:
      return _put_everywhere(x, rows if divided else whole)
    if isinstance(x, jax.Array):
      x = x.copy()
    elif on_host:
      x = np.array(x)
    return jax.device_put(x, rows if divided else whole)

  if split is None:
    return jax.tree.map(put, tree)
  return jax.tree.map(put, tree, split)


def _put_everywhere(x: Any, sharding: NamedSharding) -> jax.Array:
  """Puts what every process has on the devices of all, without asking them."""
  if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
    data = _put_everywhere(jax.random.key_data(x), sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  host = np.asarray(hosts.to_host(x))
  return jax.make_array_from_callback(
    host.shape, sharding, lambda index: np.array(host[index])
  )


def check_replicated(tree: PyTree) -> None:
  """Checks that every device holds the same bits, those of other hosts too.

  `out_axes=None` and a replicated output spec believe the step: a forgotten
  collective leaves each device its own values, and reading the array shows only
  the first one's.

  Args:
    tree: arrays that should be replicated.

  Raises:
    ValueError: names the first leaf whose copies differ.
  """
  names, digests = [], []
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not isinstance(leaf, jax.Array) or not leaf.is_fully_replicated:
      continue
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    first, *others = leaf.addressable_shards
    bits = np.asarray(first.data).tobytes()
    for shard in others:
      if np.asarray(shard.data).tobytes() != bits:
        raise ValueError(
          f"{jax.tree_util.keystr(path)} differs between {first.device} "
          f"and {shard.device}: a collective is missing in the step"
        )
    names.append(jax.tree_util.keystr(path))
    digests.append(zlib.crc32(bits))
  if hosts.several() and digests:
    found = multihost_utils.process_allgather(np.array(digests, np.uint32))
    for name, column in zip(names, found.T, strict=True):
      if len(set(column.tolist())) > 1:
        raise ValueError(
          f"{name} differs between processes: a collective is missing in the "
          "step, or they were started with different words or data"
        )


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
    check_rows(batch, len(m.local_devices))
    ready.append(
      jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
      )
    )
    if len(ready) > size:
      yield ready.popleft()
  yield from ready


def check_rows(data: PyTree, devices: int) -> None:
  """Checks that devices divide a batch.

  Args:
    data: arrays with a leading batch axis.
    devices: how many share it.

  Raises:
    UsageError: (a ValueError) with both numbers, if they do not.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(data):
    name = f"data{jax.tree_util.keystr(path)}"
    if not np.ndim(leaf):
      raise UsageError(f"{name} has no rows to divide over {devices} devices")
    if leaf.shape[0] % devices:
      raise UsageError(
        f"a global batch of {leaf.shape[0]} rows ({name}) does not divide over "
        f"{devices} devices"
      )
