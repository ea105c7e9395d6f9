"""Filter elements whose weights, summed over all filters, are smallest are left out: a technique at the depth of tables."""

from collections.abc import Mapping
from dataclasses import replace

from mobiprox_core.configuration import KnobSetting
from mobiprox_core.hookspecs import hookimpl
from mobiprox_core.interfaces import Approximation


def kept(setting, operator):  # bool[T]: the exact weights alone decide, so that it composes with every other technique
    import numpy as np

    size = np.abs(operator.constants["weight"]).sum(axis=0).ravel()
    return np.argsort(np.argsort(-size, kind="stable")) < max(1, round(len(size) * setting["percent"] / 100))


class Magnitude:
    name, summary, tolerance = "magnitude", "Leave out the filter elements of least weight", 1e-5
    percents: Mapping = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 99}, "default": [75, 50]}
    options: Mapping = {"type": "object", "properties": {"percents": {**percents, "description": "shares of the elements to keep"}}}
    knobs: Mapping = {"percent": "share of the filter elements that is kept"}
    slot, needs_statistics, prepare = (lambda *_: "magnitude"), (lambda *_: False), (lambda *_: {})
    kernels, lower, couplings = (lambda *_: []), (lambda *_: False), (lambda *_: [])

    def settings(self, operator, graph, options):
        return [KnobSetting.of(self.name, percent=p) for p in options.get("percents", [75, 50]) if operator.kind in ("conv", "dense")]

    def reference(self, setting, operator, graph, fitted):
        return Approximation(weight=lambda weight: weight * kept(setting, operator).reshape(weight.shape[1:]))

    def edit(self, setting, operator, tables, device, fitted):
        left = kept(setting, operator)[tables.taps]
        some = left if left.any() else slice(1)  # something must be left, if only zeros
        return replace(tables, taps=tables.taps[some], weight=(tables.weight * left)[:, some])


@hookimpl
def mobiprox_techniques():
    return [Magnitude()]
