// SPDX-License-Identifier: Apache-2.0
#include "handover_message.h"

#include <string.h>

#include "carry.h"

#define VERSION_MAX UINT16_MAX

void handover_message_head(const struct handover_message *message, uint8_t head[static HANDOVER_HEAD])
{
    uint32_t type = message->type;

    memcpy(head, &type, sizeof(type));
    memcpy(head + 4, &message->number, sizeof(message->number));
    memcpy(head + 8, &message->size, sizeof(message->size));
}

static bool is_text(const uint8_t *body, size_t size)
{
    if (size == 0 || size > HANDOVER_TEXT_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (body[i] < 0x20 || body[i] > 0x7e)
            return false;
    }
    return true;
}

static bool is_offer(const struct handover_message *message, size_t descriptor_count, bool is_cut)
{
    return message->number > 0 && message->size > 0 && message->size <= CARRY_SIZE_MAX && message->body_size == 0 &&
           (descriptor_count == 2 || is_cut);
}

static bool is_bytes(const struct handover_message *message)
{
    return message->number > 0 && message->body_size > 0 && message->body_size <= HANDOVER_BODY_MAX &&
           message->size < CARRY_SIZE_MAX && message->body_size <= CARRY_SIZE_MAX - message->size;
}

static bool is_whole(const struct handover_message *message, size_t descriptor_count, bool is_cut)
{
    if (message->type == HANDOVER_OFFER)
        return is_offer(message, descriptor_count, is_cut);
    if (descriptor_count > 0 || is_cut)
        return false;
    switch (message->type) {
    case HANDOVER_HELLO:
        return message->number <= message->size && message->size <= VERSION_MAX &&
               is_text(message->body, message->body_size);
    case HANDOVER_BYTES:
        return is_bytes(message);
    case HANDOVER_REFUSE:
        return message->number > 0 && message->size == 0 && is_text(message->body, message->body_size);
    case HANDOVER_ACCEPT:
    case HANDOVER_GO:
        return message->number > 0 && message->size == 0 && message->body_size == 0;
    case HANDOVER_END:
        return message->number == 0 && message->size == 0 && message->body_size == 0;
    default:
        return false;
    }
}

bool handover_message_parse(const uint8_t *data, size_t size, size_t descriptor_count, bool is_cut,
                            struct handover_message *ret)
{
    struct handover_message message = {.body = data + HANDOVER_HEAD};
    uint32_t type;

    if (size < HANDOVER_HEAD)
        return false;
    memcpy(&type, data, sizeof(type));
    memcpy(&message.number, data + 4, sizeof(message.number));
    memcpy(&message.size, data + 8, sizeof(message.size));
    if (type < HANDOVER_HELLO || type > HANDOVER_END)
        return false;
    message.type = (enum handover_type)type;
    message.body_size = size - HANDOVER_HEAD;
    if (!is_whole(&message, descriptor_count, is_cut))
        return false;
    *ret = message;
    return true;
}
