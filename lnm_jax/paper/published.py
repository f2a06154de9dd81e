"""A published number, and how the names of data sets, methods and networks are compared."""

from typing import NamedTuple


class Published(NamedTuple):
    """One number of the paper. `str` gives it with the digits that are printed there.

    Attributes:
      value: in `unit`.
      deviation: what follows the "±", in `unit`; None where nothing does. Of three runs in
        Tables 1, 2 and 5; the paper calls it a standard deviation in 5.1 only, and does not say
        whether it divides by 3 or by 2.
      unit: %, mJ or pJ.
      digits: after the decimal point, as printed.
      where: table with row and column, or section.
      note: what the text leaves open about this number, else "".
    """

    value: float
    deviation: float | None
    unit: str
    digits: int
    where: str
    note: str = ""

    def __str__(self):
        spread = "" if self.deviation is None else f" ± {self.deviation:.{self.digits}f}"
        return f"{self.value:.{self.digits}f}{spread} {self.unit}"


def same(name: str, other: str) -> bool:
    """Whether two names are one: only letters and digits count, upper and lower case alike.

    So the names of a configuration are those of the paper: "cifar10dvs" is "CIFAR-10 DVS",
    "resnet19" is "ResNet-19". ImageNet's year, "imagenet2012", does not count either.
    """
    return _key(name) == _key(other)


def _key(name):
    key = "".join(letter for letter in name.lower() if letter.isalnum())
    return "imagenet" if key == "imagenet2012" else key
