"""Hypothesis strategies for what flows through Mobiprox. Needs hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from mobiprox_core.configuration import Configuration, KnobSetting, Setting
from mobiprox_core.graph import Activation, Graph
from mobiprox_core.interfaces import Observation, Options, Technique

from . import graphs

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "exact")
knob_settings = st.builds(
    lambda technique, knobs: KnobSetting.of(technique, **knobs),
    names,
    st.dictionaries(names.filter(lambda name: name != "technique"), st.integers(-99, 99) | names, max_size=3),
)
settings = st.builds(lambda parts: Setting(tuple(parts)), st.lists(knob_settings, max_size=3))
configurations = st.builds(Configuration, st.dictionaries(names, settings, max_size=4))
activations = st.none() | st.sampled_from(
    [graphs.RELU, graphs.TANH, Activation("clip", low=0.0, high=6.0), Activation("leaky_relu", alpha=0.1), Activation("sigmoid")]
)


@st.composite
def convolutions(draw: st.DrawFn, largest: int = 9) -> Graph:
    """A convolution of any kind (1-D, grouped, depthwise, dilated, unevenly padded) whose maps have at most `largest` rows and columns."""
    plane = draw(st.booleans())
    kernel = (draw(st.integers(1, 4)) if plane else 1, draw(st.integers(1, 4)))
    dilations = (draw(st.integers(1, 2)) if plane else 1, draw(st.integers(1, 2)))
    group = draw(st.integers(1, 4))
    span = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    around = st.integers(0, 2)
    pads = (draw(around), draw(around), draw(around), draw(around)) if plane else (0, draw(around), 0, draw(around))
    least = [max(1, span[0] - pads[0] - pads[2]), max(1, span[1] - pads[1] - pads[3])]
    height, width = (draw(st.integers(low, max(low, largest))) for low in least)
    return graphs.convolution(
        batch=draw(st.integers(1, 2)),
        channels=group * draw(st.integers(1, 5)),
        filters=group * draw(st.integers(1, 5)),
        size=(height, width) if plane else (width,),
        kernel=kernel,
        strides=(draw(st.integers(1, 3)) if plane else 1, draw(st.integers(1, 3))),
        pads=pads,
        dilations=dilations,
        group=group,
        activation=draw(activations),
        residual=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


@st.composite
def dense_layers(draw: st.DrawFn) -> Graph:
    """A dense layer over a batch, or over the rows of a sequence."""
    return graphs.dense(
        rows=tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))),
        features=draw(st.integers(1, 40)),
        outputs=draw(st.integers(1, 40)),
        activation=draw(activations),
        residual=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


@st.composite
def offered(draw: st.DrawFn, technique: Technique, graph: Graph, options: Options | None = None) -> KnobSetting | None:
    """One of the settings that a technique offers for the operator under test; None where there is none."""
    found = tuple(technique.settings(graph["op"], graph, options or {}))
    return draw(st.sampled_from(found)) if found else None


observations = st.builds(
    Observation,
    label=st.integers(0, 9),
    confidence=st.floats(0, 1),
    level=st.integers(0, 9),
    battery=st.none() | st.floats(0, 1),
    charging=st.none() | st.booleans(),
    temperature_c=st.none() | st.floats(-20, 100),
    deadline_ms=st.none() | st.floats(0, 1e6),
)
