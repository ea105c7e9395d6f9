#include "setting.h"

#include <stdlib.h>
#include <string.h>

/* As Python's \s and \w; bytes of letters beyond ASCII count as letters. */
static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }
static int is_word(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 0x80 || c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

typedef struct words {
    const char *at, *end;
} words;

static words trimmed(words text) {
    while (text.at < text.end && is_space(*text.at)) text.at++;
    while (text.at < text.end && is_space(text.end[-1])) text.end--;
    return text;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The texts sorted and joined. */
static char *joined(reader *reader, char **texts, size_t count, const char *between) {
    if (count) qsort(texts, count, sizeof *texts, by_text);
    size_t bytes = 1, gap = strlen(between);
    for (size_t i = 0; i < count; i++) bytes += strlen(texts[i]) + gap;
    char *whole = reader_take(reader, bytes, 1), *to = whole;
    for (size_t i = 0; i < count; i++) {
        if (i) memcpy(to, between, gap), to += gap;
        size_t length = strlen(texts[i]);
        memcpy(to, texts[i], length);
        to += length;
    }
    return whole;
}

static size_t count_of(words text, char c) {
    size_t count = 0;
    for (const char *at = text.at; at < text.end; at++) count += *at == c;
    return count;
}

/* Up to the next `c`, which is skipped. */
static words split(words *rest, char c) {
    words part = *rest;
    const char *at = part.at;
    while (at < part.end && *at != c) at++;
    part.end = at;
    rest->at = at < rest->end ? at + 1 : at;
    return part;
}

NO_RETURN static void refuse(const node *at, words text) {
    node_fail(at, "'%.*s' is not a knob setting", (int)(text.end - text.at < 80 ? text.end - text.at : 80), text.at);
}

/* "knob=value"; whole numbers without leading zeros, as 007 is 7. */
static char *knob(const node *at, words text) {
    words whole = text = trimmed(text), name = split(&text, '=');
    words value = trimmed(text);
    name = trimmed(name);
    int ok = name.at < name.end && value.at < value.end && count_of(whole, '=') == 1;
    for (const char *c = name.at; c < name.end; c++) ok &= is_word(*c);
    const char *digits = value.at + (value.at < value.end && *value.at == '-');
    int number = digits < value.end;
    for (const char *c = value.at; c < value.end; c++) ok &= is_word(*c) || *c == '.' || *c == '-';
    for (const char *c = digits; c < value.end; c++) number &= *c >= '0' && *c <= '9';
    if (!ok) refuse(at, whole);
    int minus = number && digits > value.at;
    if (number) {
        while (digits + 1 < value.end && *digits == '0') digits++;
        minus = minus && *digits != '0';
        value.at = digits;
    }
    size_t left = (size_t)(name.end - name.at), right = (size_t)(value.end - value.at);
    char *spelt = reader_take(at->reader, left + right + 3, 1);
    memcpy(spelt, name.at, left);
    spelt[left] = '=';
    if (minus) spelt[left + 1] = '-';
    memcpy(spelt + left + 1 + minus, value.at, right);
    return spelt;
}

static char *part(const node *at, words text) {
    words whole = text = trimmed(text), name = text;
    const char *stop = text.at;
    while (stop < text.end && is_word(*stop)) stop++;
    name.end = stop;
    words rest = trimmed((words){stop, text.end});
    char **knobs = reader_take(at->reader, count_of(rest, ',') + 1, sizeof *knobs);
    size_t count = 0;
    if (name.at == name.end) refuse(at, whole);
    if (rest.at < rest.end) {
        if (rest.end - rest.at < 2 || *rest.at != '(' || rest.end[-1] != ')' || count_of(rest, '(') + count_of(rest, ')') != 2)
            refuse(at, whole);
        for (rest = (words){rest.at + 1, rest.end - 1}; rest.at < rest.end;) {
            words one = trimmed(split(&rest, ','));
            if (one.at < one.end) knobs[count++] = knob(at, one);
        }
    }
    char *inside = joined(at->reader, knobs, count, ", ");
    size_t left = (size_t)(name.end - name.at), right = strlen(inside);
    char *spelt = reader_take(at->reader, left + right + 3, 1);
    memcpy(spelt, name.at, left);
    if (count) {
        spelt[left] = '(';
        memcpy(spelt + left + 1, inside, right);
        spelt[left + 1 + right] = ')';
    }
    return spelt;
}

const char *setting_canonical(const node *at) {
    const char *text = node_text(at);
    words rest = trimmed((words){text, text + strlen(text)});
    if (rest.end - rest.at == 5 && !memcmp(rest.at, "exact", 5)) return "";
    char **parts = reader_take(at->reader, count_of(rest, '+') + 1, sizeof *parts);
    size_t count = 0;
    for (;;) {
        words one = split(&rest, '+');
        int more = one.end < rest.end;
        parts[count++] = part(at, one);
        if (!more) break;
    }
    return joined(at->reader, parts, count, " + ");
}
