// SPDX-License-Identifier: Apache-2.0
// What connections of each kind do.
#pragma once

#include "client.h"

// Bytes come all the time, and their gaps are measured. Of slow ones too, whose gaps are their own.
bool kind_is_streaming(enum client_kind kind);

// HELLO is in the queue.
void kind_begin(struct client *client);
void kind_answered(struct client *client);
// The moment of kind_due() has come: puts into the queue what is due.
void kind_on_due(struct client *client);
// Sets the next moment.
void kind_due(struct client *client);
