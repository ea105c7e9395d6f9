#pragma once
#if defined(__LP64__)
#define RTLD_NOW 2
#else
#define RTLD_NOW 0
#endif
#define RTLD_LOCAL 0
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
char *dlerror(void);
