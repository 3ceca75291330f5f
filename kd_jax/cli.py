"""The command kd-jax: words in, a verb called, one line when it goes wrong."""

import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import kd_jax
from kd_jax.errors import Interrupted, NonFiniteError, UsageError

USAGE = """\
kd-jax: papers' methods in JAX, each with its baselines and its claims.

  kd-jax list [--losses [--markdown]]           methods, presets, data; losses
  kd-jax train METHOD [PRESET] [--field value]  runs a method and its baselines
      --workdir DIR   its folder; the same command goes on from where it stopped
      --tensorboard   event files too      --quiet   no progress
      --profile       a trace of some steps of each phase, in the folder
  kd-jax evaluate METHOD [--workdir DIR]        measures a finished run anew
      (the newest in runs/ by default), or asks what METHOD --help lists
  kd-jax reproduce METHOD [PRESET] [--seeds 5] [--workdir DIR] [--field value]
      --first-seed 1000   seeds that were seen before are not fresh
  kd-jax benchmark [METHOD ...] [--seconds 3] [--json FILE] [--profile DIR]
      "networks" among the methods is the backbones alone, "convolutions" single
      layers inside and outside of loops
  kd-jax benchmark modes METHOD ...             pmap, jit, shard_map compared
  kd-jax benchmark data                         decoding, beside PyTorch's
  kd-jax data list | build NAME [--manual-dir DIR] | show NAME [--out FILE]

kd-jax train METHOD --help shows a method's fields.
"""

Options = dict[str, Any]


def main(words: Sequence[str] | None = None) -> None:
  """Runs the command and exits: 0, 2 for a wrong use, 130/143 when stopped.

  Args:
    words: the command line after the command's name.
  """
  words = list(sys.argv[1:] if words is None else words)
  try:
    code = _run(words)
    sys.stdout.flush()
  except BrokenPipeError:  # The reader, "head" say, has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 141
  except UsageError as error:
    code = _complain(str(error), 2)
  except NonFiniteError as error:
    code = _complain(str(error), 1)
  except OSError as error:
    where = f" ({error.filename})" if error.filename else ""
    code = _complain(f"{error.strerror or error}{where}", 2)
  except (MemoryError, RuntimeError) as error:
    # An allocation that failed: NumPy says it so, the compiler so.
    full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
    if not full:
      raise
    line = (str(error).splitlines() or [""])[0][:200]
    code = _complain(f"the memory is full; take smaller batches ({line})", 2)
  except Interrupted as error:
    code = _complain(str(error), 128 + error.signum)
  except KeyboardInterrupt:
    code = _complain("stopped", 130)
  sys.exit(code)


def _complain(message: str, code: int) -> int:
  print(f"kd-jax: {message}", file=sys.stderr)
  return code


def _run(words: list[str]) -> int:
  if not words or words[0] in ("-h", "--help", "help"):
    print(USAGE, end="")
    return 0
  if words[0] == "--version":
    print(f"kd-jax {kd_jax.__version__}")
    return 0
  verbs: dict[str, Callable[[list[str]], None]] = {
    "list": _list,
    "train": _train,
    "evaluate": _evaluate,
    "reproduce": _reproduce,
    "benchmark": _benchmark,
    "data": _data,
  }
  if words[0] not in verbs:
    raise UsageError(
      f"there is no verb {words[0]!r}; there is: {', '.join(verbs)}"
    )
  helps = ("-h", "--help")
  shows = ("train", "reproduce", "evaluate")
  named = words[0] in shows and words[1:2] != []
  # "train METHOD --help" shows the method's fields.
  if any(w in helps for w in (words[1:2] if named else words)):
    print(USAGE, end="")
    return 0
  verbs[words[0]](words[1:])
  return 0


def _split(
  words: list[str], names: tuple[int, int], **options: type
) -> tuple[list[str], Options, list[str]]:
  """Leading names, the verb's own options, and the words that are left.

  Args:
    words: the words after the verb.
    names: at least and at most how many names lead.
    **options: the verb's options; bool ones take no value.

  Returns:
    The names, the options that were given, and the rest ("--field value ...").
  """
  count = next(
    (i for i, w in enumerate(words) if w.startswith("-")), len(words)
  )
  leading, rest = words[:count], words[count:]
  if not names[0] <= len(leading) <= names[1]:
    if len(leading) > names[1]:
      raise UsageError(f"{leading[names[1]]!r} is not expected here")
    raise UsageError("a name is missing; kd-jax --help shows the verbs")
  given: Options = {}
  left: list[str] = []
  while rest:
    word, equals, value = rest.pop(0).partition("=")
    name = word.removeprefix("--").replace("-", "_")
    if not word.startswith("--") or name not in options:
      left.append(word + equals + value)
    elif options[name] is bool:
      if equals:
        raise UsageError(f"{word} takes no value")
      given[name] = True
    else:
      given[name] = _value(word, value, equals, rest, options[name])
  return leading, given, left


