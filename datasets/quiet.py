"""TensorFlow Datasets without its chatter.

It takes seconds to import and speaks of an absent TensorFlow on the standard
output, where a command's results belong; so it is imported on first use, and
what it prints meanwhile goes nowhere.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def quiet() -> Iterator[ModuleType]:
  """Gives the module `tensorflow_datasets`, silent inside the context.

  Yields:
    The module. Exceptions pass; prints, bars and log lines do not.
  """
  before = logging.root.manager.disable
  nowhere = io.StringIO()
  with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
    logging.disable(logging.ERROR)
    try:
      import tensorflow_datasets as tfds

      tfds.disable_progress_bar()
      yield tfds
    finally:
      logging.disable(before)
