// SPDX-License-Identifier: Apache-2.0
// A listener's routes: what they are for, where they lead, and whether each can be reached.
#include <string.h>

#include "src/config/builder.h"
#include "src/config/host.h"
#include "src/config/memory.h"
#include "src/config/route.h"

static void add_name(struct config_listener *listener, char *name, struct config_where where)
{
    listener->route_names =
        memory_grow(listener->route_names, listener->route_name_count, sizeof(*listener->route_names));
    listener->route_names[listener->route_name_count++] =
        (struct config_route_name){.name = name, .route = listener->route_count - 1, .where = where};
}

static void build_names(struct builder *builder, const struct raw_route *raw, const struct node *node,
                        struct config_listener *listener)
{
    const struct node *list = node_get(node, "sni");

    for (unsigned i = 0; i < raw->sni_count; i++) {
        const struct node *item = node_item(list, i);
        const char *why;
        char *name;

        if (node_is_wrong(item))
            continue;
        if (strcmp(raw->sni[i], "*") == 0)
            add_name(listener, memory_copy("*"), node_where(item));
        else if (host_parse(raw->sni[i], &name, &why) == 0)
            add_name(listener, name, node_where(item));
        else
            report_add(builder->report, node_where(item), "`sni` cannot hold `%s`: %s", raw->sni[i], why);
    }
    if (raw->sni_count == 0 && !node->is_partial && !node->is_wrong)
        add_name(listener, memory_copy(""), node_where(node));
}

static void build_way(struct builder *builder, const struct raw_route *raw, const struct node *node,
                      struct config_route *route)
{
    bool rejects = raw->reject != NULL && *raw->reject != 0;
    int ways = (raw->upstream != NULL) + (raw->passthrough != NULL) + rejects;

    route->upstream = CONFIG_NO_UPSTREAM;
    if (ways == 0 && !node->is_partial && !node->is_wrong)
        report_add(builder->report, node_where(node),
                   "a route needs `upstream: NAME`, `passthrough: NAME` or `reject: true`");
    if (ways > 1)
        report_add(builder->report, node_where(node),
                   "a route leads one way; write one of `upstream`, `passthrough` and `reject`");
    if (raw->passthrough != NULL) {
        route->way = CONFIG_WAY_PASSTHROUGH;
        route->upstream = build_find_upstream(builder, raw->passthrough, node_get(node, "passthrough"));
        if (route->upstream < builder->config->upstream_count &&
            builder->config->upstreams[route->upstream].tls.is_on)
            report_add(builder->report, node_where(node_get(node, "passthrough")),
                       "`%s` has `tls`, and a stream that is passed through has its own; write `upstream: "
                       "%s`, or pass it to an "
                       "upstream without `tls`",
                       raw->passthrough, raw->passthrough);
    } else if (raw->upstream != NULL) {
        route->way = CONFIG_WAY_UPSTREAM;
        route->upstream = build_find_upstream(builder, raw->upstream, node_get(node, "upstream"));
    } else {
        route->way = CONFIG_WAY_REJECT;
    }
}

static void build_route(struct builder *builder, const struct raw_route *raw, const struct node *node,
                        struct config_listener *listener)
{
    struct config_route *route = &listener->routes[listener->route_count++];

    route->where = node_where(node);
    build_alpn(builder, raw->alpn, raw->alpn_count, node_get(node, "alpn"), &route->alpn, &route->alpn_count);
    build_way(builder, raw, node, route);
    build_names(builder, raw, node, listener);
    listener->has_passthrough |= route->way == CONFIG_WAY_PASSTHROUGH;
    listener->never_terminates &= route->way != CONFIG_WAY_UPSTREAM;
}

// ---- what can't be reached ----

static int name_compare(const void *a, const void *b)
{
    const struct config_route_name *one = a;
    const struct config_route_name *other = b;
    int order = strcmp(one->name, other->name);

    return order != 0                                ? order
           : one->route != other->route              ? (one->route < other->route ? -1 : 1)
           : one->where.line != other->where.line    ? (one->where.line < other->where.line ? -1 : 1)
           : one->where.column < other->where.column ? -1
                                                     : one->where.column > other->where.column;
}

