"""Before the first device is touched: several hosts, and the compiled cache."""

import os

import jax


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
  counts = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
  if any(int(environ.get(name) or 1) > 1 for name in counts):
    return True
  return "," in environ.get("TPU_WORKER_HOSTNAMES", "")
