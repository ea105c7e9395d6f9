"""What every data set owes: the same samples every time, of the right types, and splits that have nothing in common."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mobiprox_core.errors import DataError
from mobiprox_core.interfaces import Dataset, Options, Samples

from .contract import Contract, missing
from .offer import check_description, check_loads_lightly, path_options


class DatasetContract(Contract):
    """Give the fixture `dataset`; `options` and `folder` where it needs any, and `splits` where its options define them.

    Splits that share samples on purpose are said to by the fixture `overlapping`.
    """

    kind = "dataset"
    subject = "dataset"

    @pytest.fixture
    def dataset(self) -> Dataset:
        missing("DatasetContract", "dataset", "your data set")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.fixture
    def splits(self, dataset: Dataset) -> Sequence[str]:
        if not dataset.splits:
            pytest.fail("the data set names no splits: give some that there are by the fixture `splits`")
        return dataset.splits

    @pytest.fixture
    def overlapping(self) -> frozenset[str]:
        """Splits that may share samples with others: a stream over the test split, for instance."""
        return frozenset()

    @pytest.fixture
    def loaded(self, dataset: Dataset, options: Options, folder: Path, splits: Sequence[str]) -> dict[str, Samples]:
        return {split: dataset.load(split, options, folder) for split in splits}

    def test_it_describes_itself(self, dataset: Dataset, options: Options) -> None:
        check_description(dataset, options)
        assert isinstance(dataset.splits, tuple)

    def test_it_loads_lightly(self, dataset: Dataset) -> None:
        check_loads_lightly(dataset)

    def test_inputs_are_finite_float32_with_the_samples_first(self, loaded: dict[str, Samples]) -> None:
        for split, samples in loaded.items():
            assert samples.inputs.dtype == np.float32, f"{split}: inputs are {samples.inputs.dtype}"
            assert samples.inputs.ndim >= 2, f"{split}: inputs have no axis but that of the samples"
            assert len(samples.inputs), f"{split}: no samples"
            assert np.isfinite(samples.inputs).all(), f"{split}: inputs that are not finite"
        assert len({samples.inputs.shape[1:] for samples in loaded.values()}) == 1, "splits of different shapes"

    def test_what_belongs_to_samples_is_one_each(self, loaded: dict[str, Samples]) -> None:
        for split, samples in loaded.items():
            for name in ("labels", "groups", "notes"):
                values = getattr(samples, name)
                assert values is None or values.shape == (len(samples.inputs),), f"{split}: {name} are not one for each input"
            for name in ("groups", "notes"):
                values = getattr(samples, name)
                assert values is None or values.dtype.kind == "U", f"{split}: {name} are not text"

    def test_labels_count_classes_from_zero(self, loaded: dict[str, Samples]) -> None:
        for split, samples in loaded.items():
            if samples.labels is None:
                continue
            assert samples.labels.dtype == np.int64, f"{split}: labels are {samples.labels.dtype}"
            assert samples.labels.min() >= 0, f"{split}: negative labels"
            if samples.classes:
                assert samples.labels.max() < len(samples.classes), f"{split}: labels beyond the {len(samples.classes)} classes"
        assert len({samples.classes for samples in loaded.values()}) == 1, "splits of different classes"

    def test_it_gives_the_same_samples_every_time(
        self, dataset: Dataset, options: Options, folder: Path, loaded: dict[str, Samples]
    ) -> None:
        random.seed()
        np.random.seed()  # noqa: NPY002  # what a careless plugin draws from
        for split, first in loaded.items():
            kept = first.inputs.copy()
            first.inputs.setflags(write=True)
            first.inputs[:] = -1  # whoever loaded it before may do with it as he likes
            again = dataset.load(split, options, folder)
            inputs = again.inputs.copy()
            first.inputs[:] = kept
            np.testing.assert_array_equal(inputs, kept, err_msg=f"{split}: inputs")
            for name in ("labels", "groups", "notes"):
                one, other = getattr(first, name), getattr(again, name)
                assert (one is None) == (other is None), f"{split}: {name}"
                if one is not None:
                    np.testing.assert_array_equal(one, other, err_msg=f"{split}: {name}")

    def test_splits_have_no_sample_in_common(self, loaded: dict[str, Samples], overlapping: frozenset[str]) -> None:
        seen = {split: {x.tobytes() for x in samples.inputs} for split, samples in loaded.items() if split not in overlapping}
        for one, other in combinations(seen, 2):
            common = len(seen[one] & seen[other])
            share = common / min(len(seen[one]), len(seen[other]))
            assert share <= 0.01, f"{common} sample(s) are in '{one}' and in '{other}': a search must not see what it is tested on"

    def test_a_split_that_is_not_there_is_an_error_that_can_be_mended(self, dataset: Dataset, options: Options, folder: Path) -> None:
        with pytest.raises(DataError) as caught:
            dataset.load("no-such-split", options, folder)
        assert "no-such-split" in str(caught.value)
        assert caught.value.mend or any(fault.mend for fault in caught.value.faults), "the error says no mend"

    def test_a_file_that_is_not_there_is_an_error_that_can_be_mended(
        self, dataset: Dataset, options: Options, folder: Path, splits: Sequence[str]
    ) -> None:
        for key in path_options(dataset, options):
            with pytest.raises(DataError):
                dataset.load(splits[0], {**options, key: "no-such-file"}, folder)
