#pragma once
/* The fields that are used, in no phone's order: nothing built with this is run. */
struct stat {
    unsigned st_mode;
    long long st_size;
};
#define S_ISREG(mode) (((mode) & 0170000) == 0100000)
#define S_ISDIR(mode) (((mode) & 0170000) == 0040000)
int fstat(int, struct stat *);
int stat(const char *, struct stat *);
