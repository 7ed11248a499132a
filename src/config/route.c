// SPDX-License-Identifier: Apache-2.0
// Which route takes a client. The names of all routes stand sorted, so a search for each of the few that are for a host finds the
// routes, and the first one in the file of those counts.
#include "src/config/route.h"

#include <string.h>

#include "src/config/address.h"

void route_keys_find(const char *name, struct route_keys *ret)
{
    size_t length = strlen(name);
    const char *dot;

    if (length > 0 && name[length - 1] == '.')
        length--;
    ret->count = 0;
    ret->keys[ret->count++] = "";
    if (length == 0)
        return;
    ret->keys[ret->count++] = "*";
    if (length > ADDRESS_HOST_MAX) // no route can have it
        return;
    for (size_t i = 0; i < length; i++)
        ret->exact[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
    ret->exact[length] = '\0';
    ret->keys[ret->count++] = ret->exact;
    dot = strchr(ret->exact, '.');
    if (dot == NULL || dot == ret->exact)
        return;
    ret->wildcard[0] = '*';
    strcpy(ret->wildcard + 1, dot); // no longer than the name
    ret->keys[ret->count++] = ret->wildcard;
}
_Static_assert(sizeof(((struct route_keys *)0)->exact) > ADDRESS_HOST_MAX, "room for every name");

size_t route_first(const struct config_listener *listener, const char *name)
{
    size_t low = 0;
    size_t high = listener->route_name_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(listener->route_names[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_offered(const char *protocol, const uint8_t *offered, size_t size)
{
    size_t length = strlen(protocol);

    while (size > 0 && offered[0] < size) {
        size_t taken = 1 + (size_t)offered[0];

        if (offered[0] == length && memcmp(offered + 1, protocol, length) == 0)
            return true;
        offered += taken;
        size -= taken;
    }
    return false;
}

const char *config_alpn_choose(char *const *ours, size_t count, const uint8_t *offered, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        if (is_offered(ours[i], offered, size))
            return ours[i];
    }
    return NULL;
}

static bool takes(const struct config_route *route, const uint8_t *alpn, size_t alpn_size)
{
    return route->alpn_count == 0 ||
           config_alpn_choose(route->alpn, route->alpn_count, alpn, alpn_size) != NULL;
}

const struct config_route *config_route_choose(const struct config_listener *listener, const char *sni,
                                               const uint8_t *alpn, size_t alpn_size)
{
    size_t best = listener->route_count;
    struct route_keys keys;

    if (listener->route_count == 0)
        return NULL;
    route_keys_find(sni, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        for (size_t at = route_first(listener, keys.keys[i]); at < listener->route_name_count; at++) {
            const struct config_route_name *name = &listener->route_names[at];

            if (name->route >= best || strcmp(name->name, keys.keys[i]) != 0)
                break;
            if (takes(&listener->routes[name->route], alpn, alpn_size))
                best = name->route;
        }
    }
    return best < listener->route_count ? &listener->routes[best] : NULL;
}

bool config_route_knows(const struct config_listener *listener, const char *sni)
{
    struct route_keys keys;

    route_keys_find(sni, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        for (size_t at = route_first(listener, keys.keys[i]); at < listener->route_name_count; at++) {
            const struct config_route_name *name = &listener->route_names[at];

            if (strcmp(name->name, keys.keys[i]) != 0)
                break;
            if (listener->routes[name->route].way != CONFIG_WAY_REJECT)
                return true;
        }
    }
    return false;
}
