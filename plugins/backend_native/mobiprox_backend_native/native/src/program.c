#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sha256.h"

/*
 * A cache file: magic, key, digest of the binary, binary. The key is the digest of everything that the binary depends on, so that
 * another driver never sees it; the digest tells a file that was cut or changed.
 */
static const char MAGIC[8] = "mbxprog1", OPTIONS[] = "";
enum { HEAD_BYTES = sizeof MAGIC + 2 * SHA256_BYTES, PATH_BYTES = 1024 };

static void key_of(const device *device, span source, unsigned char key[SHA256_BYTES]) {
    const char *texts[] = {OPTIONS, device->name, device->driver, device->runtime};
    sha256 hash;
    sha256_start(&hash);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) sha256_add(&hash, texts[i], strlen(texts[i]) + 1);
    sha256_add(&hash, source.data, source.bytes);
    sha256_end(&hash, key);
}

/* 0, or -1 where the path is too long. */
static int path_of(const char *folder, const unsigned char key[SHA256_BYTES], char path[PATH_BYTES]) {
    char spelt[SHA256_HEX];
    sha256_spell(key, spelt);
    int length = snprintf(path, PATH_BYTES, "%s/program-%.32s.bin", folder, spelt);
    return length > 0 && length < PATH_BYTES ? 0 : -1;
}

/* The whole file, or NULL; to be freed. */
static unsigned char *read_whole(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    unsigned char *content = NULL;
    if (!file) return NULL;
    long size = fseek(file, 0, SEEK_END) ? -1 : ftell(file);
    if (size > 0 && !fseek(file, 0, SEEK_SET) && (content = malloc((size_t)size)) && fread(content, 1, (size_t)size, file) != (size_t)size) {
        free(content);
        content = NULL;
    }
    *bytes = size > 0 ? (size_t)size : 0;
    (void)fclose(file);
    return content;
}

static cl_program load_kept(const opencl *cl, cl_context context, const device *device, span source, const char *folder) {
    unsigned char key[SHA256_BYTES], digest[SHA256_BYTES];
    char path[PATH_BYTES];
    size_t bytes = 0;
    key_of(device, source, key);
    unsigned char *content = path_of(folder, key, path) ? NULL : read_whole(path, &bytes);
    cl_program program = NULL;
    if (content && bytes > HEAD_BYTES && !memcmp(content, MAGIC, sizeof MAGIC) && !memcmp(content + sizeof MAGIC, key, sizeof key)) {
        const unsigned char *binary = content + HEAD_BYTES;
        size_t size = bytes - HEAD_BYTES;
        sha256 hash;
        sha256_start(&hash);
        sha256_add(&hash, binary, size);
        sha256_end(&hash, digest);
        cl_int status = CL_SUCCESS, code = CL_SUCCESS;
        if (!memcmp(digest, content + sizeof MAGIC + SHA256_BYTES, sizeof digest))
            program = cl->clCreateProgramWithBinary(context, 1, &device->handle, &size, &binary, &status, &code);
        if (program && (code || status || cl->clBuildProgram(program, 1, &device->handle, OPTIONS, NULL, NULL))) {
            cl->clReleaseProgram(program);
            program = NULL;
        }
    }
    free(content);
    return program;
}

int program_build(const opencl *cl, cl_context context, const device *device, span source, const char *cache_folder, built_program *into,
                  fault *fault) {
    into->handle = cache_folder ? load_kept(cl, context, device, source, cache_folder) : NULL;
    into->cached = into->handle != NULL;
    if (into->cached) return 0;
    const char *text = (const char *)source.data;
    cl_int code = CL_SUCCESS;
    cl_program program = cl->clCreateProgramWithSource(context, 1, &text, &source.bytes, &code);
    if (!program || code) return fault_set(fault, "'%s' takes no program: %s (%d)", device->name, opencl_error(code), code);
    code = cl->clBuildProgram(program, 1, &device->handle, OPTIONS, NULL, NULL);
    if (code) {
        char log[2048] = "";
        size_t bytes = 0;
        char *whole = NULL;
        if (!cl->clGetProgramBuildInfo(program, device->handle, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) && bytes && (whole = calloc(1, bytes + 1)) &&
            !cl->clGetProgramBuildInfo(program, device->handle, CL_PROGRAM_BUILD_LOG, bytes, whole, NULL))
            (void)snprintf(log, sizeof log, "%s", whole);
        free(whole);
        cl->clReleaseProgram(program);
        return fault_set(fault, "%s does not build on '%s' (%s, driver %s): %s (%d)\n%s", BUNDLE_FILES[FILE_PROGRAM], device->name,
                         device->runtime, device->driver, opencl_error(code), code, log);
    }
    into->handle = program;
    return 0;
}

void program_keep(const opencl *cl, cl_program program, const device *device, span source, const char *cache_folder) {
    unsigned char head[HEAD_BYTES];
    char path[PATH_BYTES], temporary[PATH_BYTES + 32];
    size_t size = 0;
    memcpy(head, MAGIC, sizeof MAGIC);
    key_of(device, source, head + sizeof MAGIC);
    if (path_of(cache_folder, head + sizeof MAGIC, path)) return;
    if (cl->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) || !size) return;
    unsigned char *binary = malloc(size);
    if (!binary) return;
    if (!cl->clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL)) {
        sha256 hash;
        sha256_start(&hash);
        sha256_add(&hash, binary, size);
        sha256_end(&hash, head + sizeof MAGIC + SHA256_BYTES);
        (void)snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
        FILE *file = fopen(temporary, "wb"); /* renamed when whole, so that another process never reads half of it */
        int written = file && fwrite(head, 1, sizeof head, file) == sizeof head && fwrite(binary, 1, size, file) == size;
        if (file && fclose(file)) written = 0;
        if (file && (!written || rename(temporary, path))) (void)remove(temporary);
    }
    free(binary);
}
