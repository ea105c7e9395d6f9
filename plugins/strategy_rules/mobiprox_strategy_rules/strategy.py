"""Limits by rules, and any other strategy between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import MobiproxError, UsageError
from mobiprox_core.interfaces import LevelCalibration, Observation, Options, Rerun, Strategy

from .conditions import Condition, parse

if TYPE_CHECKING:
    from mobiprox_core.experiment import Choice
    from mobiprox_core.interfaces import StrategyOffer

LIMITS = ("at_least", "at_most", "exactly")


@dataclass(frozen=True, slots=True)
class Rule:
    """While `when` holds, the level is kept from `least` to `most`."""

    when: Condition
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class RulesStrategy:
    """inner: what moves the level; None for the exact network. It goes on by itself while a rule holds, and takes over after."""

    rules: tuple[Rule, ...]
    inner: Strategy | None

    def start(self) -> Any:
        return () if self.inner is None else self.inner.start()

    def step(self, state: Any, observation: Observation) -> tuple[Any, int]:
        state, wanted = (state, 0) if self.inner is None else self.inner.step(state, observation)
        level = int(wanted)
        for rule in self.rules:
            if rule.when(observation) is True:
                level = min(max(level, rule.least), rule.most)
        if isinstance(wanted, Rerun) and level < observation.level:
            return state, Rerun(level)
        return state, level


class Rules:
    """Offers the strategy ``rules``."""

    name = "rules"
    summary = "limits on the level by conditions such as 'battery < 20', over any other strategy"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "rules": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "when": {"type": "string", "minLength": 1, "maxLength": 1000},
                        **{limit: {"type": "integer", "minimum": 0} for limit in LIMITS},
                    },
                    "required": ["when"],
                    "minProperties": 2,
                    "maxProperties": 2,
                    "additionalProperties": False,
                },
                "description": "conditions, each with what it asks of the level: at_least, at_most or exactly",
            },
            "then": {
                "type": ["string", "object", "null"],
                "default": None,
                "description": "the strategy that moves the level within the limits, by name or as {NAME: {option: value}}",
            },
        },
        "required": ["rules"],
    }

    def check(self, options: Options) -> None:
        """Raises UsageError for a condition that means nothing, PluginError or UsageError for the strategy under `then`."""
        self._rules(options, levels=1)
        self._inner(options)

    def composed_of(self, options: Options) -> tuple[Choice, ...]:
        """The strategy under `then`, if any."""
        return tuple(choice for choice, _ in self._inner(options))

    def create(self, options: Options, levels: Sequence[LevelCalibration]) -> RulesStrategy:
        inner = None
        for choice, offer in self._inner(options):
            inner = offer.create(choice.options, levels)
        return RulesStrategy(self._rules(options, len(levels)), inner)

    def _rules(self, options: Options, levels: int) -> tuple[Rule, ...]:
        rules = []
        for index, entry in enumerate(options["rules"]):
            try:
                when = parse(entry["when"])
            except UsageError as error:
                error.where = f"strategy rules: rules[{index}].when"
                raise
            [limit] = entry.keys() - {"when"}
            level = min(entry[limit], levels - 1)
            rules.append(Rule(when, level if limit != "at_most" else 0, level if limit != "at_least" else levels - 1))
        return tuple(rules)

    def _inner(self, options: Options) -> tuple[tuple[Choice, StrategyOffer], ...]:
        """The checked choice under `then` with its offer; none where there is none."""
        from mobiprox_core import experiment, plugins

        if options.get("then") is None:
            return ()
        registry = plugins.load()
        chosen = experiment.choose("strategy", json.dumps(options["then"]), registry, "strategy rules: then")
        offer = registry.get("strategy", chosen.name)
        if (check := getattr(offer, "check", None)) is not None:
            try:
                check(chosen.options)
            except MobiproxError as error:
                error.where = "strategy rules: then" + (f": {error.where}" if error.where else "")
                raise
        return ((chosen, offer),)
