"""What the reference says of plugins, made from the installed ones when the site is built.

The directive ``{plugins} KIND`` lists every offer of a kind with its options, as `mobiprox plugins info` and `mobiprox schema` have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mobiprox_core import plugins


class Offers(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        registry, kind = plugins.load(), self.arguments[0]
        lines = []
        for name in registry.names(kind):
            offer = registry.get(kind, name)
            lines += [
                f"### `{name}`",
                "",
                f"{offer.summary[0].upper()}{offer.summary[1:]}. In `{registry.provider(kind, name).distribution}`.",
                "",
            ]
            lines += _options(offer.options)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _options(options: Mapping[str, Any]) -> list[str]:
    """A table of options; nothing where there are none."""
    rows = [
        f"| `{key}` | {_values(schema)} | {_cell(schema.get('default', 'needed' if key in options.get('required', ()) else ''))} | "
        f"{_cell(schema.get('description', ''))} |"
        for key, schema in options.get("properties", {}).items()
    ]
    return ["| option | values | default | meaning |", "| --- | --- | --- | --- |", *rows, ""] if rows else []


def _values(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return _cell(", ".join(f"`{value}`" for value in schema["enum"]))
    kinds = schema.get("type", "anything")
    text = kinds if isinstance(kinds, str) else " or ".join(kinds)
    limits = [f"{word} {schema[key]}" for key, word in _LIMITS.items() if key in schema]
    return _cell(" ".join([text, *limits]))


_LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("plugins", Offers)
    return {"parallel_read_safe": True}
