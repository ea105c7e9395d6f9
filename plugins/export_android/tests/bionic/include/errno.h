#pragma once
int *__errno(void) __attribute__((const));
#define errno (*__errno())
#define ENOENT 2
#define EINTR 4
