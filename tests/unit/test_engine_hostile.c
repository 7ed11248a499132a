// SPDX-License-Identifier: Apache-2.0
// Handshakes that fail: clients that want what we don't do, peers that speak something else, and peers that mean harm. Each ends
// in words and the right alert, with bounded memory, and leaves no trace in OpenSSL's error queue (talk_feed() checks that).
#include "tests/unit/handshake.h"

#include <openssl/kdf.h>

#include "src/tls/hello.h"

#define HELLO_SIZE_MAX 32768 // as server_init_empty() has it

#define OUTPUT_MAX 16384 // more than any server's flight here

static struct server server; // RSA and ECDSA

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    server_init(&server, "RSA2048 P-256");
    server_start(&server);
    return 0;
}

static int tear_down(void **state)
{
    server_finish(&server);
    record_finish();
    return 0;
}

static void give(struct talk *talk, const void *bytes, size_t size)
{
    must(talk->left_size + size <= sizeof(talk->left), "fewer bytes");
    memcpy(talk->left + talk->left_size, bytes, size);
    talk->left_size += size;
}

// alert: sent in clear text (then it stands at the end of what was sent), received, or under TLS 1.3's keys; ALERT_NONE.
static void assert_failed(struct talk *talk, int alert, const char *words)
{
    talk_deliver(talk);
    assert_int_equal(talk->status, ENGINE_FAILED);
    assert_string_equal(engine_failure(talk->engine), words);
    assert_int_equal(engine_alert(talk->engine), alert);
}

static void assert_alert_sent(const struct talk *talk, int alert)
{
    const uint8_t *last = talk->sent + talk->sent_size - 7;

    assert_true(talk->sent_size >= 7);
    assert_int_equal(last[0], RECORD_ALERT);
    assert_int_equal(last[1], 3);
    assert_int_equal(last[4], 2);
    assert_int_equal(last[5], 2); // fatal
    assert_int_equal(last[6], alert);
}

// ---- clients that we don't suit ----

static SSL_CTX *client_of(int version_min, int version_max)
{
    SSL_CTX *client = client_context();

    SSL_CTX_set_min_proto_version(client, version_min);
    SSL_CTX_set_max_proto_version(client, version_max);
    return client;
}

static SSL_CTX *cbc_only(void)
{
    SSL_CTX *client = client_of(TLS1_2_VERSION, TLS1_2_VERSION);

    must(SSL_CTX_set_cipher_list(client, "ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256") == 1, "CBC");
    return client;
}

static SSL_CTX *no_ecdhe(void)
{
    SSL_CTX *client = client_of(TLS1_2_VERSION, TLS1_2_VERSION);

    must(SSL_CTX_set_cipher_list(client, "AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256") == 1,
         "RSA key exchange");
    return client;
}

static SSL_CTX *ccm_only(void)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, TLS1_3_VERSION);

    must(SSL_CTX_set_ciphersuites(client, "TLS_AES_128_CCM_SHA256") == 1, "CCM");
    return client;
}

static SSL_CTX *other_group(void)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, TLS1_3_VERSION);

    must(SSL_CTX_set1_groups_list(client, "P-521") == 1, "P-521");
    return client;
}

static SSL_CTX *fallback(void)
{
    SSL_CTX *client = client_of(TLS1_2_VERSION, TLS1_2_VERSION);

    SSL_CTX_set_mode(client, SSL_MODE_SEND_FALLBACK_SCSV);
    return client;
}

static SSL_CTX *other_alpn(void)
{
    SSL_CTX *client = client_context();

    must(SSL_CTX_set_alpn_protos(client, (const uint8_t *)"\x04spdy", 5) == 0, "ALPN");
    return client;
}

static SSL_CTX *only_tls12(void)
{
    return client_of(TLS1_2_VERSION, TLS1_2_VERSION);
}

static SSL_CTX *only_tls13(void)
{
    return client_of(TLS1_3_VERSION, TLS1_3_VERSION);
}

