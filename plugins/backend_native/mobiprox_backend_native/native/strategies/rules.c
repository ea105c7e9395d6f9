/*
 * Limits on the level by conditions such as "battery < 20 and not charging", over any other strategy. Twin of the plugin strategy_rules,
 * whose conditions.py has the grammar. Truth has three values: what depends on something unknown is unknown.
 */
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiprox_strategy.h"

enum { DEEPEST = 50, LONGEST = 1000, UNKNOWN = -1 };

typedef enum kind { TRUTH, NUMBER, TEXT } kind;
typedef enum operation { CONSTANT, BATTERY, CHARGING, TEMPERATURE, DEADLINE, HOUR, PURPOSE, CONFIDENCE, LABEL, LEVEL, OR, AND, NOT, RELATION } operation;
typedef enum relation { NO_RELATION, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, UNEQUAL } relation;

static const struct {
    const char *name;
    kind kind;
    operation operation;
} WORDS[] = {{"battery", NUMBER, BATTERY},   {"charging", TRUTH, CHARGING},     {"temperature_c", NUMBER, TEMPERATURE},
             {"deadline_ms", NUMBER, DEADLINE}, {"hour", NUMBER, HOUR},         {"purpose", TEXT, PURPOSE},
             {"confidence", NUMBER, CONFIDENCE}, {"label", NUMBER, LABEL},      {"level", NUMBER, LEVEL},
             {"true", TRUTH, CONSTANT},      {"false", TRUTH, CONSTANT}};

/* A part of a condition: a value, or what its parts come to, which follow each other. relation: to the part after this one. */
typedef struct node {
    operation operation;
    kind kind;
    relation relation;
    double number; /* of a constant; a truth is 0 or 1 */
    const char *text;
    struct node *parts, *next;
} node;

/* While `when` holds, the level is kept from `least` to `most`. */
typedef struct rule {
    node *when;
    int least, most;
} rule;

/* rules and texts lie behind the nodes. inner: what moves the level; NULL: the exact network. */
typedef struct rules {
    mbx_inner *inner;
    int count;
    rule *rules;
    node nodes[];
} rules;

/* ----------------------------------------------------------------------------------------------------------------------- parsing */

typedef enum token { END, NUMERAL, QUOTED, WORD, SIGN, WRONG } token;

typedef struct parser {
    char *at;     /* of the token that is next */
    size_t bytes; /* of that token */
    token token;
    node *nodes; /* free ones; there are as many as characters */
    int depth;
    const char *fault; /* the first */
} parser;

static int digit(char c) { return c >= '0' && c <= '9'; }
static int letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static node *fail(parser *on, const char *why) {
    if (!on->fault) on->fault = why;
    return NULL;
}

/* Bytes of the numeral at the beginning of a text; 0 where there is none. */
static size_t numeral(const char *text) {
    size_t sign = text[0] == '-', at = sign, digits;
    while (digit(text[at])) at++;
    digits = at - sign;
    if (text[at] == '.' && (digits || digit(text[at + 1]))) at++;
    while (digit(text[at])) at++, digits++;
    if (!digits) return 0;
    if (text[at] != 'e' && text[at] != 'E') return at;
    size_t power = at + 1 + (text[at + 1] == '+' || text[at + 1] == '-');
    if (!digit(text[power])) return at;
    while (digit(text[power])) power++;
    return power;
}

static void look(parser *on) {
    while (*on->at && strchr(" \t\n\r\f\v", *on->at)) on->at++;
    char first = *on->at, *quote = first == '\'' || first == '"' ? strchr(on->at + 1, first) : NULL;
    on->token = END, on->bytes = 0;
    if (!first) return;
    if ((on->bytes = numeral(on->at))) {
        on->token = NUMERAL;
    } else if (quote) {
        on->token = QUOTED, on->bytes = (size_t)(quote - on->at) + 1;
    } else if (letter(first)) {
        on->token = WORD;
        while (letter(on->at[on->bytes]) || digit(on->at[on->bytes])) on->bytes++;
    } else if (strchr("<>=!", first) && on->at[1] == '=') {
        on->token = SIGN, on->bytes = 2;
    } else if (strchr("<>()", first)) {
        on->token = SIGN, on->bytes = 1;
    } else {
        on->token = WRONG;
        fail(on, "has a character that means nothing");
    }
}

