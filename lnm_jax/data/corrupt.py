"""Images that can't be decoded: an error that names them, or another image of the class."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from lnm_jax.errors import ConfigError

Read = Callable[[int, np.random.Generator | None], np.ndarray]  # see `Stream`

_log = logging.getLogger(__name__)


class CorruptImageError(ConfigError):
    """An image whose content can't be decoded; files that can't be read are another matter."""

    def advised(self) -> CorruptImageError:
        """The same with what to do about it."""
        advice = "replace it, or set config.data.skip_corrupt to leave such images out"
        return CorruptImageError(f"{self}; {advice}")


class Reader:
    """`Stream.read` of images some of which may be corrupt.

    Attributes:
      skipped: indices of the images that could not be decoded in this process.
    """

    def __init__(self, read: Read, labels: np.ndarray, skip_corrupt: bool):
        """`read` raises CorruptImageError, and can be pickled.

        If skip_corrupt, the next readable image of the same class, in the order of indices and
        round, stands in for a corrupt one, so that the label holds: each is logged once.
        """
        self.read, self.labels, self.skip_corrupt = read, labels, skip_corrupt
        self.skipped: set[int] = set()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "skipped": set()}

    def __call__(self, index: int, rng: np.random.Generator | None) -> np.ndarray:
        """The image of that index. Raises: CorruptImageError, or what else `read` raises."""
        if not self.skip_corrupt:
            try:
                return self.read(int(index), rng)
            except CorruptImageError as error:
                raise error.advised() from None
        alike = np.flatnonzero(self.labels == self.labels[index])
        for other in np.roll(alike, -int(np.searchsorted(alike, index))).tolist():
            try:
                return self.read(other, rng)
            except CorruptImageError as error:
                last = error
                if other not in self.skipped:
                    self.skipped.add(other)
                    count = len(self.skipped)
                    _log.warning("%s; skipped, number %d of this process", error, count)
        raise CorruptImageError(f"{last}, as is every other image of its class")
