#pragma once
#define RUSAGE_SELF 0
struct rusage {
    long ru_maxrss;
};
int getrusage(int, struct rusage *);
