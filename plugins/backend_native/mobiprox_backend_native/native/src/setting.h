/* Settings of operators as text, e.g. "fp16 + perforation(axis=rows, offset=1, stride=2)". */
#ifndef MBX_SETTING_H
#define MBX_SETTING_H

#include "reader.h"

/* The one spelling of a setting (parts and knobs sorted, "" for exact), in the pool. Fails at the node for other text. */
const char *setting_canonical(const node *at);

#endif
