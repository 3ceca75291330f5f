"""Official files: fetched, resumed where that broke off, or brought by hand."""

from pathlib import Path
from typing import Any

from kd_jax.datasets import downloads
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.folders import data_dir
from kd_jax.datasets.progress import Say, to_stderr


class OfficialFiles:
  """The part of a builder that gets the files it reads.

  Attributes:
    HOMEPAGE: where the files are published.
  """

  HOMEPAGE: str

  _paths: dict[str, Path] | None = None
  _say: Say = staticmethod(to_stderr)

  def remotes(self) -> list[downloads.Remote]:
    """The official files.

    Returns:
      The lines of `checksums.tsv`.
    """
    # TFDS's own `url_infos` is None where the package is mapped to its folder.
    text = self.pkg_dir_path.joinpath("checksums.tsv").read_text()
    return downloads.remotes(text)

  def found(self, manual_dir: Path) -> dict[str, Path]:
    """The official files of a folder, the network left alone.

    Args:
      manual_dir: where the user put them.

    Returns:
      Their paths by their published names.

    Raises:
      DataError: says which file is missing.
    """
    raise NotImplementedError

  def obtain(self, manual_dir: Path | None, say: Say = to_stderr) -> None:
    """Finds the official files in a folder, or fetches them.

    Args:
      manual_dir: where they lie; None fetches them.
      say: takes lines of progress, now and while examples are generated.

    Raises:
      DataError: says which file is missing, or why it cannot be fetched.
    """
    self._say = say
    if manual_dir is None:
      self._paths = self._fetched(data_dir() / "downloads" / self.name)
      return
    try:
      self._paths = self.found(manual_dir)
    except DataError as error:
      raise DataError(f"{error}; it is published at {self.HOMEPAGE}") from None

  def obtained(self, dl_manager: Any) -> dict[str, Path]:
    """The official files, got now if TFDS prepares and not our command.

    Args:
      dl_manager: TFDS's download manager.

    Returns:
      As `found`.
    """
    if self._paths is None:
      try:
        manual_dir = Path(dl_manager.manual_dir)
      except AssertionError:  # There is none, or it is empty.
        manual_dir = None
      self.obtain(manual_dir)
    return self._paths

  def _fetched(self, folder: Path) -> dict[str, Path]:
    by_hand = (
      f"put {', '.join(self.wanted())} of {self.HOMEPAGE} in a folder and give "
      "it as --manual-dir"
    )
    remotes = self.remotes()
    if not remotes:
      raise DataError(
        f"the files of {self.name} must be brought by hand: {by_hand}"
      )
    try:
      return {
        r.name: downloads.fetch(r, folder, say=self._say) for r in remotes
      }
    except DataError as error:
      raise DataError(
        f"{error}; with a browser, {by_hand} (the same command goes on where a "
        "download broke off)"
      ) from None

  def wanted(self) -> list[str]:
    """What the official files are called, to tell users."""
    return [remote.name for remote in self.remotes()]