static void test_clients_refused(void **state)
{
    static const struct {
        SSL_CTX *(*client)(void);
        enum config_tls_version version_min, version_max;
        int alert;
        const char *words;
    } cases[] = {
        {cbc_only, CONFIG_TLS12, CONFIG_TLS13, 40, "no shared cipher suite"},
        {no_ecdhe, CONFIG_TLS12, CONFIG_TLS13, 40, "no shared cipher suite"},
        {ccm_only, CONFIG_TLS12, CONFIG_TLS13, 40, "no shared cipher suite"},
        {other_group, CONFIG_TLS12, CONFIG_TLS13, 40, "no suitable key share"},
        {fallback, CONFIG_TLS12, CONFIG_TLS13, 86, "inappropriate fallback"},
        {other_alpn, CONFIG_TLS12, CONFIG_TLS13, 120, "no application protocol"},
        {only_tls12, CONFIG_TLS13, CONFIG_TLS13, 70, "client offers at most TLS 1.2"},
        {only_tls13, CONFIG_TLS12, CONFIG_TLS12, 70, "unsupported protocol version"},
    };
    static const char *const alpn[] = {"h2", "http/1.1"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server own = server;
        SSL_CTX *client = cases[i].client();
        struct talk talk;

        own.context = NULL;
        own.listener.tls.version_min = cases[i].version_min;
        own.listener.tls.version_max = cases[i].version_max;
        own.listener.tls.alpn = (char **)alpn;
        own.listener.tls.alpn_count = 2;
        server_start(&own);
        talk_init(&talk, &own, client);
        SSL_set_tlsext_host_name(talk.client, "refused.example");
        talk_run(&talk);
        assert_failed(&talk, cases[i].alert, cases[i].words);
        assert_alert_sent(&talk, cases[i].alert);
        assert_string_equal(engine_sni(talk.engine), "refused.example");
        talk_finish(&talk);
        SSL_CTX_free(client);
        tls_context_destroy(own.context);
    }
}

