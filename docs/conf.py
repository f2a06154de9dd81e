"""The site: `sphinx-build -W -c docs . site`. Pages are where they are in the repository."""

import importlib
import os
import pkgutil
import re
import shutil
import sys
import typing

typing.GENERATING_DOCUMENTATION = True  # jaxtyping then says Array, without its module
sys.path.insert(0, os.path.abspath(".."))
import lnm_jax  # noqa: E402

project = "lnm_jax"
release = lnm_jax.__version__
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "docs/api/*", "notebooks/*.ipynb", "benchmarks/*.md"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"lnm_jax {release}"

myst_heading_anchors = 4
nb_execution_mode = "off"  # tests/test_notebooks.py runs them

highlight_language = "text"  # equations of docstrings
default_role = "code"  # docstrings write `code` as Markdown does
autodoc_default_options = {
    "member-order": "bysource",
    "members": True,
    "special-members": "__call__",
}
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_attr_annotations = False  # they stand in the signature
python_maximum_signature_line_length = 80

MENU = {  # what a pattern matches stands once, where it is first named
    "Pages": "docs/use docs/neurons docs/networks docs/data docs/runs docs/learning docs/*",
    "Tutorials": "notebooks/*",
    "Reference": "docs/api/*",
    "Project": "CHANGELOG CONTRIBUTING benchmarks/README",
}


def setup(app):
    """Connects what follows."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", add_menu)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", as_sphinx_reads, priority=400)  # napoleon has 500
    app.connect("build-finished", make_start_page)


def write_reference(app):
    """A page a package: what it offers, then what else its modules have."""
    folder = os.path.join(app.srcdir, "docs", "api")
    os.makedirs(folder, exist_ok=True)
    for package in lnm_jax.PACKAGES:
        module = importlib.import_module(f"lnm_jax.{package}")
        offered = public(module, module.__name__)
        text = "".join(section(module, dict(sorted(offered.items())), "="))
        if package == "configs":
            text += ".. literalinclude:: ../../lnm_jax/configs/base.py\n\n"
        for info in pkgutil.walk_packages(module.__path__, f"{module.__name__}."):
            if not info.name.endswith("__main__"):
                part = importlib.import_module(info.name)
                rest = public(part, info.name)
                rest = {key: item for key, item in rest.items() if offered.get(key) is not item}
                text += "".join(section(part, rest, "-"))
        with open(os.path.join(folder, f"{package}.rst"), "w") as file:
            file.write(text)


def public(module, defined):
    """Names of its functions and classes that are defined in a package or module, in order."""
    return {
        name: item
        for name, item in vars(module).items()
        if callable(item) and name[0] != "_" and f"{item.__module__}.".startswith(f"{defined}.")
    }


def section(module, items, underline):
    """A heading, the module's docstring, and an entry for each item."""
    name = module.__name__
    yield f"{name}\n{underline * len(name)}\n\n.. automodule:: {name}\n"
    yield "   :no-members:\n   :no-index:\n\n"
    for key, item in items.items():
        yield f".. auto{'class' if isinstance(item, type) else 'function'}:: {name}.{key}\n\n"


def add_menu(app, docname, source):
    """Adds the menu, which GitHub would show as text, to the start page."""
    if docname == root_doc:
        for caption, pages in MENU.items():
            pages = pages.replace(" ", "\n")
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n{pages}\n```\n"


def skip(app, what, name, item, skipped, options):
    """Fields of named tuples stand in the docstring of their class."""
    return True if type(item).__name__ == "_tuplegetter" else None


def shorten(app, what, name, item, options, signature, result):
    """Leaves out what every Flax module has, and names classes and functions by their names."""
    if not signature:
        return None
    signature = re.sub(r", parent: .*\)$", ")", signature)
    return re.sub(r"<(?:class|function) '?([\w.]+)[^>]*>", r"\1", signature), result


def as_sphinx_reads(app, what, name, item, options, lines):
    """Docstrings say `Returns: x` on one line and indent equations; stars and bars are plain."""
    text = "\n".join(lines)
    # Code, bold and indented equations are kept as they are.
    plain = r"`[^`]*`|(?<!\w)\*\*[^*\n]+\*\*|(?<=\n\n)(?: +\S.*\n?)+|([*|])"
    text = re.sub(plain, lambda found: "\\" * bool(found[1]) + found[0], text)
    for pattern, replacement in (
        (r"\n\n(?=  )", r"\n\n::\n\n"),
        (r"^Attributes beside .*:$", r"\g<0>\n\nAttributes:"),
        (r"^Returns: ", r"\n:returns: "),
        (r"^Raises: (\w+Error|Damage|Interrupted)\b[,;]? ?", r"\n:raises \1: "),
        (r"^(Args|Raises|References): ", r"\n:\1: "),
    ):
        text = re.sub(pattern, replacement, text, flags=re.M)
    lines[:] = text.split("\n")


def make_start_page(app, error):
    """README.html is the start page."""
    if not error:
        shutil.copy(f"{app.outdir}/README.html", f"{app.outdir}/index.html")
