// SPDX-License-Identifier: Apache-2.0
// What is wrong with files, said once: in the report while everything is loaded, in the log afterwards.
#include <stdlib.h>
#include <string.h>

#include "ringbolt/log.h"
#include "sources_inside.h"
#include "src/config/memory.h"

#define WARNING_MARK "warning: " // that report_warn() puts ahead, where a report names no file

char *report_text(const struct report *found)
{
    char *text = memory_copy("");

    for (size_t i = 0; i < found->count; i++) {
        char *longer;

        if (found->lines[i].is_warning)
            continue;
        longer = memory_print("%s%s%s", text, text[0] != '\0' ? "; " : "", found->lines[i].text);
        free(text);
        text = longer;
    }
    return text;
}

static const char *line_text(const struct report_line *line)
{
    size_t mark = strlen(WARNING_MARK);

    return line->is_warning && strncmp(line->text, WARNING_MARK, mark) == 0 ? line->text + mark : line->text;
}

static void hand_on(struct sources *sources, const struct report *found, bool is_error)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct report_line *line = &found->lines[i];

        if (is_error && !line->is_warning)
            report_add(sources->report, line->where, "%s", line_text(line));
        else
            report_warn(sources->report, line->where, "%s", line_text(line));
    }
}

void say_wrong(struct sources *sources, struct piece *piece, const struct report *found,
               const struct saying *saying)
{
    char *text = report_text(found);
    bool is_known = piece->problem != NULL && strcmp(piece->problem, text) == 0;

    free(piece->problem);
    piece->problem = text;
    if (sources->report != NULL)
        hand_on(sources, found, saying->is_own || sources->is_check);
    else if (!is_known)
        log_error(saying->wrong, log_text("file", saying->file), log_text("key_file", saying->key_file),
                  log_text("serving", saying->serving), log_text("reason", text));
}

void say_healed(struct sources *sources, struct piece *piece, const struct saying *saying)
{
    if (piece->problem == NULL)
        return;
    free(piece->problem);
    piece->problem = NULL;
    log_info(saying->healed, log_text("file", saying->file), log_text("key_file", saying->key_file));
}

void say_warnings(struct sources *sources, const struct report *found, const char *file)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct report_line *line = &found->lines[i];

        if (!line->is_warning)
            continue;
        if (sources->report != NULL)
            report_warn(sources->report, line->where, "%s", line_text(line));
        else
            log_warning("files could be better", log_text("file", file), log_text("reason", line_text(line)));
    }
}
