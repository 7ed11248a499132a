// SPDX-License-Identifier: Apache-2.0
// One client's session through the proxy: its life, and the only place where `tls` (the engine) and `io` (the ring) meet.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "flow.h"
#include "ringbolt/deposit.h"
#include "ringbolt/list.h"
#include "ringbolt/proxy.h"
#include "ringbolt/timer.h"
#include "ringbolt/tls.h"
#include "shared_text.h"
#include "upstream.h"

// A connection's life. Each state is left by completions or by its timer, and only through connection_enter().
enum connection_state {
    CONNECTION_ACCEPT, // has a socket and nothing else
    CONNECTION_HEADER, // a PROXY header is awaited, or read
    CONNECTION_ANSWER, // where the listener redirects: requests are read and answered, and nothing else ever happens
    CONNECTION_HELLO,  // the engine shakes hands; bytes in, bytes out, one operation at a time. Or the ClientHello says: pass it through
    CONNECTION_DIAL, // the handshake, if there is one, is done (its last flight may still be leaving); servers are tried, or waited for
    CONNECTION_SHAKE, // the server has taken the connection; the PROXY header goes out, then the engine shakes hands with it
    CONNECTION_OFFLOAD, // both sides stand; the directions that shall start in the kernel are moved there
    CONNECTION_RELAY,   // the flows run
    CONNECTION_DRAIN, // the end is decided: what is being sent leaves, an alert or close_notify follows, the peer's rest is dropped
    CONNECTION_DYING, // everything is cancelled; memory returns when no operation is in flight
    CONNECTION_STATE_COUNT,
};

// Why a connection ended; one word each in the log (docs/logging.md).
enum connection_end {
    END_NONE,
    END_DONE,
    END_CLIENT_TRUNCATED,
    END_CLIENT_RESET,
    END_CLIENT_ALERT,
    END_SERVER_TRUNCATED,
    END_SERVER_RESET,
    END_SERVER_ALERT,
    END_SERVER_PROTOCOL_ERROR,
    END_SERVER_UNTRUSTED,
    END_SERVER_HANDSHAKE,
    END_SERVER_UNREACHABLE,
    END_SERVERS_FULL,
    END_QUEUE_TIMEOUT,
    END_CLIENT_LEFT, // while it waited in a queue
    END_PROXY_HEADER,
    END_CLIENT_LIMIT, // known only when a PROXY header has named the client
    END_HANDSHAKE_FAILED,
    END_HANDSHAKE_TIMEOUT,
    END_REJECTED,
    END_BAD_REQUEST,
    END_IDLE_TIMEOUT,
    END_HALF_CLOSED_TIMEOUT,
    END_PROTOCOL_ERROR,
    END_REKEY_UNSUPPORTED,
    END_KEY_LIMIT,
    END_MEMORY,
    END_RETIRED,
    END_SHUTDOWN,
    END_INTERNAL,
    END_COUNT,
};

// How far it is with coming to rest (rest.c).
enum connection_halt {
    HALT_NONE,
    HALT_WANTED,  // nothing is started any more, and what is in flight is being cancelled
    HALT_REACHED, // nothing is in flight
};

struct connection;
// It is at rest, and stays so until it is resumed or released; or (false) it isn't to be moved: it has left RELAY, or something in it can't
// travel. Then it lives on by itself, and may be gone when its handler has ended: all that may be done is to take note.
typedef void connection_rested(struct connection *connection, void *context, bool is_at_rest);

// What the log line tells of the handshake, kept when the engine is gone.
struct connection_names {
    struct shared_text *sni;  // NULL: none
    struct shared_text *alpn; // NULL: none
    const char *version;
    const char *suite;
    bool resumed;
    uint64_t certificate;     // of ours, 0: not known
    char *client_subject;     // NULL: no client certificate
    char *client_fingerprint; // the same
};

