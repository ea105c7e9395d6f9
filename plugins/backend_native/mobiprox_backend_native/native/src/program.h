/* Compiling a bundle's kernels, and keeping what was compiled. */
#ifndef MBX_PROGRAM_H
#define MBX_PROGRAM_H

#include "bundle.h"
#include "opencl.h"

typedef struct built_program {
    cl_program handle;
    int cached; /* came from the cache folder */
} built_program;

/* cache_folder: NULL for none. A file that is damaged, or that the driver refuses, is made again. */
int program_build(const opencl *cl, cl_context context, const device *device, span source, const char *cache_folder, built_program *into,
                  fault *fault);

/* Keeps the program in the folder. What goes wrong here only costs the next start its time. */
void program_keep(const opencl *cl, cl_program program, const device *device, span source, const char *cache_folder);

#endif
