"""Other papers' neurons, to compare with: each file has its source and our confidence in it."""

from lnm_jax.neurons.comparators.clif import clif
from lnm_jax.neurons.comparators.diet import diet
from lnm_jax.neurons.comparators.glif import glif
from lnm_jax.neurons.comparators.lsg import lsg
from lnm_jax.neurons.comparators.psn import masked_psn, psn, sliding_psn
from lnm_jax.neurons.comparators.tc_lif import tc_lif
from lnm_jax.neurons.comparators.ternary import ternary
from lnm_jax.neurons.comparators.ts_lif import ts_lif

NEURONS = {
    "glif": glif,
    "clif": clif,
    "ternary": ternary,
    "diet": diet,
    "tc_lif": tc_lif,
    "ts_lif": ts_lif,
    "lsg": lsg,
    "psn": psn,
    "masked_psn": masked_psn,
    "sliding_psn": sliding_psn,
}
