"""The experiment of lnm_jax/configs/cifar10dvs_vggsnn.py, by its path."""

from lnm_jax.configs.cifar10dvs_vggsnn import get_config  # noqa: F401