struct connection {
    struct list node; // on proxy->connections
    struct proxy *proxy;
    const struct config_listener *listener;
    const struct config_route *route; // what its ClientHello chose; NULL: none, or not yet
    size_t upstream;                  // where it goes: the listener's (CONFIG_NO_UPSTREAM: none), or its route's
    uint64_t id;
    uint64_t unique; // the other half of its unique id: the proxy's that accepted it
    uint8_t state;
    uint8_t end;
    uint8_t halt;    // RELAY: enum connection_halt
    uint8_t alert;   // the alert that ended it, sent or received; ALERT_NONE
    bool is_resting; // its endpoints gave back what the idle don't need
    bool is_half_closed;
    bool is_passed; // TLS goes through untouched: both endpoints are plain
    bool is_asleep;      // RELAY: its deposit counts, and it waits by polls (deposit.c)
    bool is_deposit_due; // RELAY: it is to be deposited when it next has nothing to do
    bool is_proxied;     // a PROXY header came
    bool is_server_lost; // it took no more: its end of file is no orderly end
    const char *detail;  // static words for the log, NULL: none
    char *detail_owned;  // words of the engine
    uint32_t place;      // of its network in the counts of clients; ADMISSION_UNCOUNTED
    char peer[56]; // the client's address as text: what a PROXY header named, else the socket's
    struct connection_header *header; // what PROXY headers have to do with it; NULL: nothing (any more)
    struct endpoint client;
    struct endpoint server;
    struct flow up;   // client to server
    struct flow down; // server to client
    struct timer timer;
    uint64_t drained_ns;   // DRAIN: until when the client may take its last bytes and close
    uint64_t delivered_ns; // DRAIN: until when the server may take what was sent to it
    bool is_client_drained;
    uint32_t discarded; // DRAIN: bytes dropped
    uint64_t accepted_ns;
    uint64_t handshaken_ns; // 0: not yet. Of one that is passed through: its ClientHello was whole
    uint64_t connected_ns;
    uint64_t active_ns;  // the last time that a byte moved
    uint64_t retired_ns; // when it ends because its certificate is retired; 0: that isn't so
    struct connection_names names;
    connection_rested *rested; // RELAY: who is told that it has come to rest
    void *rested_context;
    uint32_t deposit; // its slot + 1; 0: it has none
    uint32_t kept;   // the last dialogue that has tried to give it away (handover_give.c); 0: none has
    struct hsts *hsts; // RELAY: what of the first response is still looked for; NULL: nothing (any more)
    // ANSWER only
    struct redirect *redirect; // a request, or its answer; NULL: between them
    unsigned requests;         // answered, or about to be
    const char *server_version; // NULL: no TLS towards the server, or not yet
    const char *server_suite;
    bool server_resumed;
    struct engine *server_engine;   // SHAKE only
    bool is_shake_late;             // SHAKE: its time is over, the server's operations are being cancelled
    const char *shake_failure;      // why the last server that left during SHAKE was left; NULL: none did
    struct buffer *server_leftover; // bytes behind the handshake with the server
    // HELLO and DIAL only
    struct peek *peek;     // before there is an engine, while the ClientHello comes; NULL: not needed
    struct engine *engine; // NULL also of one that is passed through
    struct buffer *leftover; // bytes behind the handshake
    bool is_hello_done;      // nothing of the handshake is left to send
    bool has_place;          // it counts as one of `dialling`'s connections; in later states too
    uint64_t *tried;         // a bit for each server of the upstream; NULL: none yet
    struct list wait_node;   // on proxy->queues, while every server is full; RELAY: on proxy->rested
    bool may_race;           // the timer is set to when another server is tried beside it
    struct rival *rival;     // that (race.c); in later states only until it has been cancelled; NULL: none
    uint32_t server_index;   // of `dialling` in its upstream
    const struct config_server *dialling;  // held (upstream_hold()) until the connection goes
    const struct config_server *connected; // the same, or NULL
    struct ring_op watch_op; // whether the client leaves meanwhile; may be in flight a little longer
};

// ---- what the rooms of the proxy share (proxy.c) ----

