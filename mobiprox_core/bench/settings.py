"""What ``--set`` means: a setting for every operator that can take it, or one for each operator that is named."""

from __future__ import annotations

from collections.abc import Mapping

from ..configuration import Configuration, OpId, Setting
from ..errors import UsageError
from ..graph import Graph
from ..interfaces import Technique
from ..session import checked_setting, legal_settings

EVERYWHERE = "--set"
_FORM = "write 'perforation(axis=rows, offset=1, stride=2)', or 'conv1: SETTING; conv2: SETTING'"


def configuration(text: str, graph: Graph, techniques: Mapping[str, Technique]) -> Configuration:
    """The configuration that a text spells.

    ``SETTING`` goes to every operator; of a setting with several parts, each operator takes those that are legal for it.
    ``OPERATOR: SETTING; OPERATOR: SETTING`` names the operators; the others are exact.

    Raises UsageError for an unknown operator or technique, and for a setting that is illegal there or everywhere.
    """
    named = _named(text) if ":" in text else {}
    legal = {op.name: legal_settings(op, graph, techniques, fitted=True, wanted=named.get(op.name, text)) for op in graph.operators}
    if named:
        chosen = {name: checked_setting(name, setting, legal, techniques, fitted=True) for name, setting in named.items()}
    else:
        anywhere = tuple(dict.fromkeys(setting for settings in legal.values() for setting in settings))
        setting = checked_setting(EVERYWHERE, text, {EVERYWHERE: anywhere}, techniques, fitted=True)
        chosen = {op: Setting(tuple(part for part in setting if Setting((part,)) in settings)) for op, settings in legal.items()}
    found = Configuration(chosen)
    if not found.settings:
        raise UsageError(f"'{text}' approximates nothing; the exact network is measured anyway", where=EVERYWHERE, mend=_FORM)
    return found


def _named(text: str) -> dict[OpId, str]:
    """Operator -> setting; operators may have colons in their names, settings have none."""
    chosen: dict[OpId, str] = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        name, colon, setting = (part.strip() for part in entry.rpartition(":"))
        if not (name and colon and setting):
            raise UsageError(f"'{entry}' does not say which operator and setting", where=EVERYWHERE, mend=_FORM)
        if name in chosen:
            raise UsageError(f"operator '{name}' is set twice", where=EVERYWHERE, mend="join settings of one operator with ' + '")
        chosen[name] = setting
    return chosen
