/*
 * The part of OpenCL 1.2 (and of 2.0's shared virtual memory) that is used here, declared by ourselves and found at run time: phones
 * ship a driver library but no headers to link against.
 */
#ifndef MBX_OPENCL_H
#define MBX_OPENCL_H

#include <stddef.h>
#include <stdint.h>

#include "fault.h"

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_uint cl_bool;
typedef cl_ulong cl_bitfield;
typedef struct _cl_platform_id *cl_platform_id;
typedef struct _cl_device_id *cl_device_id;
typedef struct _cl_context *cl_context;
typedef struct _cl_command_queue *cl_command_queue;
typedef struct _cl_mem *cl_mem;
typedef struct _cl_program *cl_program;
typedef struct _cl_kernel *cl_kernel;
typedef struct _cl_event *cl_event;

enum {
    CL_SUCCESS = 0,
    CL_DEVICE_NOT_FOUND = -1,
    CL_PLATFORM_NOT_FOUND_KHR = -1001,
    CL_PLATFORM_VERSION = 0x0901,
    CL_DEVICE_TYPE = 0x1000,
    CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
    CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
    CL_DEVICE_NAME = 0x102B,
    CL_DRIVER_VERSION = 0x102D,
    CL_DEVICE_EXTENSIONS = 0x1030,
    CL_DEVICE_SVM_CAPABILITIES = 0x1053,
    CL_PROGRAM_BINARY_SIZES = 0x1165,
    CL_PROGRAM_BINARIES = 0x1166,
    CL_PROGRAM_BUILD_LOG = 0x1183
};

#define CL_DEVICE_TYPE_CPU ((cl_bitfield)1 << 1)
#define CL_DEVICE_TYPE_ALL ((cl_bitfield)0xFFFFFFFF)
#define CL_DEVICE_SVM_FINE_GRAIN_BUFFER ((cl_bitfield)1 << 1)
#define CL_MEM_READ_WRITE ((cl_bitfield)1 << 0)
#define CL_MEM_SVM_FINE_GRAIN_BUFFER ((cl_bitfield)1 << 10)

typedef void (*cl_no_callback)(void);

/* name, result, arguments: what must be there, and what may be. */
#define OPENCL_NEEDED(X) \
    X(clGetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *)) \
    X(clGetPlatformInfo, cl_int, (cl_platform_id, cl_uint, size_t, void *, size_t *)) \
    X(clGetDeviceIDs, cl_int, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id *, cl_uint *)) \
    X(clGetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *)) \
    X(clCreateContext, cl_context, (const intptr_t *, cl_uint, const cl_device_id *, cl_no_callback, void *, cl_int *)) \
    X(clReleaseContext, cl_int, (cl_context)) \
    X(clCreateCommandQueue, cl_command_queue, (cl_context, cl_device_id, cl_bitfield, cl_int *)) \
    X(clReleaseCommandQueue, cl_int, (cl_command_queue)) \
    X(clFinish, cl_int, (cl_command_queue)) \
    X(clCreateBuffer, cl_mem, (cl_context, cl_bitfield, size_t, void *, cl_int *)) \
    X(clReleaseMemObject, cl_int, (cl_mem)) \
    X(clEnqueueReadBuffer, cl_int, (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *)) \
    X(clEnqueueWriteBuffer, cl_int, (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint, const cl_event *, cl_event *)) \
    X(clCreateProgramWithSource, cl_program, (cl_context, cl_uint, const char **, const size_t *, cl_int *)) \
    X(clCreateProgramWithBinary, cl_program, \
      (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **, cl_int *, cl_int *)) \
    X(clReleaseProgram, cl_int, (cl_program)) \
    X(clBuildProgram, cl_int, (cl_program, cl_uint, const cl_device_id *, const char *, cl_no_callback, void *)) \
    X(clGetProgramInfo, cl_int, (cl_program, cl_uint, size_t, void *, size_t *)) \
    X(clGetProgramBuildInfo, cl_int, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *)) \
    X(clCreateKernel, cl_kernel, (cl_program, const char *, cl_int *)) \
    X(clReleaseKernel, cl_int, (cl_kernel)) \
    X(clSetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *)) \
    X(clEnqueueNDRangeKernel, cl_int, \
      (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint, const cl_event *, cl_event *))
#define OPENCL_OPTIONAL(X) \
    X(clSVMAlloc, void *, (cl_context, cl_bitfield, size_t, cl_uint)) \
    X(clSVMFree, void, (cl_context, void *)) \
    X(clSetKernelArgSVMPointer, cl_int, (cl_kernel, cl_uint, const void *))

#define OPENCL_MEMBER(name, result, arguments) result(*name) arguments;
typedef struct opencl {
    OPENCL_NEEDED(OPENCL_MEMBER)
    OPENCL_OPTIONAL(OPENCL_MEMBER)
    char library[512];
} opencl;

enum { DEVICE_TEXT = 256, MOST_DEVICES = 64 };

typedef struct device {
    cl_device_id handle;
    char name[DEVICE_TEXT], runtime[DEVICE_TEXT], driver[DEVICE_TEXT];
    int is_cpu, fp16, dot_product, shared_memory, compute_units;
    cl_ulong max_alloc_bytes;
} device;

/* Loads a library: the one asked for, else that of MOBIPROX_OPENCL_LIBRARY, else the first of the system's places. It stays loaded. */
int opencl_load(opencl *cl, const char *library, fault *fault);

/* Every device of every platform, equal ones once: how many, or -1. */
int opencl_devices(const opencl *cl, device found[MOST_DEVICES], fault *fault);

const char *opencl_error(cl_int code);

#endif
