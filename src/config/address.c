// SPDX-License-Identifier: Apache-2.0
// Addresses: the text is split first and understood afterwards, so that every complaint names the part it is
// about.
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "src/config/address.h"
#include "src/config/memory.h"

#define UNIX_PREFIX "unix:"

static int split_port(const char *text, uint16_t *ret, const char **ret_why)
{
    unsigned port = 0;
    size_t length = strlen(text);

    if (length == 0) {
        *ret_why = "the port behind the colon is missing; write HOST:PORT";
        return -EINVAL;
    }
    if (strspn(text, "0123456789") != length) {
        *ret_why = "the port must be a number up to 65535";
        return -EINVAL;
    }
    for (; *text != '\0' && port <= UINT16_MAX; text++)
        port = 10 * port + (unsigned)(*text - '0');
    if (port > UINT16_MAX) {
        *ret_why = "the port must be a number up to 65535";
        return -EINVAL;
    }
    *ret = (uint16_t)port;
    return 0;
}

static const char *no_host_text(bool is_listener)
{
    return is_listener ? "the host is missing; write `*:PORT` for every address or `127.0.0.1:PORT` for this "
                         "machine only"
                       : "the host is missing; write HOST:PORT, such as 127.0.0.1:PORT";
}

// Finds where the host ends. *ret_colon is NULL when no port follows.
static int find_host_end(const char *text, const char **ret_end, const char **ret_colon, const char **ret_why)
{
    const char *end;

    if (text[0] != '[') {
        end = strrchr(text, ':');
        *ret_colon = end;
        *ret_end = end != NULL ? end : text + strlen(text);
        if (end == NULL || memchr(text, ':', (size_t)(end - text)) == NULL)
            return 0;
        *ret_why = "an IPv6 address stands in brackets; write [IPV6]:PORT";
        return -EINVAL;
    }
    end = strchr(text, ']');
    if (end == NULL || (end[1] != ':' && end[1] != '\0')) {
        *ret_why = "the brackets are not right; write [IPV6]:PORT";
        return -EINVAL;
    }
    *ret_end = end;
    *ret_colon = end[1] == ':' ? end + 1 : NULL;
    return 0;
}

int address_split(const char *text, bool is_listener, struct address_parts *ret, const char **ret_why)
{
    struct address_parts parts = {.is_bracketed = text[0] == '['};
    const char *host = text + parts.is_bracketed;
    const char *colon;
    const char *end;
    size_t length;

    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        parts.path = text + strlen(UNIX_PREFIX);
        *ret = parts;
        return 0;
    }
    if (strstr(text, "://") != NULL) {
        *ret_why = "this is a URL; write HOST:PORT alone";
        return -EINVAL;
    }
    if (find_host_end(text, &end, &colon, ret_why) < 0)
        return -EINVAL;
    length = (size_t)(end - host);
    // `8443` is a port without its host, `example.com` a host without its port.
    if (length == 0 || (colon == NULL && strspn(host, "0123456789") == length)) {
        *ret_why = no_host_text(is_listener);
        return -EINVAL;
    }
    if (colon == NULL) {
        *ret_why = "the port is missing; write HOST:PORT or unix:/path";
        return -EINVAL;
    }
    if (length > ADDRESS_HOST_MAX) {
        *ret_why = "the host is longer than the 253 bytes that a name may have";
        return -EINVAL;
    }
    memcpy(parts.host, host, length);
    if (split_port(colon + 1, &parts.port, ret_why) < 0)
        return -EINVAL;
    *ret = parts;
    return 0;
}

static int resolve_path(const char *path, const char *directory, struct config_address *ret,
                        const char **ret_why)
{
    struct sockaddr_un *socket = (struct sockaddr_un *)&ret->socket;
    int length;

    if (path[0] == '\0') {
        *ret_why = "the path is missing; write unix:/path";
        return -EINVAL;
    }
    if (directory == NULL && path[0] != '/') {
        *ret_why = "the path must begin at the root; write unix:/path";
        return -EINVAL;
    }
    *ret = (struct config_address){.text = ret->text};
    socket->sun_family = AF_UNIX;
    if (path[0] == '/')
        length = snprintf(socket->sun_path, sizeof(socket->sun_path), "%s", path);
    else
        length = snprintf(socket->sun_path, sizeof(socket->sun_path), "%s/%s", directory, path);
    if ((size_t)length >= sizeof(socket->sun_path)) {
        *ret_why = "the path is too long for a socket; with its directory it may have 107 bytes (unix(7))";
        return -EINVAL;
    }
    ret->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
    return 0;
}

// A link-local address names its interface: fe80::1%eth0 (RFC 4007 §11).
static int resolve_v6(const char *host, struct config_address *ret, const char **ret_why)
{
    struct sockaddr_in6 *socket = (struct sockaddr_in6 *)&ret->socket;
    char number[INET6_ADDRSTRLEN];
    const char *zone = strchr(host, '%');
    size_t length = zone != NULL ? (size_t)(zone - host) : strlen(host);
    struct in6_addr parsed;

    *ret_why = "this is not an IPv6 address";
    if (length >= sizeof(number))
        return -EINVAL;
    memcpy(number, host, length);
    number[length] = '\0';
    if (inet_pton(AF_INET6, number, &parsed) != 1)
        return -EINVAL;
    socket->sin6_family = AF_INET6;
    socket->sin6_addr = parsed;
    ret->length = sizeof(*socket);
    if (zone == NULL)
        return 0;
    socket->sin6_scope_id = if_nametoindex(zone + 1);
    if (socket->sin6_scope_id == 0) {
        *ret_why = "there is no network interface of the name behind the `%`";
        return -EINVAL;
    }
    return 0;
}