struct listener {
    struct proxy *proxy;
    const struct config_listener *config;
    struct tls_context *context;
    struct stats_listener *stats;
    int fd;
    struct ring_op accept_op;
    bool is_paused; // waits for proxy->resume_timer: at a limit, or out of descriptors or memory
    uint64_t quiet_until_ns[STATS_WAITS]; // by limit: until then nothing is said about it
    int acme; // the folder of `redirect.acme`; -1: none
    uint64_t acme_quiet_until_ns; // until then nothing is said about it
};

// What of the failed connections was logged (log_limit.c).
struct log_limit {
    uint64_t good;              // connections that ended well, for `log.sample`
    uint64_t until_ns;          // the second that is counted ends then
    uint32_t said;              // in it
    uint64_t unsaid[END_COUNT]; // by their ends, since that was last said
    struct timer timer;         // set: something is to be said
};

// What is deposited with the master (deposit.c).
struct deposits {
    struct deposit_room room;
    uint32_t *free; // slots that nobody has,
    uint32_t free_count;
    uint32_t *dropped; // and those of which the master is still to be told so
    uint32_t dropped_count;
    uint64_t again_ns; // until then its channel is full, as far as we know
};

struct proxy {
    struct proxy_setup setup;
    struct stats_worker *stats;
    struct ring *ring;
    struct buffer_pool *pool;
    struct timer_wheel wheel;
    uint64_t now_ns;
    uint64_t trimmed_ns;
    uint64_t next_id;
    struct listener *listeners; // those of the configuration, in its order, then setup.more
    size_t listener_count;      // with the latter
    struct upstreams *upstreams;
    struct list *queues;      // by upstream: connections that wait for a server, the longest-waiting first
    struct timer queue_timer; // set while somebody waits
    bool is_queue_due;        // a place became free
    struct list connections;
    struct list *listed; // where the listing goes on (listing.c); NULL: none was begun
    unsigned connection_count;
    unsigned awake_count;     // connections that do not rest
    unsigned awake_peak;      // since memory was last given back
    struct list starved;      // flows
    struct list sending;      // flows, the longest-waiting first
    uint64_t unique;          // begins the unique ids that servers are told
    struct list rested;       // connections that are at rest, and of which nobody was told yet
    struct list hellos;       // flows whose connections have something for a handshake: up, in SHAKE down
    struct connection_slabs *slabs;
    struct shared_texts texts;
    struct timer resume_timer;
    struct timer look_timer;
    uint64_t looks_until_ns;
    struct timer retired_timer; // for the earliest connection with retired_ns
    uint64_t retired_timer_ns;  // what it is set to
    uint64_t retired_ns;        // the end that was set by the last proxy_drain_retired()
    bool is_draining;
    bool is_stopping;
    bool is_paused;               // accepts nobody, for now
    struct list handovers;        // dialogues with other workers (handover.h)
    struct timer handover_timer;  // set while there are any
    bool is_handover_due;         // something is to be done for one of them
    uint32_t last_handover;       // numbers those that give
    struct timer refused_timer; // set: refusals of clients are only counted until then
    uint64_t refused_count;     // since that was last said
    struct timer news_timer;    // set: more is to be said of servers' health than was said
    struct log_limit log_limit;
    struct deposits deposits;
};

// The place of a listener among the configuration's, and the proxy's.
size_t listener_index(const struct proxy *proxy, const struct config_listener *listener);
// Stops accepting while a limit or the system says so; proxy.c starts it again.
void listener_start(struct listener *listener);
void listener_pause(struct listener *listener);
void listener_drain(struct listener *listener);
void listener_look(struct listener *listener); // takes who waits although nobody said so
// A client is over a limit of its own: is counted, and said, unless that was just done for another.
void listener_client_refused(const struct listener *listener, const char *client, enum admission_refusal refusal);
void listener_say_refused(struct proxy *proxy); // proxy->refused_timer has expired

// There is no buffer for it: it tries again when there may be one.
void proxy_starve(struct proxy *proxy, struct flow *flow);

