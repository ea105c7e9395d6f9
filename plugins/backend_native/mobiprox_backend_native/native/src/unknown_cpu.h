#ifndef MOBIPROX_UNKNOWN_CPU_H
#define MOBIPROX_UNKNOWN_CPU_H

/* Give a device of PoCL, by its handle, a name of its processor that PoCL's compiler takes, where it has none: an LLVM older than the
 * processor calls it "generic", and its own front end refuses that (https://github.com/pocl/pocl/issues/1049). x86-64 Linux alone. */
void unknown_cpu_name(void *record);

#endif
