// SPDX-License-Identifier: Apache-2.0
// What another release of a master sends: any bytes are an item, or are refused; and any item of the master's own parts is taken as what it is, or
// left alone.
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "src/control/admin_socket.h"
#include "src/control/listen.h"

static int listening_socket(void)
{
    static int fd = -1;
    struct sockaddr none = {.sa_family = AF_UNIX}; // the kernel chooses a name

    if (fd < 0) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(fd >= 0 && bind(fd, &none, sizeof(none.sa_family)) == 0 && listen(fd, 1) == 0);
    }
    return fd;
}

static void inherit(struct estate *estate)
{
    struct config_address address = {.length = sizeof(struct sockaddr_in), .text = (char *)"127.0.0.1:443"};
    struct sockaddr_in *in = (struct sockaddr_in *)&address.socket;
    struct listening_sockets sockets = {0};
    struct admin_socket admin;

    in->sin_family = AF_INET;
    in->sin_port = htons(443);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)listening_had_port(estate, in->sin_port);
    if (listening_inherit(estate, &address, &sockets) > 0) {
        REQUIRE(sockets.count == 1 && sockets.fds[0] >= 0 && sockets.kind >= LISTENING_GROUP &&
                sockets.kind <= LISTENING_PASSED && !sockets.file.is_ours);
        close(sockets.fds[0]);
        free(sockets.fds);
    }
    if (admin_socket_inherit(&admin, "/run/ringbolt/admin.sock", estate) == 0) {
        REQUIRE(admin.fd >= 0 && !admin.file.is_ours);
        close(admin.fd);
        free(admin.path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct estate_item item;
    const char *why = NULL;

    // With each number of descriptors that may come along.
    for (size_t count = 0; count <= 2; count++) {
        int fds[2] = {-1, -1};
        struct estate estate = {0};

        if (count > 0)
            fds[count - 1] = dup(listening_socket());
        if (estate_parse(data, size, fds, count, &item, &why) == 0) {
            REQUIRE(item.size <= size && (item.size == 0) == (item.bytes == NULL));
            REQUIRE((item.fd >= 0) == (count > 0));
            REQUIRE(estate_put(&estate, &item) == 0);
            inherit(&estate);
            estate_finish(&estate);
        } else {
            REQUIRE(why != NULL);
        }
        if (count > 0 && fds[count - 1] >= 0)
            close(fds[count - 1]);
    }
    return 0;
}
