// SPDX-License-Identifier: Apache-2.0
// The kernel's headers of Debian 12 know the first version only, so the interface is written down here (include/uapi/linux/landlock.h).
#include "landlock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VERSION_FLAG   (1u << 0) // LANDLOCK_CREATE_RULESET_VERSION
#define VERSION_USED   6
#define RULE_NET_PORT  2 // LANDLOCK_RULE_NET_PORT, version 4
#define NET_BIND       (UINT64_C(1) << 0)
#define NET_CONNECT    (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT (UINT64_C(1) << 0) // abstract unix sockets of processes outside
#define SCOPE_SIGNAL   (UINT64_C(1) << 1) // signals to them

struct ruleset {
    uint64_t files;
    uint64_t ports;  // from version 4 on
    uint64_t scoped; // from version 6 on
};

struct port_rule {
    uint64_t allowed;
    uint64_t port;
};

int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);

    if (version < 0)
        return -errno;
    return version < VERSION_USED ? (int)version : VERSION_USED;
}

// Every right about files that a version knows.
static uint64_t file_rights(unsigned version)
{
    unsigned count = 13; // LANDLOCK_ACCESS_FS_EXECUTE to LANDLOCK_ACCESS_FS_MAKE_SYM

    if (version >= 2)
        count = 14; // REFER
    if (version >= 3)
        count = 15; // TRUNCATE
    if (version >= 5)
        count = 16; // IOCTL_DEV
    return (UINT64_C(1) << count) - 1;
}

static int allow_tokens(int ruleset, const struct config *config, const int *acme)
{
    for (size_t i = 0; acme && i < config->listener_count; i++) {
        struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
                                                  .parent_fd = acme[i]};

        if (acme[i] >= 0 && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
            return -errno;
    }
    return 0;
}

static int allow_port(int ruleset, uint64_t right, unsigned port)
{
    struct port_rule rule = {.allowed = right, .port = port};

    return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) < 0 ? -errno : 0;
}

// Of a server; -1: it has none.
static int port_of(const struct config_address *address)
{
    switch (address->socket.ss_family) {
    case AF_INET:
        return ntohs(((const struct sockaddr_in *)&address->socket)->sin_port);
    case AF_INET6:
        return ntohs(((const struct sockaddr_in6 *)&address->socket)->sin6_port);
    default:
        return -1;
    }
}

static int allow_servers(int ruleset, const struct config_upstream *upstream)
{
    int error = 0;

    for (size_t i = 0; i < upstream->server_count && error == 0; i++) {
        const struct config_server *server = &upstream->servers[i];
        int port = server->name ? server->name->port : port_of(&server->address); // it may have no address yet

        if (port >= 0)
            error = allow_port(ruleset, NET_CONNECT, (unsigned)port);
    }
    if (error == 0 && upstream->tcp.is_transparent)
        error = allow_port(ruleset, NET_BIND, 0); // the kernel's choice
    return error;
}

int landlock_enter(const struct config *config, const int *acme, unsigned version)
{
    struct ruleset attributes = {.files = file_rights(version),
                                 .ports = NET_BIND | NET_CONNECT,
                                 .scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL};
    size_t size = offsetof(struct ruleset, ports);
    int ruleset;
    int error;

    if (version >= 4)
        size = offsetof(struct ruleset, scoped);
    if (version >= 6)
        size = sizeof(attributes);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
    if (ruleset < 0)
        return -errno;
    error = allow_tokens(ruleset, config, acme);
    for (size_t i = 0; version >= 4 && i < config->upstream_count && error == 0; i++)
        error = allow_servers(ruleset, &config->upstreams[i]);
    if (error == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        error = -errno;
    close(ruleset);
    return error;
}
