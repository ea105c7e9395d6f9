"""HPVM's integer knob ids, for exchange with its configuration files. Each technique knows its own; core knows 11, exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from .configuration import EXACT, Setting
from .errors import PluginError
from .interfaces import Technique

EXACT_ID = 11


@runtime_checkable
class Exchangeable(Protocol):
    """A technique with HPVM ids of its own."""

    def exchange_ids(self) -> Mapping[int, Setting]:
        """Id -> what it means. A setting may compose techniques of other plugins; where one of those is missing, its id is unknown."""


def ids(techniques: Iterable[Technique]) -> Mapping[int, Setting]:
    """Every id that these techniques can express, ascending; no two ids mean the same.

    Raises PluginError where two techniques claim one id, or give one setting two ids.
    """
    offered = {technique.name: technique for technique in techniques}
    meaning = {EXACT_ID: EXACT}
    number = {EXACT: EXACT_ID}
    for name, technique in sorted(offered.items()):
        if not isinstance(technique, Exchangeable):
            continue
        for id, setting in technique.exchange_ids().items():
            if any(part.technique not in offered for part in setting):
                continue
            if id in meaning or setting in number:
                taken = f"{id} means '{meaning[id]}'" if id in meaning else f"'{setting}' is {number[setting]}"
                raise PluginError(
                    f"technique '{name}' says that HPVM's id {id} is '{setting}', but {taken}", mend="remove one of the two plugins"
                )
            meaning[id] = setting
            number[setting] = id
    return MappingProxyType(dict(sorted(meaning.items())))


def numbers(ids: Mapping[int, Setting]) -> Mapping[Setting, int]:
    """The inverse of `ids`."""
    return MappingProxyType({setting: id for id, setting in ids.items()})
