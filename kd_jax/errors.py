"""What goes wrong through no fault of the code: one sentence for a person."""


class UsageError(ValueError):
  """A wrong argument, file or folder.

  The message is a line or two that name what is wrong, where, and what to do;
  the command prints it alone and exits with 2.
  """


class NonFiniteError(RuntimeError):
  """A loss, gradient or metric that is NaN or infinite; names the step."""


class Interrupted(KeyboardInterrupt):
  """A run asked to stop by a signal, after its checkpoint was saved.

  Attributes:
    signum: the signal's number; the command exits with 128 + signum.
  """

  def __init__(self, signum: int, message: str):
    super().__init__(message)
    self.signum = signum
