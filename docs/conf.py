"""The documentation site: ``make docs``; warnings are errors."""

from __future__ import annotations

import sys
from pathlib import Path

from mobiprox_core import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "Mobiprox"
author = "the authors of Mobiprox"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx_click", "sphinx_copybutton", "generated"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
exclude_patterns = ["_build"]
nitpicky = False  # types of numpy's and of typing's are not all in an inventory

html_theme = "furo"
html_title = "Mobiprox"
html_static_path: list[str] = []
html_show_copyright = False