// Sets the connection's end if its certificate is retired (proxy_drain_retired()).
void proxy_check_retired(struct connection *connection);
// The same for one that was at rest, or comes from elsewhere: what was said of it holds.
void proxy_keep_retired(struct connection *connection);

// ---- connection.c ----

// Takes over an accepted socket. On failure (no memory) the socket is closed, the client is counted no longer, and that is said in
// the log.
void connection_create(struct listener *listener, int fd, const struct sockaddr_storage *peer, uint32_t place);
// HELLO begins, or ANSWER. `first`: what of the client's bytes was read already (may be empty), becomes the handshake's; NULL: none.
void connection_start(struct connection *connection, struct buffer *first);
struct listener *connection_listener(const struct connection *connection);
void connection_enter(struct connection *connection, enum connection_state state);
// The server has taken the connection.
void connection_server_stands(struct connection *connection);
// A byte moved.
void connection_active(struct connection *connection);
// A flow has come to its end (flow_has_ended()): looks what follows.
void connection_flow_ended(struct flow *flow);
// An endpoint's transmit side is free: control records, offload, its flow, the end of stream.
void connection_transmit(struct connection *connection, struct endpoint *endpoint);
// Starts to send an alert; its transmit side is free. close_notify is the end of what it gets, as every other is.
void connection_send_alert(struct connection *connection, struct endpoint *endpoint, enum record_alert alert);
void connection_on_timer(struct connection *connection);
// RELAY: sets the timer by what the connection is, whatever it was set to before.
void connection_set_timer(struct connection *connection);
// The rest of a control record that was left where it was.
void connection_control_go_on(struct connection *connection, struct endpoint *endpoint);
struct flow *connection_flow_into(struct connection *connection, const struct endpoint *endpoint);

// ---- header_in.c: HEADER ----
void header_in_start(struct connection *connection);
void header_in_retry(struct connection *connection); // there are buffers again

// ---- redirect.c: ANSWER ----
// `first`: what of the client's bytes was read already, becomes the request's; NULL: none.
void redirect_start(struct connection *connection, struct buffer *first);
void redirect_retry(struct connection *connection); // there are buffers again
void redirect_timed_out(struct connection *connection);
void redirect_drain(struct connection *connection); // ends it if it waits for a request; harmless in other states
void redirect_finish(struct connection *connection);

// ---- header_out.c: what the server is told before anything else ----

struct engine_certificates;

// Whether the server wants more than addresses: then header_out_make() wants the certificates.
bool header_out_wants_certificates(const struct connection *connection);
// The handshake is over: makes the header, if the upstream wants one. What an incoming header said is forgotten. outcome and
// certificates may be NULL, when TLS is not ours: then names.sni is all that is told of it. 0 or -ENOMEM.
int header_out_make(struct connection *connection, const struct engine_outcome *outcome,
                    const struct engine_certificates *certificates);
// The server stands: starts to send it, ahead of the flow, or of the handshake with the server. False: there is none, nothing is done.
bool header_out_send(struct connection *connection);
// SHAKE: no other server will want it. Elsewhere that is known by itself.
void header_out_forget(struct connection *connection);

// ---- connection_header.c: what is kept of both ----
void connection_header_destroy(struct connection_header *header); // NULL is accepted
// For the log line. The socket's own address, if a header named another; NULL: `peer` is that.
const char *connection_header_via(const struct connection *connection);
// The unique id that a header brought, or that the server was told; NULL: none.
#define UNIQUE_ID_TEXT 33
const char *connection_header_unique_id(const struct connection *connection, char text[static UNIQUE_ID_TEXT]);

// ---- handshake.c: HELLO ----
// `first`: bytes of the client's that were read already, becomes the handshake's; NULL: none.
void handshake_start(struct connection *connection, struct tls_context *context, struct buffer *first);
// The listener's clients speak no TLS: the dialling begins. `first`: as above, becomes what is passed on first.
void handshake_skip(struct connection *connection, struct buffer *first);
void handshake_retry(struct connection *connection);  // there are buffers again
void handshake_go_on(struct connection *connection);  // it is its turn: its connection was on proxy->hellos
void handshake_finish(struct connection *connection); // the engine goes

