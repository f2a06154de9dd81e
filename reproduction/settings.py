"""What the methods are trained on at each scale: data, network, epochs, learning rates."""

from __future__ import annotations

import os
from typing import NamedTuple

from lnm_jax.configs import cifar10_fast
from lnm_jax.errors import ConfigError
from lnm_jax.training import configuration
from reproduction import published
from reproduction.published import CIFAR10, CIFAR100, IMAGENET

SCALES = ("smoke", "small", "paper")
RECIPES = ("published", "fast")


class Setting(NamedTuple):
    """Data and a network.

    Attributes:
      data, network: in words, for the tables.
      experiment: module in configs/ that it starts from.
      fields: dotted fields that differ from it.
      rates: weight learning rates, of which each method gets its best; empty for the experiment's.
      seeded: fields that are set to the run's seed.
      paper_row: data set, network and T of the paper whose numbers are printed beside, or None.
      note: what a reader must know.
    """

    data: str
    network: str
    experiment: str
    fields: dict
    rates: tuple[float, ...] = ()
    seeded: tuple[str, ...] = ()
    paper_row: tuple[str, str, int] | None = None
    note: str = ""

    def at(self, fields: dict) -> Setting:
        """The setting with other fields."""
        return self._replace(fields=self.fields | fields)


# Folders of --data-dir of which a set needs one; what is not here is downloaded.
FOLDERS = {IMAGENET: ("imagenet2012", "train"), published.DVS: ("CIFAR10DVS",)}


def look_for_data(setting: Setting) -> None:
    """Looks whether the data are where they are said to be, but not into them.

    Raises: ConfigError for a setting that needs a directory, and has none or another.
    """
    if "data.directory" not in setting.fields:
        return
    directory = setting.fields["data.directory"]
    if directory is None:
        raise ConfigError(f"--data-dir must say where {setting.data} is; --skip leaves out rows")
    if "://" in directory:
        return
    if not os.path.isdir(directory):
        raise ConfigError(f"--data-dir={directory}: no such directory; make it to download CIFAR")
    folders = FOLDERS.get(setting.data, ("",))
    if not any(os.path.isdir(os.path.join(directory, folder)) for folder in folders):
        raise ConfigError(
            f"--data-dir={directory}: must have {' or '.join(folders)} of {setting.data}; "
            "--skip leaves out rows"
        )


# The published recipe, where an experiment has the fast one.
PUBLISHED = {
    "neuron.surrogate": "rectangle",
    "model.tdbn": 0.0,
    "optimizer.name": "sgd",
    "optimizer.nesterov": False,
    "optimizer.decay": "cosine",
}
DIGITS = Setting(
    "digits",
    "small ResNet",
    "digits",
    {"epochs": 20, **PUBLISHED},
    rates=(0.02, 0.05, 0.1),
    paper_row=(CIFAR10, "ResNet-19", 4),
)
NARROW = {"model.stem": 16, "model.widths": (16, 32, 64)}
# A methods' table of 30 rows and 3 seeds in 150 minutes of a CPU core.
NARROWEST = {"model.stem": 8, "model.widths": (8, 16, 32), "data.test_flip": False}
DVS = Setting(
    "digits, simulated events",
    "small VGGSNN",
    "digits_dvs",
    {"epochs": 20},
    rates=(0.02, 0.05, 0.1),
    paper_row=(published.DVS, "VGGSNN", 10),
    note="simulated in place of CIFAR10-DVS",
)
SMALL_RESNET = {"model.name": "resnet_small", "model.stem": 8, "model.widths": (16, 32)}
SEQUENTIAL = Setting(
    "digits, pixel by pixel",
    "MLP 1-64-64-10",
    "sequential_digits",
    {},
    rates=(0.1, 0.3, 1.0),
)
INTERVAL = Setting(
    "interval",
    "MLP 16-64-64-6",
    "interval",
    {},
    rates=(0.1, 0.3, 1.0),
    seeded=("data.seed",),
)


