"""How `make docs` builds the site: Sphinx reads the Markdown files that are read in the clone.

The source folder is that of the repository, so that every link leads where it leads there. What the
code knows better (options of the commands, keys of a profile) is added to a page while it is read.
The navigation is the index's own list. Sphinx is in place of MkDocs: it is released several times a
year, checks every link and anchor by itself, and its search needs no server. The theme asks nothing
of any server either: it has no fonts of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from docutils import nodes
from reference import options_of_commands, schema_of_profiles
from sphinx.addnodes import download_reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "adaptprune"
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = ["docs/**.md", "results/README.md", "paper_tables/README.md", "CONTRIBUTING.md"]
#: Folders of the repository that hold no page: nobody needs to walk through them.
exclude_patterns = [".*", "adaptprune", "baselines", "build", "cleaned", "tests", "results/runs"]
templates_path = ["templates"]

#: Headings are linked to as they are in a clone's web view.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "adaptprune"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_additional_pages = {"index": "first.html"}
#: A page that is complete by itself is opened, not downloaded.
html_extra_path = ["../results/leaderboard.html"]
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_use_index = False

#: What a page is lengthened by.
LENGTHENED = {"docs/commands": options_of_commands, "docs/profiles": schema_of_profiles}


def navigation(index: str) -> str:
    """Return a hidden table of contents for every part of the index: what begins its lines."""
    trees = []
    for part in re.split(r"^## ", index, flags=re.M)[1:]:
        title, _, text = part.partition("\n")
        pages = re.findall(r"^(?:-|\d+\.) \[([^\]]+)\]\(([^)#]+)\.md\)", text, re.M)
        entries = "\n".join(f"{name} <{target}>" for name, target in pages)
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n")
    return "\n".join(trees)


def lengthen(app: Sphinx, name: str, source: list[str]) -> None:
    """Add to a page's text what is made from the index or from the code."""
    if name == app.config.root_doc:
        source[0] += "\n" + navigation(source[0])
    elif name in LENGTHENED:
        source[0] += "\n" + LENGTHENED[name]()


def open_in_place(app: Sphinx, tree: nodes.document) -> None:
    """Make links to the files that lie in the site's first folder plain links."""
    whole = {Path(file).name for file in app.config.html_extra_path}
    for link in list(tree.findall(download_reference)):
        file = Path(link["reftarget"]).name
        if file in whole:
            address = "../" * app.env.docname.count("/") + file
            link.replace_self(nodes.reference("", "", *link.children, refuri=address))


def setup(app: Sphinx) -> None:
    """Let Sphinx ask before it reads a page, and before it gathers what is to be downloaded."""
    app.connect("source-read", lengthen)
    app.connect("doctree-read", open_in_place, priority=400)
