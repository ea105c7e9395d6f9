#include "sha256.h"

#include <string.h>

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t x, unsigned by) { return (x >> by) | (x << (32 - by)); }

/* One round; the next has its variables renamed instead of moved: h takes the place of a. */
#define SHA256_STEP(a, b, c, d, e, f, g, h, i) \
    do { \
        uint32_t one = (h) + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((g) ^ ((e) & ((f) ^ (g)))) + ROUND[i] + w[i]; \
        (d) += one; \
        (h) = one + (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + (((a) & (b)) | ((c) & ((a) | (b)))); \
    } while (0)

static void digest_block(sha256 *hash, const unsigned char *block) {
    uint32_t w[64], *s = hash->state;
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t one = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t two = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + one + w[i - 7] + two;
    }
    uint32_t a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    for (int i = 0; i < 64; i += 8) {
        SHA256_STEP(a, b, c, d, e, f, g, h, i);
        SHA256_STEP(h, a, b, c, d, e, f, g, i + 1);
        SHA256_STEP(g, h, a, b, c, d, e, f, i + 2);
        SHA256_STEP(f, g, h, a, b, c, d, e, i + 3);
        SHA256_STEP(e, f, g, h, a, b, c, d, i + 4);
        SHA256_STEP(d, e, f, g, h, a, b, c, i + 5);
        SHA256_STEP(c, d, e, f, g, h, a, b, i + 6);
        SHA256_STEP(b, c, d, e, f, g, h, a, i + 7);
    }
    s[0] += a, s[1] += b, s[2] += c, s[3] += d, s[4] += e, s[5] += f, s[6] += g, s[7] += h;
}

void sha256_start(sha256 *hash) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, first, sizeof first);
    hash->bytes = 0;
}

void sha256_add(sha256 *hash, const void *data, size_t bytes) {
    const unsigned char *from = data;
    while (bytes) {
        size_t held = (size_t)(hash->bytes % 64), part = 64 - held < bytes ? 64 - held : bytes;
        if (part == 64) {
            digest_block(hash, from);
        } else {
            memcpy(hash->block + held, from, part);
            if (held + part == 64) digest_block(hash, hash->block);
        }
        hash->bytes += part;
        from += part;
        bytes -= part;
    }
}

void sha256_end(sha256 *hash, unsigned char digest[SHA256_BYTES]) {
    static const unsigned char padding[64] = {0x80};
    uint64_t bits = 8 * hash->bytes;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_add(hash, padding, 1 + (119 - (size_t)(hash->bytes % 64)) % 64);
    sha256_add(hash, length, sizeof length);
    for (int i = 0; i < SHA256_BYTES; i++) digest[i] = (unsigned char)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void sha256_spell(const unsigned char digest[SHA256_BYTES], char text[SHA256_HEX]) {
    for (int i = 0; i < SHA256_BYTES; i++) {
        text[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    text[SHA256_HEX - 1] = 0;
}

void sha256_hex(const void *data, size_t bytes, char text[SHA256_HEX]) {
    sha256 hash;
    unsigned char digest[SHA256_BYTES];
    sha256_start(&hash);
    sha256_add(&hash, data, bytes);
    sha256_end(&hash, digest);
    sha256_spell(digest, text);
}
