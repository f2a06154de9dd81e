"""Every number that the paper publishes, as data, to be printed beside a measured one.

A published number never stands in for a measured one. Each says where it stands in the paper;
`note` is for what the text leaves open about it, `footnote` for what other sources say about a
compared method. Nothing beyond the standard library is imported.

| paper | here |
|---|---|
| Tables 1 and 2, accuracies | `TABLE_1`, `TABLE_2`; `accuracy`, `row` |
| sections 1 and 5.2, gains over other methods | `MARGINS` |
| Table 3 and 5.4, energy and run time | `TABLE_3`, `energy`, and the constants of `costs` |
| Table 4, A.1 and section 5, how it was trained | `TABLE_4`, `recipe`, `RUNS`, `DEGREE`, `CLIP` |
| Table 5, bounding | `TABLE_5`, `bounding` |
| Figure 1, the degree | `FIGURE_1`: what 5.1 says; the values are only in the picture |
| Figure 2 and 5.3, names of neurons | `FIGURE_2`, `resembles`; the curves are only in the picture |

    from lnm_jax import paper

    print(paper.accuracy("cifar10", "LNM", "resnet19", 2))  # 96.96 ± 0.10 %
"""

from lnm_jax.paper.ablations import FIGURE_1, TABLE_5, Bounding, DegreeAblation, bounding
from lnm_jax.paper.costs import (
    ACCUMULATE,
    ENERGY_OVERHEADS,
    INFERENCE_OVERHEAD,
    LIF_MACS,
    MAC,
    TABLE_3,
    TRAINING_OVERHEAD,
    Energy,
    energy,
)
from lnm_jax.paper.published import Published
from lnm_jax.paper.scores import (
    MARGINS,
    TABLE_1,
    TABLE_2,
    Accuracy,
    Margin,
    accuracy,
    row,
)
from lnm_jax.paper.settings import CLIP, DEGREE, RUNS, TABLE_4, Recipe, recipe
from lnm_jax.paper.shapes import FIGURE_2, Resemblance, resembles

__all__ = [
    "ACCUMULATE",
    "CLIP",
    "DEGREE",
    "ENERGY_OVERHEADS",
    "FIGURE_1",
    "FIGURE_2",
    "INFERENCE_OVERHEAD",
    "LIF_MACS",
    "MAC",
    "MARGINS",
    "RUNS",
    "TABLE_1",
    "TABLE_2",
    "TABLE_3",
    "TABLE_4",
    "TABLE_5",
    "TRAINING_OVERHEAD",
    "Accuracy",
    "Bounding",
    "DegreeAblation",
    "Energy",
    "Margin",
    "Published",
    "Recipe",
    "Resemblance",
    "accuracy",
    "bounding",
    "energy",
    "recipe",
    "resembles",
    "row",
]
