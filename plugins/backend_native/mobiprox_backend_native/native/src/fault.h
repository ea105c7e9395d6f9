/* Why something failed: one text, written once, by whoever saw it first. */
#ifndef MBX_FAULT_H
#define MBX_FAULT_H

#include <stdarg.h>
#include <stddef.h>

enum { FAULT_BYTES = 4096 };

typedef struct fault {
    char text[FAULT_BYTES];
} fault;

#if defined(__GNUC__)
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#else
#define PRINTF_LIKE(text, first)
#endif

/* Always -1, to be returned. */
int fault_set(fault *fault, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