static void go_on(parser *on) {
    on->at += on->bytes;
    look(on);
}

static int is_next(const parser *on, const char *word) {
    return (on->token == WORD || on->token == SIGN) && strlen(word) == on->bytes && !strncmp(on->at, word, on->bytes);
}

static int take(parser *on, const char *word) {
    if (!is_next(on, word)) return 0;
    go_on(on);
    return 1;
}

static node *made(parser *on, operation operation, kind kind, node *parts) {
    *on->nodes = (node){.operation = operation, .kind = kind, .parts = parts};
    return on->nodes++;
}

static node *truth(parser *on, node *found) { return found && found->kind != TRUTH ? fail(on, "has a part that is neither true nor false") : found; }

static node *either(parser *on);

/* The numeral that is next, which strtod reads with the locale's decimal point. */
static double read_number(const parser *on) {
    char copy[LONGEST + 1], *point;
    memcpy(copy, on->at, on->bytes);
    copy[on->bytes] = 0;
    if ((point = strchr(copy, '.'))) *point = localeconv()->decimal_point[0];
    return strtod(copy, NULL);
}

static node *value(parser *on) {
    node *found = NULL;
    if (take(on, "(")) {
        if (++on->depth > DEEPEST) return fail(on, "is more than 50 deep");
        found = either(on);
        on->depth--;
        return !found || take(on, ")") ? found : fail(on, "lacks a closing parenthesis");
    }
    if (on->token == NUMERAL) {
        found = made(on, CONSTANT, NUMBER, NULL);
        found->number = read_number(on);
    } else if (on->token == QUOTED) {
        found = made(on, CONSTANT, TEXT, NULL);
        found->text = on->at + 1;
        on->at[on->bytes - 1] = 0; /* the closing quote */
    }
    for (size_t i = 0; !found && on->token == WORD && i < sizeof WORDS / sizeof *WORDS; i++)
        if (is_next(on, WORDS[i].name)) {
            found = made(on, WORDS[i].operation, WORDS[i].kind, NULL);
            found->number = *on->at == 't';
        }
    if (!found) return fail(on, on->token == WORD ? "names something that there is not" : "lacks a value");
    go_on(on);
    return found;
}

static relation next_relation(const parser *on) {
    static const char *const SIGNS[] = {"", "<", "<=", ">", ">=", "==", "!="};
    for (int i = LESS; i <= UNEQUAL; i++)
        if (is_next(on, SIGNS[i])) return (relation)i;
    return NO_RELATION;
}

static node *compared(parser *on) {
    node *first = value(on), *last = first;
    if (!first || !next_relation(on)) return first;
    while (last && (last->relation = next_relation(on))) {
        go_on(on);
        node *right = value(on);
        if (!right) return NULL;
        if (right->kind != last->kind) return fail(on, "compares what cannot be compared");
        if (right->kind != NUMBER && last->relation < EQUAL) return fail(on, "orders what has no order");
        last = last->next = right;
    }
    return made(on, RELATION, TRUTH, first);
}

static node *inverse(parser *on) {
    if (!take(on, "not")) return compared(on);
    if (++on->depth > DEEPEST) return fail(on, "is more than 50 deep");
    node *found = truth(on, inverse(on));
    on->depth--;
    return found ? made(on, NOT, TRUTH, found) : NULL;
}

static node *joined(parser *on, const char *word, operation operation, node *(*part)(parser *)) {
    node *first = part(on), *last = first;
    if (!first || !is_next(on, word)) return first;
    if (!truth(on, first)) return NULL;
    while (take(on, word)) {
        node *right = truth(on, part(on));
        if (!right) return NULL;
        last = last->next = right;
    }
    return made(on, operation, TRUTH, first);
}