// Whether `earlier` takes every client that offers what `later` is for.
static bool covers(const struct config_route *earlier, const struct config_route *later)
{
    if (earlier->alpn_count == 0)
        return true;
    for (size_t i = 0; i < later->alpn_count; i++) {
        size_t at = 0;

        while (at < earlier->alpn_count && strcmp(earlier->alpn[at], later->alpn[i]) != 0)
            at++;
        if (at == earlier->alpn_count)
            return false;
    }
    return later->alpn_count > 0;
}

// The first route that takes all clients of this name before its own does; NULL: none.
static const struct config_route *find_cover(const struct config_listener *listener,
                                             const struct config_route_name *name)
{
    size_t best = name->route;
    struct route_keys keys;

    route_keys_find(name->name, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        for (size_t at = route_first(listener, keys.keys[i]); at < listener->route_name_count; at++) {
            const struct config_route_name *other = &listener->route_names[at];

            if (other->route >= best || strcmp(other->name, keys.keys[i]) != 0)
                break;
            if (covers(&listener->routes[other->route], &listener->routes[name->route]))
                best = other->route;
        }
    }
    return best < name->route ? &listener->routes[best] : NULL;
}

static void check_reach(struct builder *builder, const struct config_listener *listener)
{
    const struct config_route **covered_by = memory_array(listener->route_name_count, sizeof(*covered_by));
    const struct config_route **dead = memory_array(listener->route_count, sizeof(*dead));
    bool *is_alive = memory_array(listener->route_count, sizeof(*is_alive));

    for (size_t i = 0; i < listener->route_name_count; i++) {
        const struct config_route_name *name = &listener->route_names[i];

        covered_by[i] = find_cover(listener, name);
        if (covered_by[i] == NULL)
            is_alive[name->route] = true;
        else
            dead[name->route] = covered_by[i];
        if (i > 0 && listener->route_names[i - 1].route == name->route &&
            strcmp(listener->route_names[i - 1].name, name->name) == 0)
            report_add(builder->report, name->where, "`%s` stands in `sni` twice; remove one", name->name);
    }
    for (size_t i = 0; i < listener->route_count; i++) {
        if (!is_alive[i] && dead[i] != NULL)
            report_add(
                builder->report, listener->routes[i].where,
                "no client gets to this route: the one in line %u takes all that it is for; put this one "
                "before it, or remove it",
                dead[i]->where.line);
    }
    for (size_t i = 0; i < listener->route_name_count; i++) {
        const struct config_route_name *name = &listener->route_names[i];

        if (covered_by[i] != NULL && is_alive[name->route])
            report_warn(builder->report, name->where,
                        "no client gets here by `%s`: the route in line %u takes it before", name->name,
                        covered_by[i]->where.line);
    }
    free(is_alive);
    free(dead);
    free(covered_by);
}

// `upstream` is for those that no route takes, so a route for everybody leaves it nothing.
static void check_upstream(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                           const struct config_listener *listener)
{
    size_t at = route_first(listener, "");

    for (; at < listener->route_name_count && listener->route_names[at].name[0] == '\0'; at++) {
        const struct config_route *route = &listener->routes[listener->route_names[at].route];

        if (route->alpn_count > 0)
            continue;
        report_warn(builder->report, node_where(node_get(node, "upstream")),
                    "no client gets to the listener's own `upstream`: the route in line %u takes all of them",
                    route->where.line);
        return;
    }
}

void build_routes(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                  struct config_listener *listener)
{
    const struct node *list = node_get(node, "routes");

    listener->upstream = CONFIG_NO_UPSTREAM;
    listener->never_terminates = raw->upstream == NULL && raw->routes_count > 0;
    if (raw->upstream != NULL)
        listener->upstream = build_find_upstream(builder, raw->upstream, node_get(node, "upstream"));
    else if (raw->routes_count == 0 && node != NULL && !node->is_partial && !node->is_wrong &&
             !node_is_wrong(list))
        report_add(builder->report, node_where(node),
                   "required key `upstream` is missing; an entry of `listeners` needs it, or `routes`");
    listener->routes = memory_array(raw->routes_count, sizeof(*listener->routes));
    for (unsigned i = 0; i < raw->routes_count; i++)
        build_route(builder, &raw->routes[i], node_item(list, i), listener);
    if (listener->route_name_count == 0)
        return;
    qsort(listener->route_names, listener->route_name_count, sizeof(*listener->route_names), name_compare);
    check_reach(builder, listener);
    if (raw->upstream != NULL)
        check_upstream(builder, raw, node, listener);
}
