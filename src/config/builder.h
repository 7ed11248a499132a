// SPDX-License-Identifier: Apache-2.0
// What the parts of the builder (build*.c) share.
#pragma once

#include "src/config/build.h"

struct builder {
    const struct build_input *input;
    struct report *report;
    struct config *config;
};

struct number_range {
    unsigned min;
    unsigned max;
    const char *other; // "`auto` or ", if that is allowed too
};

// As they are written in a file.
struct time_range {
    const char *min;
    const char *max;
};

// Where to say that `node` repeats `first`. A value that came by a merge stands where the first one does;
// then the place of `owner`, what it is part of, tells more.
struct config_where builder_where_of_twin(const struct node *node, const struct node *first,
                                          const struct node *owner);

// The path made absolute; NULL for NULL.
char *builder_path(const struct builder *builder, const char *path);

// The list of paths behind `key` made absolute, each once. The arrays are the caller's.
struct builder_paths {
    char **paths;
    struct config_where *wheres;
    size_t count;
};
void builder_paths(struct builder *builder, const struct node *mapping, const char *key, char **raw,
                   unsigned count, struct builder_paths *ret);

// Each understands `text`, the value behind `key` in `section`, and reports what is wrong with it. With text NULL (the
// file says nothing) and with a wrong one the value stays what it is, a default.
void builder_number(struct builder *builder, const struct node *section, const char *key, const char *text,
                    struct number_range range, unsigned *number);
void builder_time(struct builder *builder, const struct node *section, const char *key, const char *text,
                  struct time_range range, uint64_t *time);
// True when *size holds what the file says.
bool builder_size(struct builder *builder, const struct node *section, const char *key, const char *text,
                  uint64_t *size);

// `keepalive` and `user_timeout` of a `tcp` section.
void builder_tcp(struct builder *builder, const struct node *section, const char *keepalive,
                 const char *user_timeout, struct config_tcp *tcp);

// ---- the parts ----

// build_upstream.c. The upstreams come first: a listener names one of them.
void build_upstreams(struct builder *builder);
// The index of the upstream that is called so. Reports when there is none.
size_t build_find_upstream(struct builder *builder, const char *name, const struct node *node);

// build_resolve.c: servers that are found by their names. Before them, what the file says of that.
void build_resolve(struct builder *builder, const struct raw_resolve *raw, const struct node *node,
                   struct config_upstream *upstream);
// Adds those of one name. `like` holds everything but the address, of which the text as it was written; `parts` is what that says.
void build_named_servers(struct builder *builder, struct config_upstream *upstream,
                         const struct config_server *like, const struct address_parts *parts,
                         const struct node *node);
// build_upstream.c: adds one server, unless there is one of that address already. address NULL: it is to be found yet.
void build_add_server(struct config_upstream *upstream, const struct config_server *like,
                      const struct config_address *address, const char *text, const char *name);

// build_redirect.c: a listener that answers by itself, in plain HTTP.
void build_redirect(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                    struct config_listener *listener);

// build_hsts.c
void build_hsts(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                struct config_listener *listener);

// build_route.c. listener->upstream, routes and what follows from them.
void build_routes(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                  struct config_listener *listener);

// build_tls.c. tls is zeroed; node may be NULL: there is no file.
void build_tls(struct builder *builder, const struct raw_tls *raw, const struct node *node,
               bool needs_certificate, struct config_tls *tls);
// The part of it that upstreams have too: versions, suites, groups, ALPN.
void build_negotiation(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                       struct config_tls *tls);
// Protocol names: each once. *ret is the caller's, *ret_count may be less than `count`.
void build_alpn(struct builder *builder, char **raw, unsigned count, const struct node *list, char ***ret,
                size_t *ret_count);

// build_certificate.c.
void build_certificates(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                        bool needs_any, struct config_tls *tls);
// The `passphrase` of an entry.
void build_passphrase(struct builder *builder, const struct raw_passphrase *raw,
                      const struct node *certificate, struct config_passphrase *passphrase);

// build_server_tls.c: an upstream's `tls`. Its servers are known.
void build_server_tls(struct builder *builder, const struct raw_server_tls *raw,
                      const struct node *upstream_node, struct config_upstream *upstream);
// Whom the certificate of the server at this address must be for: the name that the address was found by, as certificates have it,
// or with `name` NULL the address itself. NULL when it can be for nobody.
char *build_server_host(const struct config_address *address, const char *name);

// build_proxy.c: the PROXY protocol. The listener's address is known.
void build_proxy_from(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                      struct config_listener *listener);
void build_proxy_to(struct builder *builder, const struct raw_upstream *raw, const struct node *node,
                    struct config_proxy_to *proxy);
