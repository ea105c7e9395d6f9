"""HPVM's 56 convolution knobs, as its knob table lists them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mobiprox_core import exchange, plugins
from mobiprox_core.configuration import EXACT, Setting
from mobiprox_core.errors import PluginError

TECHNIQUES = ("perforation", "filter_sampling", "fp16")


@pytest.fixture(scope="module")
def ids() -> Mapping[int, Setting]:
    registry = plugins.load()
    missing = [name for name in TECHNIQUES if name not in registry.names("technique")]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return exchange.ids(registry.get("technique", name) for name in TECHNIQUES)


def test_a_convolution_has_56_ids(ids: Mapping[int, Setting]) -> None:
    assert list(ids) == [11, 12, *range(121, 139), *range(151, 169), *range(231, 240), *range(261, 270)]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (11, "exact"),
        (12, "fp16"),
        (121, "perforation(axis=columns, stride=2, offset=0)"),
        (124, "perforation(axis=rows, stride=2, offset=1)"),
        (125, "perforation(axis=columns, stride=3, offset=0)"),
        (130, "perforation(axis=rows, stride=3, offset=2)"),
        (131, "perforation(axis=columns, stride=4, offset=0)"),
        (138, "perforation(axis=rows, stride=4, offset=3)"),
        (151, "perforation(axis=columns, stride=2, offset=0) + fp16"),
        (168, "perforation(axis=rows, stride=4, offset=3) + fp16"),
        (231, "filter_sampling(stride=2, offset=0)"),
        (235, "filter_sampling(stride=3, offset=2)"),
        (239, "filter_sampling(stride=4, offset=3)"),
        (261, "filter_sampling(stride=2, offset=0) + fp16"),
        (269, "filter_sampling(stride=4, offset=3) + fp16"),
    ],
)
def test_ids_mean_what_the_knob_table_says(ids: Mapping[int, Setting], number: int, text: str) -> None:
    assert ids[number] == Setting.parse(text)


def test_half_precision_adds_thirty(ids: Mapping[int, Setting]) -> None:
    for number in (*range(121, 139), *range(231, 240)):
        assert ids[number + 30] == ids[number] + Setting.of("fp16")


def test_ids_and_settings_are_one_to_one(ids: Mapping[int, Setting]) -> None:
    numbers = exchange.numbers(ids)
    assert len(numbers) == 56
    assert all(numbers[Setting.parse(str(setting))] == number for number, setting in ids.items())


def test_compositions_need_all_their_techniques(ids: Mapping[int, Setting]) -> None:
    assert dict(exchange.ids([])) == {11: EXACT}
    fp16 = plugins.load().get("technique", "fp16")
    assert list(exchange.ids([fp16])) == [11, 12]


def test_two_techniques_that_claim_one_id_are_an_error() -> None:
    class Claims:
        name = "claims"

        def exchange_ids(self) -> Mapping[int, Setting]:
            return {11: Setting.of("claims")}

    with pytest.raises(PluginError, match="11 means 'exact'"):
        exchange.ids([Claims()])  # type: ignore[list-item]
