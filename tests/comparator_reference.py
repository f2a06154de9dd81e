"""Float64 NumPy loops of the compared methods, from their equations alone, and their gradients.

Each is `method(p, currents, fire, fixed, **fields) -> spikes` with p the parameters by name. It
asks `fire` for H(x) and `fixed` for a value without gradient, so that `Tangent` can differentiate
it by finite differences.
"""

import numpy as np


def s(x):
    return 1 / (1 + np.exp(-x))


class Tangent:
    """H and stop-gradient, for finite differences of the surrogate's gradient.

    The first pass is the real one. Later ones, each after `again`, replace H by its tangent there
    with the surrogate's slope, and a fixed value by what it was.
    """

    def __init__(self, slope):
        self.slope, self.seen, self.place = slope, [], None

    def again(self):
        self.place = iter(self.seen)

    def _remember(self, x):
        if self.place is not None:
            return next(self.place)
        self.seen.append(np.copy(x))
        return self.seen[-1]

    def fire(self, x, slope=None):
        first = self._remember(x)
        return (first >= 0) + (slope or self.slope)(first) * (x - first)

    def fixed(self, x):
        return self._remember(x)


def directional(method, slope, arguments, direction, cotangent, **fields):
    """(spikes, derivative of the sum of spikes * cotangent along a direction of (p, currents))."""
    tangent = Tangent(slope)

    def run(share):
        p, currents = arguments
        p = {name: x + share * direction[0][name] for name, x in p.items()}
        currents = currents + share * direction[1]
        return np.stack(method(p, currents, tangent.fire, tangent.fixed, **fields))

    spikes, h, ends = run(0.0), 1e-6, []
    for share in (h, -h):
        tangent.again()
        ends.append((run(share) * cotangent).sum())
    return spikes, (ends[0] - ends[1]) / (2 * h)


def clif(p, currents, fire, fixed, decay, threshold):
    spikes, v, m = [], 0.0, 0.0
    tau = 1 / (1 - decay)
    for current in currents:
        u = (1 - 1 / tau) * v + current
        z = fire(u - threshold)
        m = m * s(u / tau) + z
        v = u - z * (threshold + s(m))
        spikes.append(z)
    return spikes


def glif(p, currents, fire, fixed):
    spikes, u, z = [], 0.0, 0.0
    raw = ("gate_leak", "gate_input", "gate_reset", "tau", "linear", "subtracted", "theta")
    a, b, g, tau, linear, reset, threshold = (s(p[name]) for name in raw)
    for t, current in enumerate(currents):
        k = s(p["conductance"][min(t, len(p["conductance"]) - 1)])
        u = (
            (1 - a * (1 - tau)) * u * (1 - g * z)
            - (1 - a) * linear
            + current * (1 - b * (1 - k))
            - (1 - g) * reset * z
        )
        z = fire(u - threshold)
        spikes.append(z)
    return spikes


def glif_in_two_steps(p, currents, fire, fixed):
    """GLIF as SpikingJelly 2.0 groups it: v is charged, then reset by the spike before."""
    logistic = {name: s(value) for name, value in p.items()}
    leak, of_input, of_reset = (logistic[f"gate_{name}"] for name in ("leak", "input", "reset"))
    decayed = 1 - leak * (1 - logistic["tau"])
    spikes, v, z = [], 0.0, 0.0
    for current, conductance in zip(currents, logistic["conductance"], strict=True):
        taken_in = current * (1 - of_input * (1 - conductance))
        charged = (decayed * v - (1 - leak) * logistic["linear"]) + taken_in
        v = charged - decayed * v * of_reset * z - (1 - of_reset) * logistic["subtracted"] * z
        z = fire(v - logistic["theta"])
        spikes.append(z)
    return spikes


def ternary(p, currents, fire, fixed, decay, threshold, gate_gradient=True):
    spikes, v = [], 0.0
    for current in currents:
        u = decay * v + current
        z = fire(u - threshold) - fire(-u - threshold)
        gate = fixed(np.sign(np.round(z))) * z  # |z|; silent neurons pass no gradient
        v = u * (1 - (gate if gate_gradient else fixed(gate)))
        spikes.append(p.get("amplitude", 1.0) * z)
    return spikes


def diet(p, currents, fire, fixed):
    spikes, v = [], 0.0
    for current in currents:
        u = p["leak"] * v + current
        z = fire(u / p["theta"] - 1)
        v = u - p["theta"] * fixed(np.round(z))
        spikes.append(z)
    return spikes


def tc_lif(p, currents, fire, fixed, threshold, dendrite_reset):
    spikes, d, m = [], 0.0, 0.0
    for current in currents:
        d = d - s(p["c_1"]) * m + current
        m = m + s(p["c_2"]) * d
        z = fire(m - threshold)
        d, m = d - dendrite_reset * z, m - threshold * z
        spikes.append(z)
    return spikes


def ts_lif(p, currents, fire, fixed, threshold, dendrite_reset):
    spikes, dendrite, soma = [], 0.0, 0.0
    for current in currents:
        dendrite = p["pp"] * dendrite + p["p_input"] * current - p["pq"] * soma
        soma = p["qq"] * soma + p["q_input"] * current - p["qp"] * dendrite
        short, long = fire(soma - threshold), fire(dendrite - threshold)
        dendrite, soma = dendrite - dendrite_reset * long, soma - threshold * short
        spikes.append(p["short"] * short + p["long"] * long)
    return spikes


def lsg(p, currents, fire, fixed, threshold):
    spikes, v = [], 0.0
    for current in currents:
        b = s(p["w"])
        width = fixed(2 * threshold * np.sqrt(1 + b**2))
        u = b * v + current
        z = fire(u - threshold, lambda x, width=width: (np.abs(x) < width / 2) / width)
        v = u * (1 - z)
        spikes.append(z)
    return spikes


def psn(p, currents, fire, fixed):
    return fire(np.einsum("ij,j...->i...", p["weights"], currents) + p["c"][:, None])


def masked_psn(p, currents, fire, fixed, order, masking):
    timesteps = len(currents)
    mask = np.array(
        [[j <= i <= j + order - 1 for j in range(timesteps)] for i in range(timesteps)], float
    )
    weights = p["weights"] * (masking * mask + (1 - masking))
    return psn({"weights": weights, "c": p["c"]}, currents, fire, fixed)


def sliding_psn(p, currents, fire, fixed):
    order, mixed = len(p["weights"]), np.zeros_like(currents)
    for t in range(len(currents)):
        for i in range(order):
            if t - order + 1 + i >= 0:
                mixed[t] += p["weights"][i] * currents[t - order + 1 + i]
    return fire(mixed + p["c"])
