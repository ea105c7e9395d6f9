#include "opencl.h"
#include "unknown_cpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const PLACES[] = {
#if defined(__ANDROID__)
    "libOpenCL.so", "libOpenCL.so.1",
#if defined(__LP64__)
    "/vendor/lib64/libOpenCL.so", "/system/vendor/lib64/libOpenCL.so", "/vendor/lib64/egl/libGLES_mali.so", "/vendor/lib64/libPVROCL.so",
#else
    "/vendor/lib/libOpenCL.so", "/system/vendor/lib/libOpenCL.so", "/vendor/lib/egl/libGLES_mali.so", "/vendor/lib/libPVROCL.so",
#endif
#else
    "libOpenCL.so.1", "libOpenCL.so",
#endif
};

/* Sets every function; the name of the first needed one that is missing, or NULL. */
static const char *find_functions(opencl *cl, void *library) {
    void *symbol;
#define OPENCL_FIND(name, result, arguments) \
    symbol = dlsym(library, #name); \
    if (!symbol && is_needed) return #name; \
    memcpy(&cl->name, &symbol, sizeof symbol); /* ISO C has no cast from object to function pointers */
    int is_needed = 1;
    OPENCL_NEEDED(OPENCL_FIND)
    is_needed = 0;
    OPENCL_OPTIONAL(OPENCL_FIND)
    return NULL;
}

/* 0, or -1 with the reason appended to `tried`. */
static int try_library(opencl *cl, const char *name, char *tried, size_t bytes) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    const char *missing = library ? find_functions(cl, library) : NULL;
    if (library && !missing) {
        (void)snprintf(cl->library, sizeof cl->library, "%s", name);
        return 0;
    }
    size_t used = strlen(tried);
    const char *reason = library ? NULL : dlerror();
    if (missing)
        (void)snprintf(tried + used, bytes - used, "%s%s (has no %s)", used ? "; " : "", name, missing);
    else
        (void)snprintf(tried + used, bytes - used, "%s%s (%s)", used ? "; " : "", name, reason ? reason : "unknown reason");
    return -1; /* a library without the functions stays loaded: unloading drivers crashes some */
}

int opencl_load(opencl *cl, const char *library, fault *fault) {
    char tried[2048] = "";
    memset(cl, 0, sizeof *cl);
    if (!library || !*library) library = getenv("MOBIPROX_OPENCL_LIBRARY");
    if (library && *library) {
        if (!try_library(cl, library, tried, sizeof tried)) return 0;
    } else {
        for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++)
            if (!try_library(cl, PLACES[i], tried, sizeof tried)) return 0;
    }
    return fault_set(fault, "no OpenCL library can be loaded; tried: %s", tried);
}

/* Text without the spaces around it. */
static void trim(char *text) {
    size_t length = strlen(text), start = strspn(text, " \t\r\n");
    while (length > start && strchr(" \t\r\n", text[length - 1])) length--;
    memmove(text, text + start, length - start);
    text[length - start] = 0;
}

static void describe(const opencl *cl, cl_device_id handle, const char *runtime, device *into) {
    cl_bitfield type = 0, svm = 0;
    cl_uint units = 0;
    size_t bytes = 0;
    *into = (device){.handle = handle};
    (void)snprintf(into->runtime, sizeof into->runtime, "%s", runtime);
    if (cl->clGetDeviceInfo(handle, CL_DEVICE_NAME, sizeof into->name - 1, into->name, NULL)) into->name[0] = 0;
    if (cl->clGetDeviceInfo(handle, CL_DRIVER_VERSION, sizeof into->driver - 1, into->driver, NULL)) into->driver[0] = 0;
    (void)cl->clGetDeviceInfo(handle, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    (void)cl->clGetDeviceInfo(handle, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    (void)cl->clGetDeviceInfo(handle, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof into->max_alloc_bytes, &into->max_alloc_bytes, NULL);
    trim(into->name);
    trim(into->driver);
    into->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    into->compute_units = units ? (int)units : 1;
    int has_svm = cl->clSVMAlloc && cl->clSVMFree && cl->clSetKernelArgSVMPointer;
    if (has_svm && !cl->clGetDeviceInfo(handle, CL_DEVICE_SVM_CAPABILITIES, sizeof svm, &svm, NULL))
        into->shared_memory = (svm & CL_DEVICE_SVM_FINE_GRAIN_BUFFER) != 0;
    if (!cl->clGetDeviceInfo(handle, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes) && bytes) {
        char *extensions = calloc(1, bytes + 1);
        if (extensions && !cl->clGetDeviceInfo(handle, CL_DEVICE_EXTENSIONS, bytes, extensions, NULL))
            into->fp16 = strstr(extensions, "cl_khr_fp16") != NULL, into->dot_product = strstr(extensions, "cl_khr_integer_dot_product") != NULL;
        free(extensions);
    }
}

int opencl_devices(const opencl *cl, device found[MOST_DEVICES], fault *fault) {
    cl_platform_id platforms[16];
    cl_uint platform_count = 0;
    cl_int code = cl->clGetPlatformIDs(16, platforms, &platform_count);
    if (code != CL_SUCCESS && code != CL_PLATFORM_NOT_FOUND_KHR)
        return fault_set(fault, "OpenCL finds no platform: %s (%d)", opencl_error(code), code);
    int count = 0;
    for (cl_uint p = 0; code == CL_SUCCESS && p < platform_count && p < 16; p++) {
        char runtime[DEVICE_TEXT] = "";
        cl_device_id handles[MOST_DEVICES];
        cl_uint device_count = 0;
        if (cl->clGetPlatformInfo(platforms[p], CL_PLATFORM_VERSION, sizeof runtime - 1, runtime, NULL)) runtime[0] = 0;
        char *details = strstr(runtime, "  "); /* build options follow, in PoCL's */
        if (details) *details = 0;
        trim(runtime);
        if (cl->clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST_DEVICES, handles, &device_count)) continue;
        for (cl_uint d = 0; d < device_count && d < MOST_DEVICES && count < MOST_DEVICES; d++) {
            device *one = &found[count];
            describe(cl, handles[d], runtime, one);
            if (one->is_cpu && strstr(runtime, "PoCL")) unknown_cpu_name(handles[d]);
            int seen = 0;
            for (int i = 0; i < count; i++) seen |= !strcmp(found[i].name, one->name) && !strcmp(found[i].runtime, one->runtime);
            count += !seen;
        }
    }
    return count;
}

const char *opencl_error(cl_int code) {
    switch (code) {
        case 0: return "success";
        case -1: return "device not found";
        case -2: return "device not available";
        case -3: return "compiler not available";
        case -4: return "no memory for a buffer";
        case -5: return "out of resources";
        case -6: return "out of host memory";
        case -11: return "program does not build";
        case -30: return "invalid value";
        case -42: return "invalid binary";
        case -44: return "invalid program";
        case -45: return "invalid program executable";
        case -46: return "invalid kernel name";
        case -48: return "invalid kernel";
        case -52: return "invalid kernel arguments";
        case -54: return "invalid work-group size";
        case -61: return "invalid buffer size";
        case -1001: return "no platform is installed";
        default: return "OpenCL error";
    }
}