// OpenSSL may be built without them, so a hello of TLS 1.2 is made older: its version is in bytes 9 and 10.
static void test_old_versions_refused(void **state)
{
    static const struct {
        uint8_t minor;
        int alert; // SSL 3.0 has no protocol_version
        const char *words;
    } cases[] = {
        {0, 40, "client offers at most SSL 3.0"},
        {1, 70, "client offers at most TLS 1.0"},
        {2, 70, "client offers at most TLS 1.1"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        SSL_CTX *client = only_tls12();
        struct talk talk;

        talk_init(&talk, &server, client);
        talk_client(&talk);
        talk.left[10] = cases[i].minor;
        talk_feed(&talk);
        assert_failed(&talk, cases[i].alert, cases[i].words);
        assert_alert_sent(&talk, cases[i].alert);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

static void test_client_sends_alert(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_of(version, version);
        struct talk talk;

        SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL); // and no authority is known
        talk_init(&talk, &server, client);
        talk_run(&talk);
        assert_failed(&talk, 48, "client sent alert unknown_ca");
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

static void test_client_closes(void **state)
{
    static const uint8_t close_notify[] = {RECORD_ALERT, 3, 3, 0, 2, 1, 0};
    SSL_CTX *client = only_tls12();
    struct talk talk;

    talk_init(&talk, &server, client);
    talk_client(&talk);
    talk_feed(&talk);
    give(&talk, close_notify, sizeof(close_notify));
    talk_feed(&talk);
    assert_failed(&talk, ALERT_CLOSE_NOTIFY, "client sent alert close_notify");
    talk_finish(&talk);
    SSL_CTX_free(client);
}

// ---- peers that speak something else ----

static void test_first_bytes(void **state)
{
#define BYTES(text) text, sizeof(text) - 1
    static const struct {
        const char *bytes;
        size_t size;
        int alert;
        const char *words;
    } cases[] = {
        {BYTES("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("POST / HTTP/1.1\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("HEAD / HTTP/1.0\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("PUT /x HTTP/1.0\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("DELETE / HTTP/1.1\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("OPTIONS * HTTP/1.1\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("CONNECT example.com:443 HTTP/1.1\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ALERT_NONE, "plain HTTP on the TLS port"},
        {BYTES("SSH-2.0-OpenSSH_9.2\r\n"), ALERT_NONE, "not a TLS handshake"},
        {BYTES("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"), ALERT_NONE, "not a TLS handshake"},
        {BYTES("\0\0\0\0\0\0\0\0\0\0"), ALERT_NONE, "not a TLS handshake"},
        {BYTES("\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10"), 70, "SSLv2-style ClientHello"},
        {BYTES("\x80\x2e\x01\x03\x03\0\x15\0\0\0\x10"), 70, "SSLv2-style ClientHello"},
        {BYTES("\x16\x03\x01\xff\xff\x01"), 22, "record too large"},
        {BYTES("\x17\x03\x03\0\x05hello"), 10, "unexpected message"},
        {BYTES("\x14\x03\x03\0\x01\x01"), 10, "unexpected message"},
        {BYTES("\x15\x03\x01\0\x02\x02\x28"), 10, "unexpected message"},
        {BYTES("\x16\x03\x01\0\x04\x02\0\0\0"), 10, "unexpected message"},
        {BYTES("\x16\x03\x01\0\x08\x01\0\0\x04\x03\x03\0\0"), 50, "length mismatch"},
    };

    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        struct talk talk;

        talk_init(&talk, &server, NULL);
        talk.piece = i % 2; // all at once, then byte by byte
        give(&talk, cases[i / 2].bytes, cases[i / 2].size);
        talk_feed(&talk);
        assert_failed(&talk, cases[i / 2].alert, cases[i / 2].words);
        if (cases[i / 2].alert == ALERT_NONE)
            assert_int_equal(talk.sent_size, 0);
        else
            assert_alert_sent(&talk, cases[i / 2].alert);
        assert_string_equal(engine_sni(talk.engine), "");
        talk_finish(&talk);
    }
}

// ---- hellos of odd sizes and shapes ----

static size_t get_16(const uint8_t *at)
{
    return (size_t)at[0] << 8 | at[1];
}

static void put_16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

// One handshake message into records of at most `piece` bytes. The size of these.
static size_t into_records(const uint8_t *message, size_t size, size_t piece, uint8_t *records)
{
    uint8_t *next = records;

    for (size_t start = 0; start < size; start += piece) {
        size_t length = size - start < piece ? size - start : piece;

        memcpy(next, "\x16\x03\x01", 3);
        put_16(next + 3, length);
        memcpy(next + RECORD_HEADER_SIZE, message + start, length);
        next += RECORD_HEADER_SIZE + length;
    }
    return (size_t)(next - records);
}

// A ClientHello that is to be `size` bytes behind its header gets a padding extension (RFC 7685).
static void hello_pad(uint8_t *message, size_t size)
{
    size_t old = get_16(message + 2);
    uint8_t *next = message + 4 + 2 + 32;
    size_t added = size - old;

    must(added >= 4, "a larger size");
    next += 1 + *next;        // session id
    next += 2 + get_16(next); // cipher suites
    next += 1 + *next;        // compression methods
    put_16(next, get_16(next) + added);
    next = message + 4 + old;
    put_16(next, 21);
    put_16(next + 2, added - 4);
    memset(next + 4, 0, added - 4);
    message[1] = (uint8_t)(size >> 16);
    put_16(message + 2, size);
}

// The client's flight is one record of one ClientHello, at `start`: it is padded to `size` and cut into records of `piece`.
static void reshape_hello(struct talk *talk, size_t start, size_t size, size_t piece)
{
    static uint8_t message[TALK_SIZE];
    size_t length = get_16(talk->left + start + 3);

    must(talk->left[start] == RECORD_HANDSHAKE && start + RECORD_HEADER_SIZE + length == talk->left_size,
         "one record");
    memcpy(message, talk->left + start + RECORD_HEADER_SIZE, length);
    if (size > 0) {
        hello_pad(message, size);
        length = 4 + size;
    }
    talk->left_size = start + into_records(message, length, piece, talk->left + start);
}

static void test_hello_sizes(void **state)
{
    static const struct {
        size_t size;
        size_t piece;
        bool is_taken;
    } cases[] = {
        {2000, 16384, true},
        {20000, 16384, true},
        {20000, 100, true},
        {HELLO_SIZE_MAX, 16384, true},
        {HELLO_SIZE_MAX + 1, 16384, false},
        {HELLO_SIZE_MAX + 1, 3, false},
        {60000, 1000, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        SSL_CTX *client = client_context();
        struct talk talk;

        talk_init(&talk, &server, client);
        talk_client(&talk);
        reshape_hello(&talk, 0, cases[i].size, cases[i].piece);
        if (cases[i].is_taken) {
            talk_feed(&talk);
            talk_deliver(&talk);
            assert_int_equal(talk.status, ENGINE_WANTS_INPUT);
            assert_true(talk.sent_size > 100); // its whole flight
        } else {
            // The announcement is enough.
            talk.left_size = cases[i].piece == 3 ? 2 * (RECORD_HEADER_SIZE + 3) : RECORD_HEADER_SIZE + 4;
            talk_feed(&talk);
            assert_failed(&talk, ALERT_ILLEGAL_PARAMETER, "ClientHello too large");
            assert_int_equal(talk.sent_size, 7);
            assert_alert_sent(&talk, ALERT_ILLEGAL_PARAMETER);
        }
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

// The client's first key share is of no use, and its second hello is too large.
static void test_second_hello_too_large(void **state)
{
    SSL_CTX *client = only_tls13();
    struct talk talk;
    size_t start;

    assert_int_equal(SSL_CTX_set1_groups_list(client, "P-521:P-256"), 1);
    talk_init(&talk, &server, client);
    talk_client(&talk);
    talk_feed(&talk);
    talk_deliver(&talk);
    talk_client(&talk);
    start = talk.left[0] == RECORD_CHANGE_CIPHER_SPEC ? 6 : 0;
    reshape_hello(&talk, start, 40000, 16384);
    talk_feed(&talk);
    assert_failed(&talk, ALERT_ILLEGAL_PARAMETER, "ClientHello too large");
    assert_alert_sent(&talk, ALERT_ILLEGAL_PARAMETER);
    talk_finish(&talk);
    SSL_CTX_free(client);
}

// Legal, if odd: it must work, to the end.
static void test_hello_in_tiny_records(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_of(version, version);
        struct engine_outcome outcome;
        struct talk talk;

        talk_init(&talk, &server, client);
        talk_client(&talk);
        reshape_hello(&talk, 0, 0, 1);
        talk_feed(&talk);
        talk_deliver(&talk);
        outcome = talk_succeed(&talk);
        assert_keys_work(&talk, &outcome);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

// ---- floods ----

// Feeds the record again and again until that fails; it must soon.
static void assert_flood_ends(struct talk *talk, const uint8_t *record, size_t size, int alert,
                              const char *words)
{
    for (int i = 0; i < 100 && talk->status == ENGINE_WANTS_INPUT; i++) {
        give(talk, record, size);
        talk_feed(talk);
    }
    assert_failed(talk, alert, words);
}

static void test_floods(void **state)
{
    static const uint8_t empty_handshake[] = {22, 3, 3, 0, 0};
    static const uint8_t empty_data[] = {23, 3, 3, 0, 0};
    static const uint8_t warning[] = {21, 3, 3, 0, 2, 1, 112};
    static const uint8_t change[] = {20, 3, 3, 0, 1, 1};
    static const struct {
        const uint8_t *record;
        size_t size;
        int version; // after the client's hello; 0: right at the start
        int alert;
        const char *words;
    } cases[] = {
        {empty_handshake, sizeof(empty_handshake), 0, 10, "record too small"},
        {warning, sizeof(warning), 0, 10, "unexpected message"},
        {empty_handshake, sizeof(empty_handshake), TLS1_2_VERSION, 10, "record too small"},
        {warning, sizeof(warning), TLS1_2_VERSION, 10, "too many warn alerts"},
        {change, sizeof(change), TLS1_2_VERSION, 10, "unexpected message"},
        {change, sizeof(change), TLS1_3_VERSION, 10, "unexpected ccs message"},
        {empty_data, sizeof(empty_data), TLS1_3_VERSION, 20, "decryption failed or bad record mac"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        SSL_CTX *client = client_of(cases[i].version, cases[i].version);
        struct talk talk;

        talk_init(&talk, &server, client);
        if (cases[i].version != 0) {
            talk_client(&talk);
            talk_feed(&talk);
            talk_deliver(&talk);
        }
        assert_flood_ends(&talk, cases[i].record, cases[i].size, cases[i].alert, cases[i].words);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

// ---- what stands around Finished: the test takes the client's keys and writes its last flight anew ----

static uint8_t logged[RECORD_SECRET_MAX];
static long logged_size;

// TLS 1.3: the secret of the client's handshake keys; TLS 1.2: the master secret.
static void on_client_keylog(const SSL *ssl, const char *line)
{
    uint8_t *secret;

    if (strncmp(line, "CLIENT_HANDSHAKE_TRAFFIC_SECRET ", 32) != 0 &&
        strncmp(line, "CLIENT_RANDOM ", 14) != 0)
        return;
    secret = OPENSSL_hexstr2buf(strrchr(line, ' ') + 1, &logged_size);
    must(secret != NULL && logged_size <= (long)sizeof(logged), "a secret");
    memcpy(logged, secret, (size_t)logged_size);
    OPENSSL_free(secret);
}

// RFC 5246 §6.3, for AES-128-GCM.
static void client_keys_tls12(SSL *client, struct record_keys *keys)
{
    uint8_t seed[13 + 64] = "key expansion";
    uint8_t block[16 + 16 + 4];
    EVP_PKEY_CTX *prf = EVP_PKEY_CTX_new_from_name(NULL, "TLS1-PRF", NULL);
    size_t size = sizeof(block);

    SSL_get_server_random(client, seed + 13, 32);
    SSL_get_client_random(client, seed + 13 + 32, 32);
    must(EVP_PKEY_derive_init(prf) == 1 && EVP_PKEY_CTX_set_tls1_prf_md(prf, EVP_sha256()) == 1 &&
             EVP_PKEY_CTX_set1_tls1_prf_secret(prf, logged, (int)logged_size) == 1 &&
             EVP_PKEY_CTX_add1_tls1_prf_seed(prf, seed, sizeof(seed)) == 1 &&
             EVP_PKEY_derive(prf, block, &size) == 1,
         "a key block");
    EVP_PKEY_CTX_free(prf);
    memcpy(keys->key, block, 16);
    memcpy(keys->iv, block + 32, 4);
}

static struct record_keys client_keys(SSL *client)
{
    struct record_keys keys = {.version = (enum record_version)SSL_version(client),
                               .cipher = RECORD_AES_128_GCM};

    if (keys.version == RECORD_TLS12) {
        client_keys_tls12(client, &keys);
    } else {
        memcpy(keys.secret, logged, 32);
        keys.secret_size = 32;
        must(record_keys_derive(&keys) == 0, "keys");
    }
    return keys;
}

// Seals size bytes of the handshake as one record and gives it to the engine.
static void give_sealed(struct talk *talk, struct record_user *record, const uint8_t *bytes, size_t size)
{
    uint8_t buffer[RECORD_HEAD_MAX + 256 + RECORD_TAIL_MAX];
    size_t head = record_user_head(record);
    int sealed;

    memcpy(buffer + head, bytes, size);
    sealed = record_user_seal(record, RECORD_HANDSHAKE, buffer + head, size);
    assert_true(sealed > 0);
    give(talk, buffer, (size_t)sealed);
}

// Runs until the client's Finished is the last record in talk->left, which it takes off and opens. Its size.
static size_t take_finished(struct talk *talk, struct record_user *record, uint8_t finished[64])
{
    struct record_opened opened;
    enum record_alert alert;
    struct record_keys keys;
    size_t last = 0, next = 0;

    talk_client(talk);
    talk_feed(talk);
    talk_deliver(talk);
    talk_client(talk);
    while (next < talk->left_size) {
        last = next;
        next += RECORD_HEADER_SIZE + get_16(talk->left + last + 3);
    }
    keys = client_keys(talk->client);
    record_user_init(record, &keys, false);
    assert_int_equal(record_user_open(record, talk->left + last, talk->left_size - last, &opened, &alert), 1);
    assert_int_equal(opened.payload[0], SSL3_MT_FINISHED);
    memcpy(finished, opened.payload, opened.length);
    talk->left_size = last;
    record_user_finish(record);
    record_user_init(record, &keys, true);
    return opened.length;
}

static SSL_CTX *logging_client(int version)
{
    SSL_CTX *client = client_of(version, version);

    SSL_CTX_set_keylog_callback(client, on_client_keylog);
    must(SSL_CTX_set_ciphersuites(client, "TLS_AES_128_GCM_SHA256") == 1 &&
             SSL_CTX_set_cipher_list(client, "ECDHE-RSA-AES128-GCM-SHA256") == 1,
         "suites");
    return client;
}

static void test_finished_in_two_records(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = logging_client(version);
        struct engine_outcome outcome;
        struct record_user record;
        uint8_t finished[64];
        struct talk talk;
        size_t size;

        talk_init(&talk, &server, client);
        size = take_finished(&talk, &record, finished);
        give_sealed(&talk, &record, finished, 5);
        give_sealed(&talk, &record, finished + 5, size - 5);
        talk_feed(&talk);
        assert_int_equal(talk.status, ENGINE_DONE);
        assert_int_equal(engine_outcome(talk.engine, &outcome), 0);
        assert_int_equal(outcome.receive.sequence, version == TLS1_2_VERSION ? 2 : 0);
        record_user_finish(&record);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

// Bytes behind Finished, in its record, would be lost with the SSL object, unseen by the record layer.
static void test_more_than_finished(void **state)
{
    static const uint8_t key_update[] = {24, 0, 0, 1, 0};

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = logging_client(version);
        struct record_user record;
        uint8_t finished[64];
        struct talk talk;
        size_t size;

        talk_init(&talk, &server, client);
        size = take_finished(&talk, &record, finished);
        memcpy(finished + size, key_update, sizeof(key_update));
        give_sealed(&talk, &record, finished, size + sizeof(key_update));
        talk_feed(&talk);
        if (version == TLS1_2_VERSION)
            assert_failed(&talk, ALERT_NONE, "more than finished in the last record");
        else
            assert_failed(&talk, ALERT_UNEXPECTED_MESSAGE, "not on record boundary");
        record_user_finish(&record);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

static void test_wrong_finished(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = logging_client(version);
        struct record_user record;
        uint8_t finished[64];
        struct talk talk;
        size_t size;

        talk_init(&talk, &server, client);
        size = take_finished(&talk, &record, finished);
        finished[size - 1] ^= 1;
        give_sealed(&talk, &record, finished, size);
        talk_feed(&talk);
        assert_failed(&talk, 51, "digest check failed");
        record_user_finish(&record);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

// ---- chance ----

static uint64_t chance_state;

// xorshift64 (Marsaglia): the same row of numbers each time.
static uint64_t chance(uint64_t below)
{
    chance_state ^= chance_state << 13;
    chance_state ^= chance_state >> 7;
    chance_state ^= chance_state << 17;
    return chance_state % below;
}

static void mutate(struct talk *talk)
{
    for (uint64_t count = 1 + chance(4); count > 0; count--) {
        size_t at = chance(talk->left_size);

        switch (chance(4)) {
        case 0: // one bit
            talk->left[at] ^= (uint8_t)(1 << chance(8));
            break;
        case 1: // an extreme or any value
            talk->left[at] = (uint8_t)(chance(2) == 0 ? chance(256) : 255 * chance(2));
            break;
        case 2: // something doubled
            if (talk->left_size + 64 <= TALK_SIZE) {
                size_t length = 1 + chance(64);
                length = length < talk->left_size - at ? length : talk->left_size - at;
                memmove(talk->left + at + length, talk->left + at, talk->left_size - at);
                talk->left_size += length;
            }
            break;
        default: // something cut out
            if (talk->left_size > 64) {
                size_t length = 1 + chance(talk->left_size - at < 32 ? talk->left_size - at : 32);
                memmove(talk->left + at, talk->left + at + length, talk->left_size - at - length);
                talk->left_size -= length;
            }
        }
    }
}

// Whatever came, the engine is in one of its states, with words when it failed and with little to send.
static void assert_sane(struct talk *talk)
{
    size_t length;

    engine_output(talk->engine, &length);
    assert_true(length <= OUTPUT_MAX);
    if (talk->status == ENGINE_FAILED)
        assert_true(strlen(engine_failure(talk->engine)) > 3);
    else
        assert_true(talk->status == ENGINE_WANTS_INPUT || talk->status == ENGINE_DONE);
}

// The flight that is mutated: 0 the ClientHello, 1 what follows the server's answer.
static int mutated_failures(int flight, int rounds, int version)
{
    SSL_CTX *client = client_of(version, version);
    int failures = 0;

    must(SSL_CTX_set_alpn_protos(client, (const uint8_t *)"\x02h2", 3) == 0, "ALPN");
    for (int round = 0; round < rounds; round++) {
        struct talk talk;

        chance_state = (uint64_t)(0x9e3779b97f4a7c15u + (unsigned)(round * 4 + flight * 2 + (version & 1)));
        talk_init(&talk, &server, client);
        SSL_set_tlsext_host_name(talk.client, "mutated.example");
        talk_client(&talk);
        if (flight == 1) {
            talk_feed(&talk);
            talk_deliver(&talk);
            talk_client(&talk);
        }
        mutate(&talk);
        talk.piece = chance(3) == 0 ? 1 + chance(100) : 0;
        talk_feed(&talk);
        assert_sane(&talk);
        failures += talk.status == ENGINE_FAILED;
        talk_finish(&talk);
    }
    SSL_CTX_free(client);
    return failures;
}

static void test_mutated(void **state)
{
    // Many changes are harmless in a hello (the random, say), hardly any behind it. What is cut short waits for more.
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        assert_in_range(mutated_failures(0, 1000, version), 300, 1000);
        assert_in_range(mutated_failures(1, 200, version), 100, 200);
    }
}

static void test_garbage_in_each_state(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (int round = 0; round < 200; round++) {
            SSL_CTX *client = client_of(version, version);
            uint8_t garbage[600];
            struct talk talk;

            chance_state = (uint64_t)(0x2545f4914f6cdd1du + (unsigned)round);
            for (size_t i = 0; i < sizeof(garbage); i++)
                garbage[i] = (uint8_t)chance(256);
            if (round % 2 == 0) // as a record of some type
                memcpy(garbage, (uint8_t[]){(uint8_t)(20 + round / 2 % 5), 3, 3, 2, 0}, 5);
            talk_init(&talk, &server, client);
            talk_client(&talk);
            if (round % 3 == 1) // in the middle of the hello
                talk.left_size /= 2;
            if (round % 3 > 0)
                talk_feed(&talk);
            talk.left_size = 0;
            give(&talk, garbage, sizeof(garbage));
            if (talk.status == ENGINE_WANTS_INPUT)
                talk_feed(&talk);
            assert_sane(&talk);
            assert_int_not_equal(talk.status, ENGINE_DONE);
            talk_finish(&talk);
            SSL_CTX_free(client);
        }
    }
}

static void test_failure_stays_with_its_connection(void **state)
{
    SSL_CTX *client = client_context();
    struct engine_outcome outcome;
    struct talk good, bad;

    talk_init(&good, &server, client);
    talk_client(&good);
    talk_feed(&good);
    talk_init(&bad, &server, NULL);
    give(&bad, "GET / HTTP/1.1\r\n", 16);
    talk_feed(&bad);
    assert_failed(&bad, ALERT_NONE, "plain HTTP on the TLS port");
    assert_int_equal(engine_alert(good.engine), ALERT_NONE);
    talk_deliver(&good);
    outcome = talk_succeed(&good);
    assert_keys_work(&good, &outcome);
    talk_finish(&bad);
    talk_finish(&good);
    SSL_CTX_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_refused),
        cmocka_unit_test(test_old_versions_refused),
        cmocka_unit_test(test_client_sends_alert),
        cmocka_unit_test(test_client_closes),
        cmocka_unit_test(test_first_bytes),
        cmocka_unit_test(test_hello_sizes),
        cmocka_unit_test(test_second_hello_too_large),
        cmocka_unit_test(test_hello_in_tiny_records),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_finished_in_two_records),
        cmocka_unit_test(test_more_than_finished),
        cmocka_unit_test(test_wrong_finished),
        cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_garbage_in_each_state),
        cmocka_unit_test(test_failure_stays_with_its_connection),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
