"""Contracts of an installed plugin without a test file, and the pytest plugin that lets its own tests go first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mobiprox_core import plugins
from mobiprox_core.interfaces import Offer

from . import CONTRACTS, Contract, DistributionContract

AUTOMATIC = "automatic"


def contracts(entries: Sequence[str], source: Path | None, options: Mapping[str, Any], folder: Path) -> dict[str, type[Contract]]:
    """Name -> a class for each distribution, and for each offer. folder: what paths in options are relative to."""
    made: dict[str, type[Contract]] = {}
    registry = plugins.load(entries)
    for record in registry.plugins:
        name = f"Test{_camel(record.name)}Distribution"
        made[name] = _subclass(name, DistributionContract, {"plugin": record.name, "source": source})
        for kind, names in record.offers.items():
            for offered in names:
                name = f"Test{_camel(offered)}{_camel(kind)}"
                if kind in CONTRACTS and offered in registry.names(kind):
                    made[name] = _of_offer(name, kind, registry.get(kind, offered), options, folder)
    return made


def _of_offer(name: str, kind: str, offer: Offer, options: Mapping[str, Any], folder: Path) -> type[Contract]:
    contract = CONTRACTS[kind]
    known = offer.options.get("properties", {})
    given = {key: value for key, value in options.items() if key in known}
    made = _subclass(name, contract, {contract.subject: offer, "options": given, **({"folder": folder} if given else {})})
    setattr(made, AUTOMATIC, True)
    if lacking := [key for key in offer.options.get("required", ()) if key not in given]:
        reason = f"{offer.name} needs options: --options '{{{', '.join(f'{key}: ...' for key in lacking)}}}'"
        return pytest.mark.skip(reason=reason)(made)
    if kind == "dataset" and not getattr(offer, "splits", ()):
        return pytest.mark.skip(reason=f"{offer.name} names no splits: only its own tests can give some")(made)
    return made


def _subclass(name: str, contract: type[Contract], values: Mapping[str, Any]) -> type[Contract]:
    """A contract whose fixtures return these values."""
    fixtures = {key: pytest.fixture(lambda self, value=value: value) for key, value in values.items()}
    return type(name, (contract,), {"__module__": __name__, "__doc__": contract.__doc__, **fixtures})


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where a plugin's own tests hold the contract of a kind, with deviations marked, the automatic one is left out."""
    own = {cls.kind for cls in _classes(items) if not getattr(cls, AUTOMATIC, False)}
    surplus = [item for item in items if (cls := getattr(item, "cls", None)) and getattr(cls, AUTOMATIC, False) and cls.kind in own]
    if surplus:
        config.hook.pytest_deselected(items=surplus)
        items[:] = [item for item in items if item not in surplus]


def _classes(items: Iterable[pytest.Item]) -> set[type[Contract]]:
    return {cls for item in items if isinstance(cls := getattr(item, "cls", None), type) and issubclass(cls, Contract) and cls.kind}
