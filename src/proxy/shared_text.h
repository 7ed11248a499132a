// SPDX-License-Identifier: Apache-2.0
// Names that many connections have in common (SNI, ALPN), kept once as long as they are used: ten thousand copies would not only take their
// own room but hold a page each of what handshakes leave behind in the heap.
#pragma once

#define SHARED_TEXTS 64

struct shared_text {
    unsigned uses;
    char text[];
};

struct shared_texts {
    struct shared_text *recent[SHARED_TEXTS]; // by hash; each is a use. NULL: none
};

// A use of the text; NULL for an empty one, or when there is no memory. shared_text_give() it.
struct shared_text *shared_text_take(struct shared_texts *texts, const char *text);
// NULL is accepted. May outlive the table.
void shared_text_give(struct shared_text *text);
// Gives back what the table itself uses.
void shared_texts_finish(struct shared_texts *texts);
