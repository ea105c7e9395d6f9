"""What every frontend owes: a network that core takes, and a mendable error for every file that is none."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobiprox_core import reference
from mobiprox_core.errors import ExperimentError, MobiproxError
from mobiprox_core.interfaces import Frontend, Options
from mobiprox_core.network import Network

from .contract import Contract, missing
from .offer import check_description, check_loads_lightly, path_options


class FrontendContract(Contract):
    """Give the fixtures `frontend`, `options` (of a small network) and `folder`, to which its paths are relative."""

    kind = "frontend"
    subject = "frontend"

    @pytest.fixture
    def frontend(self) -> Frontend:
        missing("FrontendContract", "frontend", "your frontend")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def test_it_describes_itself(self, frontend: Frontend, options: Options) -> None:
        check_description(frontend, options)

    def test_it_loads_lightly(self, frontend: Frontend) -> None:
        check_loads_lightly(frontend)

    def test_core_can_run_what_it_reads(self, frontend: Frontend, options: Options, folder: Path) -> None:
        model = frontend.load(options, folder)
        opset = model.opset_imports.get("", 0)
        assert opset >= 13, f"opset {opset}; core reads 13 and later"
        network = Network.from_model(model, "net")
        graph = network.at_batch(network.batch or 2)
        rng = np.random.default_rng(0)
        x = [rng.normal(size=spec.shape).astype(np.float32) for spec in graph.inputs]
        for output, spec in zip(reference.run(graph, x), graph.outputs, strict=True):
            assert output.shape == spec.shape
            assert np.isfinite(output).all(), f"output '{spec.name}' is not finite"

    def test_it_reads_the_same_network_every_time(self, frontend: Frontend, options: Options, folder: Path) -> None:
        digests = set()
        for seed in (0, 1):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002  # what a careless plugin draws from
            digests.add(Network.from_model(frontend.load(options, folder), "net").digest)
        assert len(digests) == 1, "another network the second time"

    def test_paths_are_relative_to_the_folder_of_the_experiment(
        self, frontend: Frontend, options: Options, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        frontend.load(options, folder)

    def test_a_file_that_is_not_there_is_an_error_that_can_be_mended(self, frontend: Frontend, options: Options, folder: Path) -> None:
        for key in path_options(frontend, options):
            with pytest.raises(ExperimentError) as caught:
                frontend.load({**options, key: "no-such-file"}, folder)
            assert "no-such-file" in str(caught.value), f"the error does not name the file of `{key}`"

    def test_a_damaged_file_is_an_error_and_never_a_crash(
        self, frontend: Frontend, options: Options, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        for key in path_options(frontend, options):
            whole = (folder / str(options[key])).expanduser()
            if not whole.is_file():
                continue
            for name, content in damaged(whole.read_bytes()).items():
                place = tmp_path_factory.mktemp("damaged")
                shutil.copytree(folder, place, dirs_exist_ok=True)
                (place / whole.name).write_bytes(content)
                _stands(frontend, {**options, key: whole.name}, place, f"`{key}`, {name}")


def damaged(whole: bytes) -> Mapping[str, bytes]:
    """Files as interrupted copies, bad disks and wrong clicks leave them."""
    broken = bytearray(whole)
    for at in range(0, len(broken), max(1, len(broken) // 50)):
        broken[at] ^= 0xFF
    return {"empty": b"", "cut off": whole[: len(whole) // 2], "bytes changed": bytes(broken), "text": b"no network at all\n"}


def _stands(frontend: Frontend, options: Mapping[str, Any], folder: Path, what: str) -> None:
    try:
        Network.from_model(frontend.load(options, folder), "net")
    except MobiproxError:
        return  # damage that changes nothing that is read is no error
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__} in place of an ExperimentError: {error}")
