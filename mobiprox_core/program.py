"""OpenCL C source of a plan: core's functions, techniques' functions, one instance per tile and storage, and the wrapping kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .isa import TARGETS
from .labelling import FUNCTION as LABEL
from .plan import ROW_INTS, DeviceInfo
from .tables import FLOAT32, Form, KernelSource, Storage

STATIC_FILES = ("gather.cl", "rows.cl", "matmul.cl", "label.cl")
FAMILIES = ("elementwise", "pool")
"""Files of several functions each, which are instantiated for the forms that they read and write."""

ISA_TARGETS = {"generic": "", "avx2": "avx,avx2,fma", "avx512": "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq"}
"""What compiles a function for an instruction set, whatever the runtime's own target is (clang-based CPU runtimes)."""

DEFAULT_STORAGE = {
    "X_TYPE": "float",
    "LOAD_X(p)": "(*(p))",
    "LOAD_V(p)": "VECTOR(p)",
    "W_TYPE": "float",
    "LOAD_W(p)": "VECTOR(p)",
    "SCALAR": "float",
    "ACC": "VEC",
    "WEIGHTS": "ACC",
    "TO_VEC(c)": "(c)",
    "ACCUMULATE(c, x, w)": "((x) * (w) + (c))",
}

PLAIN = Form("float32", "float", 4, "write_float", "read_float")
"""The form of tensors that nobody reads in another one."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a generated function: template file (without .cl; or a technique's function, for any form), its macros (such as the
    register tile), storage, the forms in which it reads (convolutions and fills: the residual) and writes, and what of the file is instantiated."""

    template: str
    macros: tuple[tuple[str, int], ...] = ()
    storage: Storage = FLOAT32
    reads: Form = PLAIN
    writes: Form = PLAIN

    @property
    def name(self) -> str:
        return "_".join([self.template, "x".join(str(value) for _, value in self.macros), self.storage.name]) + self.suffix

    @property
    def suffix(self) -> str:
        """Of the functions of a family."""
        roles = (("from", self.reads), ("to", self.writes))
        return "".join(f"_{role}_{form.name}" for role, form in roles if form.name != PLAIN.name)


@dataclass(frozen=True, slots=True)
class Chain:
    """A function that runs units of others, one after another. descriptor: 3 entries for each of them: its row, a table of its units
    ([units of the chain][count]), and their count."""

    functions: tuple[str, ...]

    @property
    def name(self) -> str:
        return "_then_".join(self.functions)


@cache
def kernel_text(name: str) -> str:
    return (files("mobiprox_core") / "kernels" / name).read_text()


def assemble(
    device: DeviceInfo, used: Iterable[str], instances: Iterable[Instance | Chain], sources: Iterable[KernelSource]
) -> tuple[str, tuple[str, ...]]:
    """Source and function names (sorted: the cases of the network kernel) for the functions `used`, and for labels.

    Functions that nothing uses stay in the text, unwrapped: the compiler drops them. Of the three ways to launch, a build may define the one
    that it wants: ONLY_OPERATORS, ONLY_NETWORK or ONLY_TEAM. Each holds all functions once, and compiling them is most of the work.
    """
    functions = tuple(sorted({*used, LABEL}))
    parts = [preamble(device), kernel_text("common.cl"), *(kernel_text(name) for name in STATIC_FILES), kernel_text("tiles.cl")]
    given = {source: f"// from {source.origin}\n{source.text}" for source in sources}
    parts += [text for source, text in given.items() if not source.any_form]
    brought = {function: text for source, text in given.items() if source.any_form for function in source.functions}
    wanted = sorted({*(Instance(family) for family in FAMILIES), *instances}, key=lambda i: i.name)
    parts += [_instantiate(i, brought.get(i.template) or kernel_text(f"{i.template}.cl")) for i in wanted if isinstance(i, Instance)]
    parts += [_chain(chain) for chain in wanted if isinstance(chain, Chain)]
    parts += [_wrap(functions)]
    if device.kind == "cpu":
        parts += [_network_kernel(functions)]
    return "\n".join(parts), functions


def preamble(device: DeviceInfo) -> str:
    """What `common.cl` and all functions take for granted."""
    n = device.vector
    lines = [
        f"#define VL {n}",
        f"#define BLOCK {device.block}",
        f"#define VEC float{n}",
        f"#define IVEC int{n}",
        f"#define AS_VEC as_float{n}",
        f"#define AS_IVEC as_int{n}",
        f"#define ISA {_isa(device)}",
        "#define UNIT static ISA" + (" __attribute__((noinline))" if device.kind == "cpu" else ""),
        f"#define ROW {ROW_INTS + 2}",
        *(["#define CPU"] if device.kind == "cpu" else []),
    ]
    return "\n".join(lines)


def _isa(device: DeviceInfo) -> str:
    targets = ",".join([ISA_TARGETS[device.isa], *(TARGETS[feature][1] for feature in device.features if feature in TARGETS)])
    width = ", min_vector_width(512)" if device.isa == "avx512" else ""
    return f'__attribute__((target("{targets}"){width}))' if targets else ""


def _instantiate(instance: Instance, text: str) -> str:
    macros = DEFAULT_STORAGE | dict(instance.storage.defines)
    for role, form in (("S", instance.reads), ("Y", instance.writes)):
        macros |= {f"{role}_TYPE": form.type, f"READ_{role}": form.read, f"WRITE_{role}": form.write}
    macros |= {"NAME": instance.name, "MEMBER(f)": f"CAT(f, {instance.suffix})"}
    macros |= {macro: str(value) for macro, value in instance.macros}
    defined = [f"#define {macro} {value}" for macro, value in macros.items()]
    undone = [f"#undef {macro.partition('(')[0]}" for macro in macros]
    return "\n".join([*defined, text, *undone])


def _chain(chain: Chain) -> str:
    steps = [
        f"    units = INTS(descriptor[{3 * i + 1}]) + unit * descriptor[{3 * i + 2}];\n"
        f"    for (int i = 0; i < descriptor[{3 * i + 2}]; i++) {function}(arena, INTS(descriptor[{3 * i}]), units[i]);"
        for i, function in enumerate(chain.functions)
    ]
    head = f"static void {chain.name}(global uchar *arena, global const int *descriptor, int unit) {{\n    global const int *units;"
    return "\n".join([head, *steps, "}"])


def _wrap(functions: Sequence[str]) -> str:
    """One kernel per function: a work-item is a unit; the row is found by its index."""
    kernels = "\n".join(
        f"kernel void run_{name}(global uchar *arena, global const int *rows, int row) {{\n"
        f"    int unit = get_global_id(0);\n"
        f"    if (unit < rows[row * ROW + 1]) {name}(arena, rows + row * ROW + 2, unit);\n"
        f"}}"
        for name in functions
    )
    return f"#if !defined(ONLY_NETWORK) && !defined(ONLY_TEAM)\n{kernels}\n#endif"


def _network_kernel(functions: Sequence[str]) -> str:
    cases = "\n".join(f"        case {i}: {name}(arena, row + 2, unit); break;" for i, name in enumerate(functions))
    return (
        f"static void dispatch(global uchar *arena, global const int *row, int unit) {{\n    switch (row[0]) {{\n{cases}\n    }}\n}}\n"
        + kernel_text("network.cl")
    )
