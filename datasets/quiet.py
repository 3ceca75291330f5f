"""TensorFlow Datasets without its chatter.

It takes seconds to import and speaks of an absent TensorFlow on the standard
output, where a command's results belong; so it is imported on first use, and
what it prints meanwhile goes nowhere.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from types import ModuleType

from kd_jax.datasets import progress


@contextlib.contextmanager
def quiet() -> Iterator[ModuleType]:
  """Gives the module `tensorflow_datasets`, silent inside the context.

  Our own progress is still heard: it goes where the standard error was.

  Yields:
    The module. Exceptions pass; prints, bars and log lines do not.
  """
  before = logging.root.manager.disable
  nowhere = io.StringIO()
  with (
    progress.heard_on(sys.stderr),
    contextlib.redirect_stdout(nowhere),
    contextlib.redirect_stderr(nowhere),
  ):
    logging.disable(logging.ERROR)
    try:
      import tensorflow_datasets as tfds

      tfds.disable_progress_bar()
      yield tfds
    finally:
      logging.disable(before)
