"""How the site is built: `make docs`. Pages are Markdown and notebooks, also read as they are.

The source directory is the project's folder, so that links between pages are the same on the
site and where the code is hosted.
"""

import warnings

import MRzeroCore  # noqa: F401 - whose import makes every warning visible
from docutils.nodes import SkipNode
from latex2mathml.converter import convert

# What packages say of their own next versions is nothing about these pages
warnings.simplefilter("ignore")

project = "pulseq-zero"
author = "The pulseq-zero developers"
copyright = author

extensions = ["myst_nb", "sphinx_external_toc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

external_toc_path = "docs/_toc.yml"
external_toc_exclude_missing = True
# Pages that are named by glob may be missing
suppress_warnings = ["etoc.glob"]
exclude_patterns = [".*", "results", "site", "src", "tests", "workflow", "README.md"]
exclude_patterns += ["docs/package.md"]  # for the package index

myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3

# What is shown was computed by this version
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True

napoleon_google_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
default_role = "py:obj"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "pulseq-zero"
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_extra_path = ["_static/index.html"]
html_static_path = ["_static"]
html_css_files = ["site.css"]


def setup(app):
    """Render mathematics as MathML, which browsers show without scripts or a network."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))


def _inline_math(translator, node):
    translator.body.append(_mathml(node, "inline"))
    raise SkipNode


def _block_math(translator, node):
    translator.body.append(f"<div class='math'>{_mathml(node, 'block')}</div>")
    raise SkipNode


def _mathml(node, display):
    mathml = convert(node.astext(), display=display)
    if "\\" in mathml:
        raise ValueError(f"there is a command in {node.astext()!r} that has no MathML")
    return mathml
