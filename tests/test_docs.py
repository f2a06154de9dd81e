"""The Python of the docs runs as it stands, and what they link to is there."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lnm_jax import neurons
from lnm_jax.neurons import kernel, over_time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/use.md", "docs/neurons.md", "docs/networks.md"]
)
def test_the_pages_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where docs/use.md trains
    namespace = {}
    assert blocks(page)
    for block in blocks(page):
        assert len(block.splitlines()) <= 24  # a block of docs/use.md: 20 and blank lines
        exec(compile(block, page, "exec"), namespace)
    assert np.isin(np.asarray(namespace["spikes"]), [0, 1]).all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, section = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if section else []
        assert not section or section in {h.lower().replace(" ", "-") for h in headings}, link


@pytest.mark.usefixtures("pretend_gpu")
def test_a_users_neuron_is_short_and_gets_every_backend():
    source = next(block for block in blocks("docs/neurons.md") if "def resonate" in block)
    body = source.split('"""')[2].split("return neurons.Neuron")[0]
    assert len([line for line in body.splitlines() if line.strip()]) < 15
    namespace = {"jnp": jnp, "jax": jax, "neurons": neurons, "currents": jnp.zeros((2, 3))}
    exec(source, namespace)
    neuron = namespace["resonate"]()
    params = neuron.init(jax.random.key(0))
    currents = jax.random.normal(jax.random.key(1), (6, 40)) + 0.3
    weights = jax.random.normal(jax.random.key(2), currents.shape)
    results = []
    for run in (
        over_time.scan,
        lambda *args: neurons.run(*args, backend="fused"),
        lambda *args: kernel.run(*args, True),
    ):
        loss = lambda p, c, run=run: (run(neuron, p, c) * weights).sum()
        results.append(jax.jit(jax.value_and_grad(loss, (0, 1)))(params, currents))
    assert 0 < over_time.scan(neuron, params, currents).mean() < 1
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), other, results[0])
    assert kernel.refusal(neuron, params, currents) is None
