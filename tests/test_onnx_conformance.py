"""The cases of the `onnx` package, run by the NumPy reference. The device backends run the same cases."""

import numpy as np
import pytest
from onnx_cases import LEFT_OUT, OPERATORS, NodeCase, float32_cases, left_out_cases

from mobiprox_core import reference
from mobiprox_core.errors import UnsupportedOperator
from mobiprox_core.network import Network


@pytest.mark.parametrize("case", float32_cases(), ids=lambda case: case.name)
def test_a_network_of_one_node_gives_what_onnx_says(case: NodeCase) -> None:
    network = Network.from_model(case.model, case.name)
    outputs = reference.run(network.at_batch(network.batch or 1), case.inputs)
    for ours, expected in zip(outputs, case.outputs, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("case", left_out_cases(), ids=lambda case: case.name)
def test_a_case_is_left_out_only_where_the_network_is_refused(case: NodeCase) -> None:
    with pytest.raises(UnsupportedOperator):
        Network.from_model(case.model, case.name)


def test_the_list_of_left_out_cases_names_cases_that_exist() -> None:
    assert {case.name for case in left_out_cases()} == set(LEFT_OUT)


def test_every_operator_has_a_case() -> None:
    assert {case.operator for case in float32_cases()} == set(OPERATORS)
