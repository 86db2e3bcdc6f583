"""Sphinx: `make docs` writes build/docs/index.html; warnings are errors."""

import djinnload

project = "djinnload"
author = "the djinnload authors"
copyright = "2026, the djinnload authors"  # noqa: A001 - Sphinx's name for it
release = djinnload.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "djinnload"
html_copy_source = False
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "fieldlist"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
copybutton_prompt_text = "$ "
nitpicky = False
exclude_patterns = ["build"]