def _value(word, value, equals, rest, kind):
  if not equals:
    if not rest or rest[0].startswith("--"):
      raise UsageError(f"{word} needs a value")
    value = rest.pop(0)
  if not value:
    raise UsageError(f"{word} needs a value")
  try:
    return kind(value)
  except ValueError:
    kinds = {int: "a whole number", float: "a number"}
    raise UsageError(f"{word} is {kinds[kind]}, not {value!r}") from None


def _nothing_left(left: list[str]) -> None:
  if left:
    raise UsageError(f"{left[0]!r} is not expected here")


def _configured(names: list[str], left: list[str]) -> tuple[Any, str, Any]:
  from kd_jax import api, fields

  method, preset, config = api.configure(*names)
  if "--help" in left or "-h" in left:
    print(f"{method.name}: {method.title}\npreset {preset}; its fields:")
    for name, value in fields.walk(config):
      print(f"  --{name.replace('_', '-')} {value!r}")
      print(f"      {fields.document(config, name)}")
    sys.exit(0)
  config = fields.parse(config, left)
  return api.configure(method, preset, config)


def _list(words: list[str]) -> None:
  _, options, left = _split(words, (0, 0), losses=bool, markdown=bool)
  _nothing_left(left)
  from kd_jax import listing

  if "markdown" in options and "losses" not in options:
    raise UsageError("--markdown goes with --losses")
  if "markdown" in options:
    from kd_jax.losses import catalog

    print(catalog.page(), end="")
  else:
    print(listing.losses() if options else listing.methods(), end="")


def _train(words: list[str]) -> None:
  names, options, left = _split(
    words, (1, 2), workdir=str, quiet=bool, tensorboard=bool, profile=bool
  )
  from kd_jax import api

  method, preset, config = _configured(names, left)
  run = api.train(method, preset, config=config, **options)
  _show(run.table())


def _show(text: str) -> None:
  """Prints a result, once where several processes run together."""
  from kd_jax import accel

  if accel.is_first():
    print(text, end="")


def _evaluate(words: list[str]) -> None:
  from kd_jax import api, registry, report, workdirs

  named = words and not words[0].startswith("-")
  method = registry.find(words[0]) if named else None
  asked = method.answers if method else {}
  kinds = {name: bool if a.flag else str for name, a in asked.items()}
  names, options, left = _split(words, (1, 1), workdir=str, **kinds)
  if "--help" in left or "-h" in left:
    print(f"kd-jax evaluate {names[0]} [--workdir DIR]")
    for name, answer in asked.items():
      print(f"  --{name}{'' if answer.flag else ' TEXT'}\n      {answer.help}")
    return
  _nothing_left(left)
  workdir = options.pop("workdir", None) or str(workdirs.newest(method))
  if options:
    run = api.open_run(workdir, method)
    for name, value in options.items():
      print(run.ask(name, "" if value is True else value), end="")
    return
  found = api.evaluate(method, workdir)
  rows = [[name, report.number(value)] for name, value in found.items()]
  _show(report.render(workdir, ["metric", "value"], rows))


def _reproduce(words: list[str]) -> None:
  names, options, left = _split(
    words, (1, 2), workdir=str, quiet=bool, seeds=int, first_seed=int
  )
  from kd_jax.reproduction import reproduce

  method, preset, config = _configured(names, left)
  chosen = any(word.split("=")[0] == "--arms" for word in left)
  arms = config.arms if chosen else None
  found = reproduce(method, preset, config=config, arms=arms, **options)
  _show(found.text)


def _benchmark(words: list[str]) -> None:
  names, options, left = _split(
    words, (0, 99), json=str, seconds=float, profile=str
  )
  _nothing_left(left)
  seconds = options.get("seconds", 3.0)
  if not 0 < seconds < math.inf:
    raise UsageError(f"--seconds is {seconds}; it must be above 0 and finite")
  if "json" in options:  # It must not turn out at the end, minutes later.
    pathlib.Path(options["json"]).open("a").close()
  how = {
    "json_file": options.get("json"),
    "seconds": seconds,
    "say": lambda line: print(line, file=sys.stderr, flush=True),
  }
  if names[:1] in (["modes"], ["data"]) and "profile" in options:
    raise UsageError(f"benchmark {names[0]} takes no --profile")
  if names[:1] == ["modes"]:
    from kd_jax import modes

    _show(modes.table(modes.compare(names[1:], **how)))
  elif names[:1] == ["data"]:
    if names[1:]:
      raise UsageError(f"{names[1]!r} is not expected here")
    from kd_jax.datasets import feeding

    _show(feeding.table(feeding.measure(**how)))
  else:
    from kd_jax import throughput

    rows = throughput.benchmark(names, profile=options.get("profile"), **how)
    _show(throughput.table(rows))


def _data(words: list[str]) -> None:
  names, options, left = _split(words, (1, 2), manual_dir=str, out=str)
  _nothing_left(left)
  from kd_jax import listing

  verb, *name = names
  if verb == "list" and not name:
    print(listing.data(), end="")
  elif verb == "build" and name:
    listing.build(name[0], options.get("manual_dir"))
  elif verb == "show" and name:
    print(listing.show(name[0], options.get("out")), end="")
  else:
    raise UsageError("it is: kd-jax data list | build NAME | show NAME")
