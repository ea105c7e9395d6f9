/* SHA-256 (FIPS 180-4). */
#ifndef MBX_SHA256_H
#define MBX_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct sha256 {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64];
} sha256;

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

void sha256_start(sha256 *hash);
void sha256_add(sha256 *hash, const void *data, size_t bytes);
void sha256_end(sha256 *hash, unsigned char digest[SHA256_BYTES]);
/* The digest of some bytes as 64 lower-case hexadecimal digits and a final zero. */
void sha256_hex(const void *data, size_t bytes, char text[SHA256_HEX]);
void sha256_spell(const unsigned char digest[SHA256_BYTES], char text[SHA256_HEX]);

#endif
