"""`kd-jax evaluate compression --advise`: what each scheme would save here.

Every scheme is put on the run's dense network without training, written, read
and timed on this device; the accuracy shown is therefore before tuning, a lower
bound. The remarks are the survey's.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from kd_jax import report
from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  artifact,
  kinds,
  meter,
  packing,
  pipeline,
  protocol,
  train,
  training,
)
from kd_jax.methods.compression import (
  data as tables,
)


class Scheme(NamedTuple):
  """A scheme as the survey sees it.

  Attributes:
    name: of the four.
    steps: a pipeline, not tuned.
    good: its advantage.
    bad: its drawback.
  """

  name: str
  steps: str
  good: str
  bad: str


SCHEMES = (
  Scheme(
    "pruning", "prune:0.9 | huffman",
    "robust to settings, good accuracy; from pretrained",
    "a sensitivity per layer; zeros bring no speed by themselves",
  ),
  Scheme(
    "sharing", "share:5 | huffman", "simple, composes with pruning",
    "space alone: decoded at load",
  ),
  Scheme(
    "integers", "int8 | huffman", "4 times smaller at almost no loss",
    "speed needs integer units",
  ),
  Scheme(
    "one bit", "bwn | huffman", "smallest weights",
    "loses much on large networks; must be trained",
  ),
  Scheme(
    "whole filters", "filters:0.5", "dense shapes shrink: real speed",
    "needs tuning",
  ),
  Scheme(
    "low rank", "svd:0.25", "a standard pipeline, closed form; from pretrained",
    "layer by layer, not global; needs tuning",
  ),
  Scheme(
    "low rank, convolutions", "vh:0.25", "closed form, real speed",
    "layer by layer; needs tuning",
  ),
)  # fmt: skip
# What a saving that is worth advising is.
_LOSS, _SMALLER, _FASTER = 0.01, 2.0, 1.3


def steps(run: Any, text: str) -> str:
  """The steps that a pipeline may have.

  Args:
    run: not used.
    text: not used.

  Returns:
    A table.
  """
  del run, text
  rows = []
  for name, kind in kinds.KINDS.items():
    value = "" if kind.value is None else f":{kind.value:g}"
    options = (*kind.options, *(pipeline.TRAINING if kind.trains else ()))
    rows.append([name + value, kind.help, ", ".join(options)])
  return report.render("steps", ["step", "what", "options"], rows, texts=3)


def measure(run: Any, module: nn.Module | None = None) -> list[dict[str, Any]]:
  """Every scheme that fits the run's dense network, not tuned.

  Args:
    run: a finished run.
    module: a user's network, if it was not the configured one.

  Returns:
    A record per scheme: its name, sizes, deltas, accuracy and flags.
  """
  config = run.config
  found = tables.load(config, run.data, lambda line: None)
  model = train.make_model(config, found)
  if module is not None:
    model = dataclasses.replace(model, module=module)
  product = jax.device_get(run.products["train"])
  dense = product["variables"]
  order = model.order(dense)
  plain = packing.accuracy(model, dense, found.test)["accuracy"]
  rows = []
  for scheme in SCHEMES:
    try:
      tree, code = _apply(scheme.steps, model, dense, order)
    except UsageError:
      continue  # It has no layer of that kind.
    content, size = artifact.encode(tree, code)
    back = artifact.decode(content)
    values = packing.sizes(model, dense, model, back, len(content), size)
    values |= packing.times(model, dense, back)
    accuracy = packing.accuracy(model, back, found.test)["accuracy"]
    delta = {b: values[f"delta_batch_{b}"] for b in meter.BATCHES}
    macs = (meter.multiply_adds(model, dense), int(values["macs"]))
    rows.append(
      {
        "scheme": scheme,
        "values": values,
        "accuracy": accuracy,
        "lost": plain - accuracy,
        "flags": meter.flags(macs, delta, back),
      }
    )
  return rows


def _apply(text, model, dense, order):
  """A pipeline on a trained network, without training."""
  written = pipeline.parse(text)
  variables, done, states = dict(dense), [], {}
  params = dense["params"]
  for step in written:
    if kinds.KINDS[step.name].make is None:
      break
    new = pipeline.build(step, kinds.context(model, params, order, 1))
    if new.rebuild is not None:
      variables, _ = new.rebuild(variables)
      continue
    key = jax.random.key(0)
    variables["params"], state = new.init(key, variables["params"])
    states[f"{len(done)}_{new.name}"] = state
    done.append(new)
  scheme = protocol.chain(*done) if done else training.NOTHING
  made = {"variables": variables, "states": states}
  return packing.finish(scheme, made), pipeline.code(written)


def advise(run: Any, text: str, module: nn.Module | None = None) -> str:
  """What the survey would advise for this network, and what it saves here.

  Args:
    run: a finished run.
    text: not used.
    module: a user's network, if it was not the configured one.

  Returns:
    Tables and sentences.
  """
  del text
  rows = measure(run, module)
  cells = []
  for row in rows:
    v = row["values"]
    cells.append(
      [
        row["scheme"].name,
        row["scheme"].steps,
        *(
          f"{v[k]:.2f}"
          for k in ("alpha_bytes", "alpha_macs", "delta_batch_1",
                    "delta_batch_128")
        ),
        f"{100 * row['lost']:.1f}",
      ]
    )  # fmt: skip
  header = ["scheme", "steps", "x smaller", "x fewer MACs"]
  header += ["x faster, batch 1", "batch 128", "points lost, untuned"]
  device = jax.devices()[0].device_kind
  name = run.config.model if module is None else type(module).__name__
  title = f"{name} on this {device}, without tuning"
  lines = [report.render(title, header, cells, texts=2)]
  for row in rows:
    scheme = row["scheme"]
    lines.append(f"{scheme.name}: + {scheme.good}; - {scheme.bad}")
    lines += [f"  ! {flag}" for flag in row["flags"].values()]
  lines.append("")
  lines += advice(rows)
  return "\n".join(lines) + "\n"


def advice(rows: list[dict[str, Any]]) -> list[str]:
  """The survey's rules, by what was measured.

  Args:
    rows: of `measure`.

  Returns:
    Sentences.
  """
  found = ["There is a trained network: pruning, sharing and low rank begin "
           "from it; compact filters and distillation begin anew."]  # fmt: skip
  small = [
    r
    for r in rows
    if r["lost"] <= _LOSS and r["values"]["alpha_bytes"] >= _SMALLER
  ]
  fast = [r for r in rows if r["values"]["delta_batch_128"] >= _FASTER]
  if small:
    best = max(small, key=lambda r: r["values"]["alpha_bytes"])
    found.append(
      f"For space: {best['scheme'].steps!r} is "
      f"{best['values']['alpha_bytes']:.1f} times smaller before any tuning."
    )
  if fast:
    best = max(fast, key=lambda r: r["values"]["delta_batch_128"])
    found.append(
      f"For speed: {best['scheme'].steps!r} is "
      f"{best['values']['delta_batch_128']:.1f} times faster; tune it."
    )
  else:
    found.append("For speed: nothing here is faster on this device.")
  found.append(
    "They combine: 'gradual:0.9 | share:5 | huffman' for space, "
    "'filters:0.5 | gradual:0.8 | share:5 | huffman' for both. With few images "
    "of the task, distil."
  )
  return found
