"""Before the first device is touched: several hosts, and the compiled cache."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import jax

from kd_jax.errors import UsageError

# What a launcher sets, and how many processes it says there are.
_LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_OURS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start(cache: str | os.PathLike[str] | None = None) -> None:
  """Prepares the process: several hosts if there are any, and the cache.

  Call it before anything else touches a device, and before installing signal
  handlers: `jax.distributed.initialize` installs its own. There are several
  processes if JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say
  so, if Slurm, Open MPI or a TPU's environment do, or if KD_JAX_HOSTS is "auto"
  (then JAX finds out by itself, which on a TPU slice it can).

  Args:
    cache: folder of compiled programs. None takes JAX_COMPILATION_CACHE_DIR,
      or a folder of the user's cache.

  Raises:
    UsageError: for an environment that does not say which process this is.
  """
  if not jax.distributed.is_initialized():
    how = _several_hosts(os.environ)
    if how is not None:
      jax.distributed.initialize(**how)
  if cache is None and jax.config.jax_compilation_cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = os.path.join(home, "kd_jax", f"xla-{_cores()}")
  if cache is not None:
    jax.config.update("jax_compilation_cache_dir", os.fspath(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _cores() -> int:
  """The cores that this process may use.

  A CPU's program is cut for as many, which its key in the cache does not say:
  one that a process on a single core compiled takes others half as long again.
  """
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
  """Within it programs are compiled, and not found: to time the compiler."""
  from jax.experimental.compilation_cache import compilation_cache

  folder = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def _several_hosts(environ: Mapping[str, str]) -> dict[str, int | str] | None:
  """How to join the others; {} where JAX finds out, None if this is alone."""
  numbers = {
    name: _number(environ, name)
    for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", *_LAUNCHERS)
  }
  if (numbers["JAX_NUM_PROCESSES"] or 1) > 1:
    missing = [name for name in _OURS if not environ.get(name)]
    if missing:
      raise UsageError(
        f"JAX_NUM_PROCESSES is {numbers['JAX_NUM_PROCESSES']}, and "
        f"{missing[0]} is not set: {', '.join(_OURS)} go together"
      )
    return {
      "coordinator_address": environ["JAX_COORDINATOR_ADDRESS"],
      "num_processes": numbers["JAX_NUM_PROCESSES"],
      "process_id": numbers["JAX_PROCESS_ID"],
    }
  launched = any((numbers[name] or 1) > 1 for name in _LAUNCHERS)
  slice_of_tpu = "," in environ.get("TPU_WORKER_HOSTNAMES", "")
  asked = environ.get("KD_JAX_HOSTS") == "auto"
  return {} if launched or slice_of_tpu or asked else None


def _number(environ: Mapping[str, str], name: str) -> int | None:
  value = environ.get(name)
  if value and not value.isdigit():
    raise UsageError(f"{name} is {value!r}; it is a whole number")
  return int(value) if value else None
