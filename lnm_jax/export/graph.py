"""The graph of a network's layers, read off one abstract run of the model itself.

Convolutions, dense and spiking layers are Flax modules; what is between them (shortcuts, pools,
averages) is not. So the modules' calls are replaced by one opaque operation each, and the few
operations left in the program are the rest of the graph: no architecture is described twice.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive
from jax.interpreters import partial_eval

from lnm_jax.errors import ConfigError
from lnm_jax.layers import Spiking

BATCH = 1013  # a prime that no layer's size is taken for
layer_p = Primitive("layer")
layer_p.def_abstract_eval(
    lambda x, *, path, kind, shape, dtype, fields: jax.core.ShapedArray(shape, dtype)
)


class Node(NamedTuple):
    """One operation on arrays (T, B, *shape).

    Attributes:
      name: a module's path, or the kind and a number.
      kind: "input", "convolution", "dense", "spiking"; "add" of two; "repeat", which shows static
        images at every timestep; "average_pool", "max_pool"; "average_space", "max_space" over
        height and width; "subsample" to every stride-th pixel, "pad_channels" with zeros behind;
        "flatten" of (H, W, C), to (N,) or (1, 1, N); "average_time", the last.
      inputs: names of the nodes it takes.
      shape: of its result, without time and batch, channels last.
      fields: stride, padding, size and the like, by name.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    fields: dict[str, Any]


def trace(model: nn.Module, variables: dict, example: tuple[int, ...]) -> list[Node]:
    """The nodes of a folded model in the order they run; the last one's result is the logits.

    Args:
      model: folded, see `fold_batch_norm`.
      variables: of the model; only their shapes are used.
      example: shape of one example, (H, W, C), or (T, H, W, C) for event frames.
    Raises: ConfigError for an operation that is not in the list of `Node`.
    """

    def replace(call, args, kwargs, context):
        result, module = call(*args, **kwargs), context.module
        if context.method_name != "__call__" or not isinstance(
            module, Spiking | nn.Conv | nn.Dense
        ):
            return result
        kind, fields = _describe(module)
        return layer_p.bind(
            args[0],
            path="/".join(module.path),
            kind=kind,
            shape=result.shape,
            dtype=result.dtype,
            fields=tuple(fields.items()),
        )

    def run(x):
        with nn.intercept_methods(replace):
            return model.apply(variables, x)

    timesteps = model.timesteps if len(example) == 3 else example[0]
    shape = (BATCH, *example) if len(example) == 3 else (timesteps, BATCH, *example[1:])
    closed = jax.make_jaxpr(run)(jax.ShapeDtypeStruct(shape, jnp.float32))
    # What the replaced calls computed leads to no result any more.
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True])
    walk = _Walk(timesteps)
    lead = 1 if len(example) == 3 else 2
    start = walk.node("input", (), shape[lead:], name="input")
    (result,) = walk.through(jaxpr, [_Value(start, lead)])
    nodes = list(walk.nodes.values())
    sums = [node.kind for node in nodes if node.kind.startswith("sum")]
    if sums or nodes[-1].name != result.node or nodes[-1].kind != "average_time":
        raise _unknown((*sums, nodes[-1].kind)[0])
    return nodes


def _describe(module) -> tuple[str, dict]:
    """A module's kind and what a reader must know of it beside its arrays."""
    if isinstance(module, Spiking):
        return "spiking", {}
    if isinstance(module, nn.Dense):
        return "dense", {}
    path = "/".join(module.path)
    pads = {side for pair in module.padding for side in pair} if module.padding != "SAME" else {}
    strides = module.strides if isinstance(module.strides, tuple) else (module.strides or 1,) * 2
    others = (module.kernel_dilation, module.input_dilation, module.feature_group_count)
    if len(pads) != 1 or len(set(strides)) != 1 or set(others) - {1, None}:
        raise ConfigError(
            f"{path}: the export knows convolutions of one stride and one padding, without "
            "dilation and groups"
        )
    return "convolution", {"stride": strides[0], "padding": pads.pop()}


class _Value(NamedTuple):
    """A node's result in the traced program; lead is 2 for (T, B, ...), 1 for (T*B, ...)."""

    node: str
    lead: int


