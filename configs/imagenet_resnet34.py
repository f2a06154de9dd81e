"""The experiment of lnm_jax/configs/imagenet_resnet34.py, by its path."""

from lnm_jax.configs.imagenet_resnet34 import get_config  # noqa: F401