def images(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """Static images, for Table 1 and what belongs to it."""
    if recipe == "fast":
        return _fast_images(scale, directory)
    if scale == "smoke":
        return [DIGITS]
    if scale == "small":
        narrow = _cifar10(directory).at({**NARROW, "epochs": 3})
        return [narrow._replace(network="ResNet-19, width 16", note="16 instead of 128 channels")]
    imagenet = Setting(
        IMAGENET, "ResNet-34", "imagenet_resnet34", {}, paper_row=(IMAGENET, "ResNet-34", 4)
    )
    cifar = [
        setting.at({"timesteps": timesteps})._replace(
            paper_row=(setting.paper_row[0], "ResNet-19", timesteps)
        )
        for setting in (_cifar10(directory), cifar100(directory))
        for timesteps in (2, 4)
    ]
    return [*cifar, imagenet.at({"data.directory": directory})]


def _fast_images(scale, directory):
    if scale == "smoke":
        return [DIGITS._replace(fields={"epochs": 2}, rates=(), paper_row=None)]
    resnet = _cifar10(directory)._replace(experiment="cifar10_fast", paper_row=None)
    if scale == "small":
        small = {"data.image_size": 16, "data.crop_padding": 0, "epochs": 1}
        pixels = resnet.at(small)._replace(rates=(0.02, 0.05, 0.1))
        # From an experiment of that network: cifar10_fast has fields that are a ResNet's alone.
        vgg = pixels._replace(experiment="digits_dvs", network="VGGSNN, width 16, 16x16 pixels")
        fields = _fast_fields(vgg, "data.", "timesteps") | pixels.fields
        narrow_vgg = {"model.widths": ((16, 32), (64, 64), (64, 64))}
        return [
            pixels.at(NARROW)._replace(network="ResNet-19, width 16, 16x16 pixels"),
            vgg._replace(fields=fields | narrow_vgg),
        ]
    return [resnet]


def narrowest(scale: str, directory: str | None, recipe: str = "published") -> Setting:
    """The first images, for tables of many runs, at the experiment's own rates."""
    first = images(scale, directory, recipe)[0]._replace(rates=())
    if scale != "small" or recipe != "fast":
        return first
    return first.at(NARROWEST)._replace(network="ResNet-19, width 8, 16x16 pixels")


def narrow(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """All images, the first as `narrowest` has them, at the experiment's own rates."""
    others = images(scale, directory, recipe)[1:]
    return [
        narrowest(scale, directory, recipe),
        *(setting._replace(rates=()) for setting in others),
    ]


def timesteps(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """The first images at several T, of which the first has nothing to tell dynamics apart by."""
    first = narrowest(scale, directory, recipe)._replace(paper_row=None)
    return [
        first.at({"timesteps": count})._replace(network=f"{first.network}, T = {count}")
        for count in (1, 2, 4, 8)
    ]


def cifar100(directory: str | None) -> Setting:
    """CIFAR-100 at T = 4, as Table 5 and Figure 1 have it."""
    fields = {"data.directory": directory, "timesteps": 4}
    return Setting(
        CIFAR100, "ResNet-19", "cifar100_resnet19", fields, paper_row=(CIFAR100, "ResNet-19", 4)
    )


def events(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """Event recordings, for Table 2: each for a VGGSNN, then for a ResNet."""
    if recipe == "fast":
        published_recipe = events(scale, directory)
        return [
            setting.at(_fast_fields(setting))._replace(rates=()) for setting in published_recipe
        ]
    if scale == "paper":
        return [
            Setting(
                published.DVS, network, experiment, {"data.directory": directory},
                paper_row=(published.DVS, network, 10),
            )
            for network, experiment in (
                ("VGGSNN", "cifar10dvs_vggsnn"), ("ResNet-19", "cifar10dvs_resnet19"),
            )
        ]  # fmt: skip
    recordings = [DVS.at({"epochs": 3}) if scale == "smoke" else DVS]
    if scale == "small" and directory and os.path.isdir(os.path.join(directory, "CIFAR10DVS")):
        recorded = {"data.name": "cifar10dvs", "data.directory": directory, "data.image_size": 32}
        recordings.append(
            DVS.at(recorded)._replace(data="CIFAR10DVS/", note="its README.txt says of what")
        )
    elif scale == "small" and directory and os.path.isdir(os.path.join(directory, "train")):
        # CIFAR10-DVS's frames and augmentation, of images before a simulated camera.
        moved = {
            "data.name": "folder_dvs", "data.directory": directory, "data.image_size": 48,
            "data.crop_padding": 4, "data.flip": True, "epochs": 10,
        }  # fmt: skip
        recordings.append(DVS.at(moved)._replace(data="folder of images, simulated events"))
    resnets = [
        setting.at(SMALL_RESNET)._replace(
            network="small ResNet", paper_row=(published.DVS, "ResNet-19", 10)
        )
        for setting in recordings
    ]
    return [setting for pair in zip(recordings, resnets, strict=True) for setting in pair]


def _fast_fields(setting, *more):
    """What the fast recipe changes in another experiment: optimizer, surrogate, network, `more`."""
    recipe = configuration.flatten(cifar10_fast.get_config())
    names = [name for name in recipe if name.startswith(("optimizer.", *more))]
    names += ["neuron.surrogate", "model.tdbn", "label_smoothing"]
    names += [] if "VGGSNN" in setting.network else ["model.head", "model.shortcut"]
    return {name: recipe[name] for name in names}


def interval(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """The time between two pulses."""
    _refuse(scale, recipe)
    return [INTERVAL.at({"epochs": 2, "data.examples": 600}) if scale == "smoke" else INTERVAL]


def sequential(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """Digits as sequences of pixels, in their order and permuted."""
    _refuse(scale, recipe)
    plain = SEQUENTIAL.at({"epochs": 1}) if scale == "smoke" else SEQUENTIAL
    permuted = plain.at({"data.name": "permuted_digits"})
    return [plain, permuted._replace(data="digits, pixels permuted")]


def identify(scale: str, directory: str | None, recipe: str = "published") -> list[Setting]:
    """Unknown neurons from their spikes; a LIF layer is the control."""
    _refuse(scale, recipe)
    epochs = 4 if scale == "smoke" else 200
    return [
        Setting(
            f"identify, {teacher.upper()}",
            "one layer",
            "identify",
            {"data.teacher": teacher, "epochs": epochs},
            rates=(0.003, 0.01, 0.03, 0.1),
            seeded=("data.seed",),
            note="accuracy is F1 of the spikes",
        )
        for teacher in ("qif", "eif", "lif")
    ]


def _refuse(scale, recipe):
    if scale == "paper":
        raise ConfigError("--scale=paper: the paper does not have this task, use small")
    if recipe != "published":
        raise ConfigError(f"--recipe={recipe}: of images and recordings; this task has its own")


def _cifar10(directory: str | None) -> Setting:
    """From a tree of images if there is one, else as TensorFlow Datasets prepares it."""
    fields = {"data.directory": directory}
    if directory and os.path.isdir(os.path.join(directory, "train")):
        fields["data.name"] = "folder"
    return Setting(
        "CIFAR-10 (folder of images)" if "data.name" in fields else CIFAR10,
        "ResNet-19", "cifar10_resnet19", fields, paper_row=(CIFAR10, "ResNet-19", 2),
    )  # fmt: skip