class _Walk:
    """Turns equations into nodes; `nodes` are all so far, by name."""

    def __init__(self, timesteps: int):
        self.nodes: dict[str, Node] = {}
        self._timesteps = timesteps

    def node(self, kind, inputs, shape, *, name=None, **fields) -> str:
        """Adds a node and returns its name."""
        count = sum(node.kind == kind for node in self.nodes.values())
        name = name or f"{kind}_{count + 1}"
        self.nodes[name] = Node(name, kind, tuple(inputs), tuple(map(int, shape)), fields)
        return name

    def through(self, jaxpr, arguments: list) -> list:
        """Values of a jaxpr's results for those of its arguments."""
        known = dict(zip(jaxpr.invars, arguments, strict=True))

        def read(variable):
            return variable.val if isinstance(variable, Literal) else known[variable]

        for equation in jaxpr.eqns:
            name = equation.primitive.name
            inputs = [read(variable) for variable in equation.invars]
            if "jaxpr" in equation.params and name in ("jit", "pjit"):
                results = self.through(equation.params["jaxpr"].jaxpr, inputs)
            elif not isinstance(inputs[0], _Value) and name == "convert_element_type":
                results = inputs
            else:
                handler = getattr(self, f"_{name}", None)
                if handler is None or not isinstance(inputs[0], _Value):
                    raise _unknown(name)
                results = [handler(equation, *inputs)]
            known.update(zip(equation.outvars, results, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _same(self, equation, x):
        return x

    _convert_element_type = _stop_gradient = _copy = _same

    def _layer(self, equation, x):
        p = equation.params
        shape = p["shape"][x.lead :]
        return _Value(
            self.node(p["kind"], [x.node], shape, name=p["path"], **dict(p["fields"])), x.lead
        )

    def _reshape(self, equation, x):
        new = equation.params["new_sizes"]
        old = self.nodes[x.node].shape
        lead = 2 if new[:2] == (self._timesteps, BATCH) else 1
        if lead == 1 and new[0] not in (BATCH, self._timesteps * BATCH):
            raise _unknown(f"reshape to {new}")
        if new[lead:] == old:
            return _Value(x.node, lead)
        if new[lead:] not in ((math.prod(old),), (1, 1, math.prod(old))):
            raise _unknown(f"reshape to {new}")
        return _Value(self.node("flatten", [x.node], new[lead:]), lead)

    def _broadcast_in_dim(self, equation, x):
        shape = self.nodes[x.node].shape
        if x.lead != 1 or equation.params["shape"] != (self._timesteps, BATCH, *shape):
            raise _unknown("broadcast_in_dim")
        return _Value(self.node("repeat", [x.node], shape, timesteps=self._timesteps), 2)

    def _add(self, equation, x, y):
        if not isinstance(y, _Value):
            raise _unknown("add")
        shape = self.nodes[x.node].shape
        return _Value(self.node("add", [x.node, y.node], shape), x.lead)

    def _pool(self, equation, x, kind):
        p = equation.params
        size, stride = p["window_dimensions"][x.lead], p["window_strides"][x.lead]
        space = ((p["padding"][x.lead][0],) * 2,) * 2
        shape = equation.outvars[0].aval.shape
        plain = (
            p["window_dimensions"] == (1, size, size, 1)
            and p["window_strides"] == (1, stride, stride, 1)
            and p["padding"] == ((0, 0), *space, (0, 0))
        )
        if x.lead != 1 or not plain:
            raise _unknown(f"{kind} with {p}")
        fields = {"size": size, "stride": stride, "padding": space[0][0]}
        return _Value(self.node(kind, [x.node], shape[1:], **fields), 1)

    def _reduce_window_sum(self, equation, x):
        return self._pool(equation, x, "sum_pool")

    def _reduce_window_max(self, equation, x):
        return self._pool(equation, x, "max_pool")

    def _over(self, equation, x, kind):
        axes = tuple(equation.params["axes"])
        shape = self.nodes[x.node].shape
        if x.lead == 2 and axes == (2, 3) and len(shape) == 3:
            return _Value(self.node(f"{kind}_space", [x.node], shape[2:]), 2)
        if (x.lead, axes, kind) == (2, (0,), "sum"):
            return _Value(self.node("sum_time", [x.node], shape), 1)
        raise _unknown(f"{kind} over axes {axes}")

    def _reduce_sum(self, equation, x):
        return self._over(equation, x, "sum")

    def _reduce_max(self, equation, x):
        return self._over(equation, x, "max")

    def _div(self, equation, x, by):
        """Makes a sum an average: a sum may be divided by its size and nothing else."""
        node = self.nodes[x.node]
        count = {
            "sum_pool": node.fields.get("size", 0) ** 2,
            "sum_space": math.prod(self.nodes[node.inputs[0]].shape[:2]) if node.inputs else 0,
            "sum_time": self._timesteps,
        }.get(node.kind)
        if isinstance(by, _Value) or count is None or np.float32(by) != np.float32(count):
            raise _unknown(f"division after {node.kind}")
        del self.nodes[x.node]
        kind = node.kind.replace("sum", "average")
        return _Value(self.node(kind, node.inputs, node.shape, **node.fields), x.lead)

    def _slice(self, equation, x):
        p, shape = equation.params, (BATCH * self._timesteps, *self.nodes[x.node].shape)
        strides = tuple(p["strides"] or (1,) * len(shape))
        whole = not any(p["start_indices"]) and tuple(p["limit_indices"]) == shape
        if x.lead != 1 or not whole or strides != (1, strides[1], strides[1], 1):
            raise _unknown("slice")
        new = equation.outvars[0].aval.shape[1:]
        return _Value(self.node("subsample", [x.node], new, stride=int(strides[1])), 1)

    def _pad(self, equation, x, value):
        shape = self.nodes[x.node].shape
        new = equation.outvars[0].aval.shape[1:]
        config = [tuple(map(int, sides)) for sides in equation.params["padding_config"]]
        expected = [(0, 0, 0)] * 3 + [(0, new[-1] - shape[-1], 0)]
        if x.lead != 1 or config != expected or isinstance(value, _Value) or np.any(value):
            raise _unknown("pad")
        return _Value(self.node("pad_channels", [x.node], new), 1)


def _unknown(what: str) -> ConfigError:
    return ConfigError(f"{what}: the export does not know this operation of the model")