// ---- peek.c: HELLO, where streams may be passed through ----
enum peek_verdict {
    PEEK_WANTS_INPUT, // the buffer was given back
    PEEK_PASSES,      // route, upstream and name are set; the buffer holds all that came, and is the server's
    PEEK_TERMINATES,  // the buffer holds all that came, and is the engine's
    PEEK_NO_MEMORY,   // the buffer was given back
};
// Looks at what came from the client: *buffer, with one piece, and what came before.
enum peek_verdict peek_take(struct connection *connection, struct buffer **buffer);
void peek_finish(struct connection *connection);

// ---- dial.c: DIAL ----
void dial_start(struct connection *connection);
void dial_timed_out(struct connection *connection);
void dial_stop(struct connection *connection);    // it waits for no server any more; harmless at any time
void dial_release(struct connection *connection); // its socket to the server is closed; harmless at any time
void dial_forget(struct connection *connection);  // the server that it went to; nothing asks for it any more
void dial_run_queues(struct proxy *proxy);        // those that wait go on if there is room
// How the handshake with the server that took it went, where there is one (SHAKE).
void dial_server_succeeded(struct connection *connection);
void dial_server_failed(struct connection *connection, const char *why); // counts against the server
// The server is left, and another one tried; why: static words for the log, should none be left.
void dial_another(struct connection *connection, const char *why);

// ---- waiting.c: DIAL, in a queue ----
void waiting_start(struct connection *connection);
void waiting_stop(struct connection *connection); // harmless at any time

// ---- shake.c: SHAKE ----
bool shake_is_wanted(const struct connection *connection);
void shake_start(struct connection *connection);
void shake_begin(struct connection *connection); // the PROXY header has left
void shake_lost(struct connection *connection);  // the server took no more
void shake_go_on(struct connection *connection); // it is its turn: its connection was on proxy->hellos
void shake_retry(struct connection *connection); // there are buffers again
void shake_check(struct connection *connection); // the client's last flight has left: both may be done
void shake_timed_out(struct connection *connection);

// ---- offload.c: OFFLOAD ----
void offload_start(struct connection *connection);
void offload_adopt(struct connection *connection); // of one that another worker had
// Moves a direction of an endpoint into the kernel. False when the connection had to end because of it.
bool connection_offload(struct connection *connection, struct endpoint *endpoint,
                        enum record_direction direction);
// A flow has carried more: is it time for the kernel?
void connection_offload_due(struct flow *flow);

// ---- rest.c: RELAY, to be moved to another worker (carry.h) ----

// RELAY, not halted already, and nothing in it that can't travel.
bool connection_can_move(const struct connection *connection);
// Lets nothing begin any more and cancels what is in flight. Only where connection_can_move(). `rested` is called once, unless
// connection_resume() comes first: with true from proxy_tick(), where it may do with this connection and with others what it likes; with false out
// of any handler. While it is at rest nothing ends the connection, no timer, no proxy_stop(): whoever asked for it must resume or release it,
// soon.
void connection_rest(struct connection *connection, connection_rested *rested, void *context);
// Goes on from where it was; of one that carry_read() made: begins. Also of one that has not come to rest yet (`rested` is not called then). The connection may be
// gone afterwards.
void connection_resume(struct connection *connection);
// At rest, and another worker's from now on: its descriptors are closed, nothing is said on the wire nor in the log, and all that it was counted in is
// given back. The connection is gone. Also for one that carry_read() made and that is not to be started.
void connection_release(struct connection *connection);
void rest_check(struct connection *connection);      // nothing may be in flight any more
void rest_leave(struct connection *connection);      // it must go its way: its sends go on
// A send has ended so because it was to come to rest, and goes on if that has changed.
bool rest_cancelled(const struct connection *connection, const struct endpoint *endpoint, int result);
void rest_timer(struct connection *connection);      // it has not come to rest yet
void rest_tell(struct proxy *proxy);                 // those that have

