"""The experiment of lnm_jax/configs/cifar10_fast.py, by its path."""

from lnm_jax.configs.cifar10_fast import get_config  # noqa: F401
