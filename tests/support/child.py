"""Runs the command in real processes that die where a test says.

The script imports once and forks a process per job, before JAX has a backend.
It reads a list of jobs as JSON from its standard input, runs them in order and
prints their exit codes (negative: the signal that killed them). A job is
{"words": [...], "devices": n, "at": [event, step, what], "folder": where it
runs}, of which all but the words may be left out; or it is a list of such jobs,
processes that run together: those that are left are killed when one was. `what`
is the signal that the process sends itself at that event, or

  "rename": dies of SIGKILL at the first rename of a whole checkpoint after it
  "delete": dies of SIGKILL amid the deletion of the last checkpoint after it

"""

import functools
import json
import os
import re
import shutil
import signal
import socket
import sys
import traceback

from kd_jax import api, cli, reproduction, throughput  # noqa: F401
from kd_jax.training import run  # noqa: F401


def die(*args, **kwargs):
  os.kill(os.getpid(), signal.SIGKILL)


def half_delete(path, rmtree=shutil.rmtree):
  """Deletes as ever, and dies amid the deletion of a folder's last one."""
  if len(os.listdir(os.path.dirname(path))) > 1:
    return rmtree(path)
  os.remove(os.path.join(path, "about", "metadata"))
  return die()


def arm(what):
  """Does what is to be done at the event."""
  if what == "rename":
    rename = os.rename

    def hook(source, to, **kwargs):
      folder, name = os.fspath(to).split("/")[-2:]
      if folder in ("checkpoints", "products") and "tmp" not in name:
        die()
      return rename(source, to, **kwargs)

    os.rename = hook
  elif what == "delete":
    shutil.rmtree = half_delete
  else:
    os.kill(os.getpid(), what)


def observer(event, step, *, at):
  if at and [event, step] == at[:2]:
    at[:2] = [None, None]
    arm(at[2])


def job(words, devices=1, at=None, folder="."):
  os.chdir(folder)
  count = f"device_count={devices}"
  os.environ["XLA_FLAGS"] = re.sub(
    r"device_count=\d+", count, os.environ["XLA_FLAGS"]
  )
  watch = functools.partial(observer, at=at)
  api.train = functools.partial(api.train, observer=watch)
  cli.main(words)


def start(environ, **how):
  """Starts a job in a process of its own."""
  pid = os.fork()
  if pid == 0:
    os.environ.update(environ)
    try:
      job(**how)
    except SystemExit as error:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(error.code or 0)
    except BaseException:
      traceback.print_exc()
    os._exit(99)
  return pid


def fork(how):
  """Runs a job, or some together, and gives the exit code of each."""
  if isinstance(how, dict):
    pid = start({}, **how)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  pids = [
    start(
      {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(len(how)),
        "JAX_PROCESS_ID": str(number),
      },
      **one,
    )
    for number, one in enumerate(how)
  ]
  codes = {}
  while len(codes) < len(pids):
    pid, status = os.waitpid(-1, 0)
    codes[pid] = os.waitstatus_to_exitcode(status)
    # What a cluster does, and what would else wait for a timeout.
    if codes[pid] < 0:
      for other in set(pids) - set(codes):
        os.kill(other, signal.SIGKILL)
  return [codes[pid] for pid in pids]


if __name__ == "__main__":
  jobs = json.load(sys.stdin)
  # The jobs' tables go to stderr: stdout is for the exit codes.
  out = os.dup(1)
  os.dup2(2, 1)
  os.write(out, json.dumps([fork(how) for how in jobs]).encode())
