"""How the paper trains: Table 4, the augmentations of A.1, and section 5.

Not published: batch sizes, seeds, whether the momentum is Nesterov's, whether the neurons'
parameters decay, sizes of crops and of Cutout, and the split of CIFAR10-DVS.
"""

from typing import NamedTuple

from lnm_jax.paper.published import same

RUNS = 3  # whose mean the tables give (section 5)
DEGREE = 3  # of f in the tables (5.1)
CLIP = 1.0  # the argument of f is clipped to [-CLIP, CLIP] (4.2.1)


class Recipe(NamedTuple):
    """A column of Table 4.

    Attributes:
      dataset, networks: as the paper calls them.
      timesteps: every T that was trained.
      surrogate: of the spike's derivative.
      window: where it is not 0, potential less threshold.
      epochs: in all.
      optimizer, scheduler: names.
      learning_rate: of weights.
      lnm_learning_rate: of the neurons' parameters.
      momentum, weight_decay: of SGD.
      label_smoothing: share of the target.
      warmup_epochs: of the learning rate.
      gpus: A100 with 80 GB.
      decay: "Initial Decay". The text does not say whether it is the share of the potential
        that is kept per timestep or the share that is lost.
      threshold: of the potential.
      augmentations: of A.1: crop, flip, AutoAugment, Cutout; no order is published.
      image_size: pixels a side that frames are resized to (A.1); None where none is named.
      normalised: by mean and standard deviation (A.1).
      where: in the paper.
    """

    dataset: str
    networks: tuple[str, ...]
    timesteps: tuple[int, ...]
    surrogate: str
    window: tuple[float, float]
    epochs: int
    optimizer: str
    scheduler: str
    learning_rate: float
    lnm_learning_rate: float
    momentum: float
    weight_decay: float
    label_smoothing: float
    warmup_epochs: int
    gpus: int
    decay: float
    threshold: float
    augmentations: tuple[str, ...]
    image_size: int | None
    normalised: bool
    where: str


_CIFAR10 = Recipe(
    dataset="CIFAR-10",
    networks=("ResNet-19",),
    timesteps=(2, 4),
    surrogate="Rectangle",
    window=(-0.5, 0.5),
    epochs=400,
    optimizer="SGD",
    scheduler="Cosine",
    learning_rate=1e-1,
    lnm_learning_rate=1e-2,
    momentum=9e-1,
    weight_decay=5e-4,
    label_smoothing=1e-1,
    warmup_epochs=0,
    gpus=1,
    decay=0.25,
    threshold=0.5,
    augmentations=("crop", "flip", "Cutout"),
    image_size=None,
    normalised=True,
    where="Table 4, column CIFAR-10; A.1",
)
# The columns share what they do not restate.
TABLE_4 = (
    _CIFAR10,
    _CIFAR10._replace(
        dataset="CIFAR-100",
        augmentations=("crop", "flip", "Cutout", "AutoAugment"),
        where="Table 4, column CIFAR-100; A.1",
    ),
    _CIFAR10._replace(
        dataset="CIFAR-10 DVS",
        networks=("VGGSNN", "ResNet-19"),
        timesteps=(10,),
        surrogate="Triangle",
        epochs=200,
        lnm_learning_rate=1e-3,
        label_smoothing=1e-2,
        augmentations=("crop", "flip"),
        image_size=48,
        normalised=False,
        where="Table 4, column CIFAR-10 DVS; A.1",
    ),
    _CIFAR10._replace(
        dataset="ImageNet",
        networks=("ResNet-34",),
        timesteps=(4,),
        epochs=350,
        learning_rate=1.0,
        weight_decay=5e-5,
        label_smoothing=0.0,
        warmup_epochs=5,
        gpus=4,
        augmentations=("crop", "flip"),
        where="Table 4, column ImageNet; A.1",
    ),
)


def recipe(dataset: str) -> Recipe | None:
    """The column of Table 4 of a data set, by its name here or in a configuration, or None."""
    return next((found for found in TABLE_4 if same(dataset, found.dataset)), None)