// ---- deposit.c: RELAY, idle, to outlive this worker (ringbolt/deposit.h) ----
int deposits_create(struct proxy *proxy); // 0 or -ENOMEM
void deposits_destroy(struct proxy *proxy);
void deposits_tell(struct proxy *proxy); // the master, of those that have gone: with each turn
// It has nothing to do: comes to rest and then falls asleep, if it can. Its timer may be set anew.
void deposit_offer(struct connection *connection);
// Before anything is read from its sockets, or sent to them. Harmless for one that is awake.
void deposit_wake(struct connection *connection);
// It is no worker's after this one, or another one's: the master lets go of its sockets. Harmless for one that has no deposit.
void deposit_end(struct connection *connection);

// ---- handover.c: dialogues with other workers (ringbolt/handover.h) ----
void handovers_run(struct proxy *proxy);  // goes on with all: from proxy_tick()
void handovers_look(struct proxy *proxy); // proxy->handover_timer has expired
void handovers_stop(struct proxy *proxy); // all of them end at once
void handovers_came(struct proxy *proxy); // a connection came to RELAY
void handovers_forget(const struct connection *connection); // it leaves proxy->connections

// ---- ending.c: the only way out, DRAIN and DYING ----

// The only way out. Says why; `alert` goes to the client if it is still possible (ALERT_NONE: nothing is sent), `detail` (static
// words or NULL) into the log. The first call counts, later ones do nothing.
void connection_end(struct connection *connection, enum connection_end end, enum record_alert alert,
                    const char *detail);
// The same for what endpoint_open() and its like found.
void connection_end_event(struct connection *connection, const struct endpoint *source,
                          const struct endpoint_event *event);
// The worker is told to stop: ends the connection if it lives, and cuts short what one that has ended waits for.
void connection_stop(struct connection *connection);
void ending_drain(struct connection *connection); // DRAIN begins
void ending_die(struct connection *connection);   // DYING begins
void ending_timer(struct connection *connection); // the timer of either has expired
// DRAIN: whatever can be done next; nothing in other states.
void connection_drain(struct connection *connection);
// Frees the connection if it is DYING and nothing is in flight; every handler ends with this. True when it is gone.
bool connection_reap(struct connection *connection);
bool connection_is_quiet(const struct connection *connection); // nothing is in flight
void connection_leave_admission(const struct connection *connection);
// What reaping comes to in the end: frees it and all that it has but its sockets, which are closed.
void connection_free(struct connection *connection);
// The same of one that is counted nowhere yet, and has no sockets.
void connection_abandon(struct connection *connection);

// ---- words.c ----
const char *connection_end_text(enum connection_end end);

// ---- connection_log.c ----
void connection_log(const struct connection *connection);

// ---- connection_count.c: what the counters are told (ringbolt/stats.h) ----
void connection_count_accepted(const struct connection *connection);
void connection_count_handshake(const struct connection *connection); // it is done
// What became of an attempt to connect to a server of its upstream.
void connection_count_connect(const struct connection *connection, size_t server, bool is_success);
void connection_count_connected(const struct connection *connection); // a server has taken it
void connection_count_bytes(const struct connection *connection, bool is_up, uint64_t bytes);
void connection_count_key_updates(const struct connection *connection, const struct endpoint *endpoint,
                                  enum record_direction direction, unsigned updates);
void connection_count_adopted(const struct connection *connection); // from another worker: in the gauges alone
void connection_count_released(const struct connection *connection); // to another worker
void connection_count_ended(const struct connection *connection); // with the log line
// ---- log_limit.c ----
// Whether a connection that has ended gets its line; if not, it is counted.
bool log_limit_allows(const struct connection *connection);
void log_limit_say(struct proxy *proxy); // how many got none: its timer has expired, or the proxy goes

// ---- connection_slab.c ----
struct connection_slabs *connection_slabs_create(void);
void connection_slabs_destroy(struct connection_slabs *slabs);
struct connection *connection_slab_take(struct connection_slabs *slabs); // zeroed; NULL: no memory
void connection_slab_give(struct connection *connection);                // wipes