static void set_v4(struct config_address *address, struct in_addr host)
{
    struct sockaddr_in *socket = (struct sockaddr_in *)&address->socket;

    socket->sin_family = AF_INET;
    socket->sin_addr = host;
    address->length = sizeof(*socket);
}

// Numbers and dots, but no IPv4 address: 127.1 or 256.0.0.1. A resolver may take the first for 127.0.0.1.
static bool is_almost_v4(const char *host)
{
    return strspn(host, "0123456789.") == strlen(host);
}

static bool is_name(const char *host)
{
    return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == strlen(host);
}

int address_resolve(const struct address_parts *parts, bool is_listener, const char *directory,
                    struct config_address *ret, const char **ret_why)
{
    struct config_address address = {.text = ret->text};
    struct in_addr v4;
    int result = 0;

    if (parts->path != NULL)
        return resolve_path(parts->path, directory, ret, ret_why);
    if (parts->is_bracketed || (is_listener && strcmp(parts->host, "*") == 0)) {
        result = resolve_v6(parts->is_bracketed ? parts->host : "::", &address, ret_why);
    } else if (inet_pton(AF_INET, parts->host, &v4) == 1) {
        set_v4(&address, v4);
    } else if (is_listener && strcmp(parts->host, "localhost") == 0) {
        set_v4(&address, (struct in_addr){.s_addr = htonl(INADDR_LOOPBACK)});
    } else if (is_almost_v4(parts->host)) {
        *ret_why = "this is not an IPv4 address";
        result = -EINVAL;
    } else if (!is_name(parts->host)) {
        *ret_why = "the host is neither an address nor a name";
        result = -EINVAL;
    } else {
        *ret_why = "the host must be an address, not a name: write `*:PORT`, `IPV4:PORT` or `[IPV6]:PORT`";
        result = -ENOENT;
    }
    if (result < 0)
        return result;
    address_set_port(&address, parts->port);
    *ret = address;
    return 0;
}

int config_address_parse(const char *text, struct config_address *ret, const char **ret_why)
{
    struct config_address address = {.text = NULL};
    struct address_parts parts;

    if (address_split(text, true, &parts, ret_why) < 0 ||
        address_resolve(&parts, true, NULL, &address, ret_why) < 0)
        return -EINVAL;
    address.text = memory_copy(text);
    *ret = address;
    return 0;
}

void address_set_port(struct config_address *address, uint16_t port)
{
    if (address->socket.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->socket)->sin_port = htons(port);
    else if (address->socket.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->socket)->sin6_port = htons(port);
}

uint16_t address_port(const struct config_address *address)
{
    if (address->socket.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->socket)->sin_port);
    if (address->socket.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->socket)->sin6_port);
    return 0;
}

void address_text(const struct config_address *address, char text[static ADDRESS_TEXT_SIZE])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->socket;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->socket;
    char number[INET6_ADDRSTRLEN] = "";
    char zone[16] = "";

    if (address->socket.ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, number, sizeof(number));
        snprintf(text, ADDRESS_TEXT_SIZE, "%s:%u", number, ntohs(v4->sin_port));
        return;
    }
    inet_ntop(AF_INET6, &v6->sin6_addr, number, sizeof(number));
    if (v6->sin6_scope_id != 0)
        snprintf(zone, sizeof(zone), "%%%u", v6->sin6_scope_id);
    snprintf(text, ADDRESS_TEXT_SIZE, "[%s%s]:%u", number, zone, ntohs(v6->sin6_port));
}

// Every address here was zeroed before it was filled in, so its bytes can be compared.
bool address_equal(const struct config_address *a, const struct config_address *b)
{
    return a->length == b->length && memcmp(&a->socket, &b->socket, a->length) == 0;
}

int address_look_up(const char *host, struct config_address *ret, size_t max, size_t *ret_count)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    size_t count = 0;
    int result = getaddrinfo(host, NULL, &hints, &found);

    if (result != 0)
        return result;
    for (const struct addrinfo *info = found; info != NULL && count < max; info = info->ai_next) {
        struct config_address address = {.length = info->ai_addrlen};
        bool is_known = false;
        if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
            continue;
        memcpy(&address.socket, info->ai_addr, info->ai_addrlen);
        for (size_t i = 0; i < count; i++)
            is_known |= address_equal(&address, &ret[i]);
        if (!is_known)
            ret[count++] = address;
    }
    freeaddrinfo(found);
    if (count == 0)
        return EAI_NONAME;
    *ret_count = count;
    return 0;
}

bool address_is_loopback(const struct config_address *address)
{
    static const char *const texts[] = {"127.0.0.0/8", "::1"};
    struct config_network network;
    bool is_held = false;
    const char *why;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        is_held |= config_network_parse(texts[i], &network, &why) == 0 &&
                   config_network_holds(&network, &address->socket);
    return is_held;
}
