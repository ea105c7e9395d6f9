#pragma once
#include <stddef.h>
int close(int);
int getpid(void);
int unlink(const char *);
int isatty(int);
