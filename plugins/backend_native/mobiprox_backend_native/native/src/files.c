/* The files of a bundle's folder, mapped where the system can. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"

const char *const BUNDLE_FILES[FILE_COUNT] = {"bundle.json", "plan.json", "weights.safetensors", "kernels/program.cl"};

static int open_one(span *into, int *mapped, const char *folder, const char *name, fault *fault) {
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = malloc(length);
    if (!path) return fault_set(fault, "no memory for a path");
    (void)snprintf(path, length, "%s/%s", folder, name);
    struct stat about;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &about)) {
        fault_set(fault, "%s: cannot be read: %s", path, strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        fault_set(fault, "%s: cannot be read: not a file", path);
    } else if (about.st_size < 1) {
        fault_set(fault, "%s: is empty", path);
    } else if ((uintmax_t)about.st_size > SIZE_MAX / 2) {
        fault_set(fault, "%s: too large for this system", path);
    } else {
        void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            fault_set(fault, "%s: cannot be read: %s", path, strerror(errno));
        } else {
            *into = (span){data, (size_t)about.st_size};
            *mapped = 1;
        }
    }
    if (file >= 0) close(file);
    free(path);
    return *mapped ? 0 : -1;
}

int bundle_files_open(bundle_files *files, const char *folder, fault *fault) {
    memset(files, 0, sizeof *files);
    for (int i = 0; i < FILE_COUNT; i++)
        if (open_one(&files->files[i], &files->mapped[i], folder, BUNDLE_FILES[i], fault)) return -1;
    return 0;
}

void bundle_files_close(bundle_files *files) {
    for (int i = 0; i < FILE_COUNT; i++) {
        union { /* munmap takes what mmap gave */
            const unsigned char *is;
            void *was;
        } data = {files->files[i].data};
        if (files->mapped[i]) munmap(data.was, files->files[i].bytes);
        files->mapped[i] = 0;
    }
}
