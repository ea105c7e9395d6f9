/*
 * libFuzzer target for the bundle loader. An input is the four files, each after its length (4 bytes, little-endian); lengths are cut
 * to what is there. Digests are not compared: a fuzzer would never get past them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    span files[FILE_COUNT];
    for (int i = 0; i < FILE_COUNT; i++) {
        uint32_t length = 0;
        for (int k = 0; k < 4 && bytes; k++, data++, bytes--) length |= (uint32_t)*data << 8 * k;
        files[i] = (span){data, length < bytes ? length : bytes};
        data += files[i].bytes;
        bytes -= files[i].bytes;
    }
    bundle bundle;
    pool pool = {NULL};
    fault fault = {""};
    if (bundle_read(&bundle, files, 1, &pool, &fault) && !fault.text[0]) abort(); /* a failure without a reason */
    pool_free(&pool);
    return 0;
}