static node *both(parser *on) { return joined(on, "and", AND, inverse); }
static node *either(parser *on) { return joined(on, "or", OR, both); }

/* The condition that a text says, or NULL with the reason in on->fault. */
static node *parse(parser *on) {
    look(on);
    node *found = truth(on, either(on));
    return found && on->token != END ? fail(on, "goes on where it should end") : found;
}

/* --------------------------------------------------------------------------------------------------------------------- asking */

/* In percent, to nine places as Python rounds it: the decimal nearest to the value itself. */
static double percent(double battery) {
    char text[400];
    (void)snprintf(text, sizeof text, "%.9f", 100 * battery);
    return strtod(text, NULL);
}

/* The number of a node; 0 with `known` unset where nobody knows. */
static double number_of(const node *of, const mbx_observation *seen, int *known) {
    double found = of->operation == BATTERY       ? seen->battery
                   : of->operation == TEMPERATURE ? seen->temperature_c
                   : of->operation == DEADLINE    ? seen->deadline_ms
                                                  : seen->hour;
    *known = 1;
    if (of->operation == CONSTANT) return of->number;
    if (of->operation == CONFIDENCE) return seen->confidence;
    if (of->operation == LABEL) return seen->label;
    if (of->operation == LEVEL) return seen->level;
    *known = !isnan(found);
    return *known && of->operation == BATTERY ? percent(found) : found;
}

static int ordered(double left, relation relation, double right) {
    switch (relation) {
    case LESS: return left < right;
    case LESS_EQUAL: return left <= right;
    case GREATER: return left > right;
    case GREATER_EQUAL: return left >= right;
    case EQUAL: return left <= right && left >= right;
    default: return !(left <= right && left >= right);
    }
}

static int holds(const node *of, const mbx_observation *seen);

static int related(const node *left, const mbx_observation *seen) {
    const node *right = left->next;
    if (left->kind == NUMBER) {
        int known, both_known;
        double first = number_of(left, seen, &known), second = number_of(right, seen, &both_known);
        return known && both_known ? ordered(first, left->relation, second) : UNKNOWN;
    }
    int same = UNKNOWN;
    if (left->kind == TEXT) {
        const char *first = left->operation == PURPOSE ? seen->purpose : left->text, *second = right->operation == PURPOSE ? seen->purpose : right->text;
        if (first && second) same = !strcmp(first, second);
    } else {
        int first = holds(left, seen), second = holds(right, seen);
        if (first != UNKNOWN && second != UNKNOWN) same = first == second;
    }
    return same == UNKNOWN ? UNKNOWN : left->relation == EQUAL ? same : !same;
}

/* 1, 0 or UNKNOWN. */
static int holds(const node *of, const mbx_observation *seen) {
    if (of->operation == CONSTANT) return of->number > 0;
    if (of->operation == CHARGING) return seen->charging < 0 ? UNKNOWN : seen->charging != 0;
    if (of->operation == NOT) {
        int found = holds(of->parts, seen);
        return found == UNKNOWN ? UNKNOWN : !found;
    }
    int decisive = of->operation == OR, unknown = 0;
    for (const node *part = of->parts; part; part = part->next) {
        if (of->operation == RELATION && !part->next) break;
        int found = of->operation == RELATION ? related(part, seen) : holds(part, seen);
        if (found == decisive) return decisive;
        unknown |= found == UNKNOWN;
    }
    return unknown ? UNKNOWN : !decisive;
}

/* ------------------------------------------------------------------------------------------------------------------- strategy */

static int refused(char *error, size_t error_bytes, int index, const char *why) {
    (void)snprintf(error, error_bytes, "rules[%d] %s", index, why);
    return -1;
}

