"""Sphinx, for the site that tools/docs_site assembles in build/docs/source."""

from __future__ import annotations

project = "llm.serving"
author = "the llm.serving maintainers"
project_copyright = author
html_title = "llm.serving"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
root_doc = "index"
myst_heading_anchors = 4
nitpicky = True
# Types of modules' own options are words, not objects with a page.
nitpick_ignore_regex = [("ansplugin", r"ansible\.builtin\..*"), ("std:ref", r"ansible_collections\.ansible\..*")]

html_theme = "sphinx_ansible_theme"
html_theme_options = {"topbar_links": {}, "navigation_depth": 3}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "ansible"
highlight_language = "none"
suppress_warnings = ["misc.highlighting_failure"]
