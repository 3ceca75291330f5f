"""A phase's evaluations, of a finished product or one under way."""

from collections.abc import Callable, Mapping
from typing import Any

from kd_jax import accel, metrics
from kd_jax.experiment import Phase
from kd_jax.training.session import Session

PyTree = Any


def evaluate(
  phase: Phase,
  product: PyTree,
  session: Session,
  tables: Mapping[str, PyTree] | None = None,
) -> dict[str, float | list[float]]:
  """Runs a phase's evaluations.

  Args:
    phase: the phase.
    product: its product, finished or not.
    session: clocks and programs.
    tables: the evaluations' data if they are placed already.

  Returns:
    "evaluation_metric" to number, or to a list of one number a seed.
  """
  values: dict[str, float | list[float]] = {}
  # A divided state's product is divided likewise; most are measured whole.
  placed = None if phase.split or tables is None else product
  for name, evaluation in phase.evaluations.items():
    data = tables[name] if tables else accel.place(evaluation.data)
    split = evaluation.split and evaluation.split(product)
    if split is not None:
      whole = accel.place(product, split=split)
    else:
      placed = accel.place(product) if placed is None else placed
      whole = placed
    run = session.compile(
      f"{phase.key}/{name}",
      _measured(evaluation.run, split),
      whole,
      data,
      data="replicated",
      donate=False,
      split=split,
    )
    with session.clock.on("evaluate"):
      found = run(whole, data)
      found = metrics.compute(found if split is None else found[1])
    values.update({f"{name}_{k}": v for k, v in found.items()})
  return values


def _measured(run: Callable[..., Any], split: PyTree) -> Callable[..., Any]:
  """An evaluation in the form that a divided argument is lifted in."""
  if split is None:
    return run
  return lambda product, data, *, axis_name=None: (
    product,
    run(product, data, axis_name=axis_name),
  )
