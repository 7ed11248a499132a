// SPDX-License-Identifier: Apache-2.0
#include "top.h"

#include <stdlib.h>
#include <string.h>

#include "summary.h"
#include "table.h"
#include "top_inside.h"

#define SOON_S (14 * 86400) // a certificate that ends within is a warning

// A cell in running text.
static void write_cell(FILE *to, const char *before, char *cell, const char *behind)
{
    fprintf(to, "%s%s%s", before, cell, behind);
    free(cell);
}

// ---- the head ----

static void write_title(const struct frame *frame, const char *trouble)
{
    const char *reason = table_text(frame->now, "reason");
    const char *time = table_text(frame->now, "time"); // 2026-11-21T09:30:00.123Z
    char clock[sizeof("09:30:00")] = "";

    if (strlen(time) >= 19)
        snprintf(clock, sizeof(clock), "%s", time + 11);
    top_write_text(frame->to, "\x01ringbolt %, %", table_text(frame->now, "version"),
                   table_text(frame->now, "state"));
    fputs(", up ", frame->to);
    summary_write_uptime(frame->to, frame->now);
    fprintf(frame->to, ", pid " NUMBER, number(frame->now, "pid"));
    top_write_text(frame->to, ", % UTC\n", clock);
    if (trouble)
        top_write_text(frame->to, "\x02no answer: %. What follows is from then\n", trouble);
    else if (reason[0])
        top_write_text(frame->to, "\x02not ready: %\n", reason);
}

static json_int_t all_failures(const json_t *document)
{
    json_int_t total = 0;
    const json_t *listener;
    size_t i;

    json_array_foreach(json_object_get(document, "listeners"), i, listener) total +=
        top_failures(json_object_get(listener, "ends"));
    return total;
}

static void write_totals(const struct frame *frame)
{
    const json_t *now = json_object_get(frame->now, "totals");
    const json_t *before = json_object_get(frame->before, "totals");
    json_int_t shaken = number(now, "handshakes") - number(before, "handshakes");
    json_int_t resumed = number(now, "resumed") - number(before, "resumed");

    fprintf(frame->to, "connections " NUMBER, number(now, "connections"));
    write_cell(frame->to, "; a second: accepted ",
               top_rate_cell(frame, true, number(now, "accepted"), number(before, "accepted")), "");
    write_cell(frame->to, ", failed ",
               top_rate_cell(frame, true, all_failures(frame->now), all_failures(frame->before)), "");
    write_cell(frame->to, ", handshakes ",
               top_rate_cell(frame, true, number(now, "handshakes"), number(before, "handshakes")), "");
    if (frame->before && shaken > 0)
        fprintf(frame->to, " (" NUMBER "%% resumed)", 100 * resumed / shaken);
    write_cell(frame->to, "\nbytes a second: in ", top_byte_rate_cell(frame, now, before, "bytes_in"), "");
    write_cell(frame->to, ", out ", top_byte_rate_cell(frame, now, before, "bytes_out"), "\n");
}

static void write_warnings(const struct frame *frame)
{
    const json_t *certificates = json_object_get(frame->now, "certificates");
    const json_t *each;
    size_t soon = 0;
    size_t i;

    json_array_foreach(json_object_get(certificates, "first_to_end"), i, each) soon +=
        top_ends_in_s(frame, each) < SOON_S;
    if (soon > 0)
        fprintf(frame->to, "\x02%zu certificate%s ended or will within %d days\n", soon,
                soon == 1 ? " has" : "s have", SOON_S / 86400);
    if (number(certificates, "problems") > 0)
        fprintf(frame->to, "\x02" NUMBER " with files that are wrong now: see ringbolt certificates\n",
                number(certificates, "problems"));
}

// ---- all of it ----

char *top_frame(const json_t *now, const json_t *before, const char *trouble)
{
    struct frame frame = {.now = now, .before = before};
    char *text = NULL;
    size_t size = 0;

    frame.passed_s = real(now, "uptime_s") - real(before, "uptime_s");
    if (number(now, "pid") != number(before, "pid") || frame.passed_s <= 0)
        frame.before = NULL;
    frame.to = open_memstream(&text, &size);
    if (!frame.to)
        abort();
    write_title(&frame, trouble);
    write_warnings(&frame);
    write_totals(&frame);
    top_write_listeners(&frame);
    top_write_servers(&frame);
    top_write_workers(&frame);
    top_write_predecessors(&frame);
    top_write_records(&frame);
    summary_write_ends(frame.to, "", now);
    top_write_times(&frame);
    top_write_certificates(&frame);
    if (fclose(frame.to) != 0)
        abort();
    return text;
}
