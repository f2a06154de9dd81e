"""The experiment of lnm_jax/configs/cifar10dvs_resnet19.py, by its path."""

from lnm_jax.configs.cifar10dvs_resnet19 import get_config  # noqa: F401
