"""The exported project compiles for three ABIs: clang and lld, headers of our own, and libraries of names only.

It shows what the code imports and that it needs nothing else. It does not show that it runs on a phone: nothing here is the NDK's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mobiprox_backend_native.build import SOURCES

HERE = Path(__file__).resolve().parent
BIONIC = HERE / "bionic"
LIBRARIES = {
    "libc": "__cxa_atexit __cxa_finalize __errno __libc_init bsearch calloc clock_gettime close exit fclose feof ferror fflush fileno fmemopen fopen "
    "fprintf fputc fputs fread free fseek fstat ftell fwrite getenv getline getpid getrusage isatty longjmp malloc memchr memcmp memcpy "
    "memmove memset mmap munmap nanosleep open open_memstream printf putchar puts qsort realloc remove rename rewind setjmp snprintf stat "
    "stderr stdin stdout strchr strcmp strcspn strdup strerror strlen strncmp strrchr strspn strstr strtod strtol strtoll unlink vsnprintf "
    "abort atoi __aeabi_memclr __aeabi_memclr4 __aeabi_memclr8 __aeabi_memcpy __aeabi_memcpy4 __aeabi_memcpy8 __aeabi_memmove "
    "__aeabi_memmove4 __aeabi_memset __aeabi_memset4 __aeabi_memset8 __aeabi_memmove8",
    "libm": "ceil exp fabs floor log nearbyint pow sqrt",
    "libdl": "dlerror dlopen dlsym",
}
"""What the code may import of the system. All of it is there since Android 7 (API level 24)."""

BUILTINS = (
    "__emutls_get_address __aeabi_ldivmod __aeabi_uldivmod __aeabi_l2d __aeabi_ul2d __aeabi_d2lz __aeabi_d2ulz __aeabi_idiv __aeabi_uidiv "
    "__aeabi_idivmod __aeabi_uidivmod __aeabi_unwind_cpp_pr0 __aeabi_unwind_cpp_pr1 __cpu_model __cpu_features2 __cpu_indicator_init"
)
"""What the compiler brings along."""


@dataclass(frozen=True)
class Abi:
    name: str
    triple: str
    machine: str
    dynamic_linker: str = "/system/bin/linker64"
    flags: str = ""


ABIS = (
    Abi("arm64-v8a", "aarch64-linux-android24", "AArch64", flags="-mno-outline-atomics"),
    Abi("armeabi-v7a", "armv7a-linux-androideabi24", "ARM", "/system/bin/linker", "-mthumb -mfpu=neon -mfloat-abi=softfp"),
    Abi("x86_64", "x86_64-linux-android24", "X86-64"),
)


def run(*command: str | Path, source: str | None = None) -> str:
    done = subprocess.run([*map(str, command)], input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def functions(names: str) -> str:
    return "".join(f"void {name}(void);\nvoid {name}(void) {{}}\n" for name in names.split())


@pytest.fixture(scope="module", params=ABIS, ids=lambda abi: abi.name)
def abi(request: pytest.FixtureRequest) -> Abi:
    for tool in ("clang", "ld.lld", "llvm-ar", "readelf", "cmake"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian: clang, lld, llvm, binutils, cmake)")
    if not Path("/usr/include/cjson/cJSON.h").exists():
        pytest.skip("needs cJSON's header (Debian: libcjson-dev)")
    return request.param


@pytest.fixture(scope="module")
def build(abi: Abi, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    """Builds a target of a CMake project for the ABI."""
    stubs = tmp_path_factory.mktemp(f"stubs-{abi.name}")
    compile = ("clang", f"--target={abi.triple}", *abi.flags.split(), "-ffreestanding", "-fno-builtin", "-nostdlibinc", "-fPIC", "-w")
    (stubs / "versions").write_text("LIBC { *; };")
    for library, names in LIBRARIES.items():
        run(*compile, "-x", "c", "-c", "-", "-o", stubs / "names.o", source=functions(names))
        shared = ("-shared", "-nostdlib", "-fuse-ld=lld", f"-Wl,-soname,{library}.so", f"-Wl,--version-script={stubs}/versions")
        run("clang", f"--target={abi.triple}", *shared, stubs / "names.o", "-o", stubs / f"{library}.so")
    run(*compile, "-c", BIONIC / "crt.c", "-o", stubs / "crt.o")
    header = Path("/usr/include/cjson/cJSON.h").read_text()
    (stubs / "include" / "cjson").mkdir(parents=True)
    (stubs / "include" / "cjson" / "cJSON.h").write_text(header)
    cjson = " ".join(sorted(set(re.findall(r"CJSON_PUBLIC\([^)]*\) (cJSON_\w+)\(", header))))
    for archive, names in (("libbuiltins", BUILTINS), ("libcjson", cjson)):
        run(*compile, "-x", "c", "-c", "-", "-o", stubs / f"{archive}.o", source=functions(names))
        run("llvm-ar", "rcs", stubs / f"{archive}.a", stubs / f"{archive}.o")
    (stubs / "cJSONConfig.cmake").write_text(
        f"add_library(cjson STATIC IMPORTED)\nset_target_properties(cjson PROPERTIES IMPORTED_LOCATION {stubs}/libcjson.a)\n"
    )
    java = Path(str(shutil.which("javac"))).resolve().parents[1] / "include" if shutil.which("javac") else None
    for name in ("jni.h", "linux/jni_md.h"):
        if java is not None:
            shutil.copy(java / name, stubs / "include" / Path(name).name)

    def build(source: Path, target: str) -> Path:
        folder = tmp_path_factory.mktemp(f"build-{abi.name}")
        values = {"STUBS": stubs, "TRIPLE": abi.triple, "ABI_FLAGS": abi.flags, "DYNAMIC_LINKER": abi.dynamic_linker, "cJSON_DIR": stubs}
        values |= {"CMAKE_TOOLCHAIN_FILE": BIONIC / "toolchain.cmake", "MOBIPROX_WARNINGS_AS_ERRORS": "ON", "CMAKE_C_FLAGS_RELEASE": "-O1"}
        run("cmake", "-S", source, "-B", folder, *(f"-D{name}={value}" for name, value in values.items()))
        run("cmake", "--build", folder, "--parallel", "2", "--target", target)
        [built] = [path for path in (folder / target, folder / f"lib{target}.so") if path.is_file()]
        return built

    return build


def check(file: Path, abi: Abi) -> str:
    """What readelf says of it, once what every file owes is checked."""
    about = run("readelf", "--file-header", "--program-headers", "--dynamic", "--dyn-syms", "--wide", file)
    assert re.search(rf"Machine:.*{abi.machine}", about)
    assert re.search(r"Type:\s+DYN", about)
    assert set(re.findall(r"\(NEEDED\).*\[(.*)\]", about)) <= {f"{library}.so" for library in LIBRARIES}
    imported = re.findall(r" UND (\S+)", about)
    assert {name.partition("@")[2].strip("@") for name in imported if "@" in name} == {"LIBC"}, imported
    assert "GLIBC" not in about
    loads = re.findall(r"^\s+LOAD\s.*(0x[0-9a-f]+)$", about, re.MULTILINE)
    assert loads
    if abi.name != "armeabi-v7a":
        assert all(int(align, 16) >= 0x4000 for align in loads), "phones with pages of 16 KB"
    return about


def test_the_library_of_the_exported_project(abi: Abi, build: Callable[[Path, str], Path], exported: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("needs the jni.h of a JDK (Debian: default-jdk-headless)")
    about = check(build(exported / "mobiprox" / "src" / "main" / "cpp", "mobiprox_jni"), abi)
    assert set(re.findall(r"(?:GLOBAL|WEAK)\s+\S+\s+\d+ (\S+)", about)) == {"JNI_OnLoad", "JNI_OnUnload"}


def test_the_runner(abi: Abi, build: Callable[[Path, str], Path]) -> None:
    about = check(build(SOURCES, "mbx-run"), abi)
    assert f"interpreter: {abi.dynamic_linker}]" in about