/* Limits of a rule from its one option beside the condition. */
static int read_limits(mbx_strategy_options *options, int levels, rule *into) {
    static const char *const LIMITS[] = {"at_least", "at_most", "exactly"};
    int given = 0;
    *into = (rule){NULL, 0, levels - 1};
    for (int i = 0; i < 3; i++) {
        double limit = mbx_option_number(options, LIMITS[i], UNKNOWN);
        if (limit <= UNKNOWN && limit >= UNKNOWN) continue;
        if (!(limit >= 0) || floor(limit) < limit) return -1;
        int level = limit < levels - 1 ? (int)limit : levels - 1;
        given++;
        if (i != 1) into->least = level;
        if (i != 0) into->most = level;
    }
    return given == 1 ? 0 : -1;
}

/* Characters of UTF-8. */
static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static int read_rule(mbx_strategy_options *options, int index, int levels, parser *on, rule *into, char *error, size_t error_bytes) {
    const char *when = mbx_option_text(options, "when", "");
    size_t bytes = strlen(when);
    if (read_limits(options, levels, into)) return refused(error, error_bytes, index, "wants one of at_least, at_most and exactly, a level from 0");
    if (!bytes || characters(when) > LONGEST) return refused(error, error_bytes, index, "wants a condition 'when' of 1 to 1000 characters");
    char *end = on->at;
    memcpy(on->at, when, bytes + 1);
    on->depth = 0;
    into->when = parse(on);
    on->at = end + bytes + 1;
    if (into->when) return 0;
    int shown = bytes < 80 ? (int)bytes : 80;
    while ((when[shown] & 0xc0) == 0x80) shown--; /* whole characters */
    (void)snprintf(error, error_bytes, "rules[%d].when '%.*s' %s", index, shown, when, on->fault);
    return -1;
}

static void *create(const mbx_setup *setup, char *error, size_t error_bytes) {
    size_t count = 0, bytes = 0;
    mbx_strategy_options *entry = NULL;
    for (; count < INT32_MAX && (entry = mbx_option_entry(setup->options, "rules", entry)); count++)
        bytes += strlen(mbx_option_text(entry, "when", "")) + 1;
    mbx_inner *inner;
    int failed = mbx_option_strategy(setup, "then", &inner, error, error_bytes);
    if (!count && !failed) failed = snprintf(error, error_bytes, "option 'rules' is a list of conditions with their limits");
    if (failed) return NULL;
    rules *self = bytes < SIZE_MAX / 4 / (sizeof(rule) + sizeof(node)) ? malloc(sizeof *self + count * sizeof(rule) + bytes * (sizeof(node) + 1)) : NULL;
    if (!self) {
        (void)snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    self->inner = inner;
    self->count = (int)count;
    self->rules = (void *)(self->nodes + bytes);
    parser on = {.at = (char *)(self->rules + count), .nodes = self->nodes};
    for (int i = 0; i < self->count && !failed; i++) {
        entry = mbx_option_entry(setup->options, "rules", entry);
        failed = !entry || read_rule(entry, i, setup->level_count, &on, &self->rules[i], error, error_bytes);
    }
    if (!failed) return self;
    free(self);
    return NULL;
}

static void start(const void *of, void *state) {
    const rules *self = of;
    (void)state;
    if (self->inner) mbx_inner_start(self->inner);
}

static mbx_choice step(const void *of, void *state, const mbx_observation *seen) {
    const rules *self = of;
    mbx_choice wanted = self->inner ? mbx_inner_step(self->inner, seen) : (mbx_choice){0, 0};
    (void)state;
    for (int i = 0; i < self->count; i++) {
        if (holds(self->rules[i].when, seen) != 1) continue;
        if (wanted.level < self->rules[i].least) wanted.level = self->rules[i].least;
        if (wanted.level > self->rules[i].most) wanted.level = self->rules[i].most;
    }
    wanted.rerun = wanted.rerun && wanted.level < seen->level;
    return wanted;
}

extern const mbx_strategy mbx_strategy_rules;
const mbx_strategy mbx_strategy_rules = {"rules", 0, create, start, step};
