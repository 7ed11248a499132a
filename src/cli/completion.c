// SPDX-License-Identifier: Apache-2.0
// `ringbolt completion`: a script for a shell, written from the tables that the command line is parsed by. What those don't have is what
// may stand behind an option: here.
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "ringbolt/pki.h"

#define PKI      "pki"
#define FILES    "" // any file
#define WORD_MAX 128

// Behind these options, in every command that has them. Of the others nothing is known that could be proposed.
static const struct {
    const char *option;
    const char *words;
} arguments[] = {
    {"config", FILES},
    {"socket", FILES},
    {"cert", FILES},
    {"key", FILES},
    {"dev-ca", FILES},
    {"ca", FILES},
    {"ca-key", FILES},
    {"csr", FILES},
    {"chain", FILES},
    {"out", FILES},
    {"ktls", "auto off required"},
    {"profile", "server client peer ocsp ca"},
};
#define ARGUMENT_COUNT (sizeof(arguments) / sizeof(arguments[0]))

// In place of options; "pki show" is one of the commands of pki.
static const struct {
    const char *command;
    const char *words;
} operands[] = {
    {"completion", "bash zsh fish"}, {"server", "ready drain down"}, {PKI " show", FILES},
    {PKI " renew", FILES},           {PKI " revoke", FILES},
};
#define OPERAND_COUNT (sizeof(operands) / sizeof(operands[0]))

// ---- the tables, one entry at a time ----

typedef void on_option(const char *command, const char *option, int letter, bool takes_argument);

static int letter_of(const struct option *option)
{
    return option->val > 0 && option->val < 256 ? option->val : 0;
}

static void each_option(void (*begin)(const char *command), on_option *each, void (*end)(void))
{
    char command[WORD_MAX];
    const char *option;
    bool takes;

    for (const struct cli_command_table *entry = cli_commands; entry->name; entry++) {
        begin(entry->name);
        for (size_t i = 0; entry->options[i].name; i++)
            each(entry->name, entry->options[i].name, letter_of(&entry->options[i]),
                 entry->options[i].has_arg != no_argument);
        end();
    }
    for (size_t i = 0; pki_command(i); i++) {
        snprintf(command, sizeof(command), PKI " %s", pki_command(i));
        begin(command);
        for (size_t j = 0; (option = pki_option(i, j, &takes)); j++)
            each(command, option, 0, takes);
        end();
    }
}

static void print_commands(void)
{
    for (const struct cli_command_table *entry = cli_commands; entry->name; entry++)
        printf("%s ", entry->name);
    printf(PKI " --help --version");
}

static void print_pki_commands(void)
{
    for (size_t i = 0; pki_command(i); i++)
        printf("%s%s", i > 0 ? " " : "", pki_command(i));
}

static const char *words_behind(const char *option)
{
    for (size_t i = 0; i < ARGUMENT_COUNT; i++) {
        if (strcmp(arguments[i].option, option) == 0)
            return arguments[i].words;
    }
    return NULL;
}

// "--config|-c", "--socket|-s": the options with this kind of argument as a pattern of `case`.
static void print_pattern(const char *words)
{
    const char *separator = "    ";

    for (size_t i = 0; i < ARGUMENT_COUNT; i++) {
        if (strcmp(arguments[i].words, words) != 0)
            continue;
        printf("%s--%s", separator, arguments[i].option);
        separator = "|";
    }
    if (strcmp(words, FILES) == 0)
        printf("|-c|-s|-o");
}

// ---- bash and zsh: a `case` of commands, each with its words ----

static void begin_case(const char *command)
{
    printf("    '%s') options='", command);
}

static void add_word(const char *command, const char *option, int letter, bool takes_argument)
{
    printf("--%s ", option);
}

static void end_case(void)
{
    printf("' ;;\n");
}

// The same text with each shell's own words for proposing files and words.
static void print_cases(const char *propose_files, const char *propose_words)
{
    printf("    case $previous in\n");
    print_pattern(FILES);
    printf(") %s; return ;;\n", propose_files);
    for (size_t i = 0; i < ARGUMENT_COUNT; i++) {
        if (strcmp(arguments[i].words, FILES) == 0)
            continue;
        printf("    --%s) ", arguments[i].option);
        printf(propose_words, arguments[i].words);
        printf("; return ;;\n");
    }
    printf("    esac\n    case $command in\n");
    each_option(begin_case, add_word, end_case);
    printf("    esac\n    case $command in\n");
    for (size_t i = 0; i < OPERAND_COUNT; i++) {
        printf("    '%s') ", operands[i].command);
        if (strcmp(operands[i].words, FILES) == 0)
            printf("[[ $current == -* ]] || { %s; return; } ;;\n", propose_files);
        else
            printf("options=\"%s $options\" ;;\n", operands[i].words);
    }
    printf("    esac\n");
}

static void print_bash(void)
{
    printf("# bash completion for ringbolt, by `ringbolt completion bash`\n"
           "_ringbolt() {\n"
           "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
           "    local command=${COMP_WORDS[1]} options=''\n"
           "    COMPREPLY=()\n"
           "    if ((COMP_CWORD == 1)); then\n"
           "        COMPREPLY=($(compgen -W '");
    print_commands();
    printf("' -- \"$current\"))\n        return\n    fi\n"
           "    if [[ $command == " PKI " ]]; then\n"
           "        if ((COMP_CWORD == 2)); then\n"
           "            COMPREPLY=($(compgen -W '");
    print_pki_commands();
    printf(" --help' -- \"$current\"))\n            return\n        fi\n"
           "        command=\"" PKI " ${COMP_WORDS[2]}\"\n"
           "    fi\n");
    print_cases("compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$current\")",
                "COMPREPLY=($(compgen -W '%s' -- \"$current\"))");
    printf("    COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
           "}\n"
           "complete -F _ringbolt ringbolt\n");
}

static void print_zsh(void)
{
    printf("#compdef ringbolt\n"
           "# zsh completion for ringbolt, by `ringbolt completion zsh`\n"
           "_ringbolt() {\n"
           "    local current=${words[CURRENT]} previous=${words[CURRENT-1]} command=${words[2]} options=''\n"
           "    if ((CURRENT == 2)); then\n"
           "        compadd -- ");
    print_commands();
    printf("\n        return\n    fi\n"
           "    if [[ $command == " PKI " ]]; then\n"
           "        if ((CURRENT == 3)); then\n"
           "            compadd -- ");
    print_pki_commands();
    printf(" --help\n            return\n        fi\n"
           "        command=\"" PKI " ${words[3]}\"\n"
           "    fi\n");
    print_cases("_files", "compadd -- %s");
    printf(
        "    compadd -- ${=options}\n"
        "}\n"
        "if [[ $funcstack[1] == _ringbolt ]]; then _ringbolt \"$@\"; else compdef _ringbolt ringbolt; fi\n");
}

// ---- fish: a line for each option ----

static char fish_condition[2 * WORD_MAX];

static void begin_fish(const char *command)
{
    bool is_pki = strncmp(command, PKI " ", strlen(PKI " ")) == 0;

    snprintf(fish_condition, sizeof(fish_condition),
             "%s__fish_seen_subcommand_from " PKI "; and __fish_seen_subcommand_from %s",
             is_pki ? "" : "not ", is_pki ? command + strlen(PKI " ") : command);
    for (size_t i = 0; i < OPERAND_COUNT; i++) {
        if (strcmp(operands[i].command, command) != 0)
            continue;
        if (strcmp(operands[i].words, FILES) == 0)
            printf("complete -c ringbolt -n '%s' -F\n", fish_condition);
        else
            printf("complete -c ringbolt -n '%s' -a '%s'\n", fish_condition, operands[i].words);
    }
}

static void add_fish(const char *command, const char *option, int letter, bool takes_argument)
{
    const char *words = takes_argument ? words_behind(option) : NULL;

    printf("complete -c ringbolt -n '%s' -l %s", fish_condition, option);
    if (letter)
        printf(" -s %c", letter);
    if (takes_argument)
        printf(" -r");
    if (words && strcmp(words, FILES) == 0)
        printf(" -F");
    else if (words)
        printf(" -a '%s'", words);
    putchar('\n');
}

static void end_fish(void)
{
}

static void print_fish(void)
{
    printf("# fish completion for ringbolt, by `ringbolt completion fish`\n"
           "complete -c ringbolt -f\n"
           "complete -c ringbolt -n __fish_use_subcommand -a '");
    for (const struct cli_command_table *entry = cli_commands; entry->name; entry++)
        printf("%s ", entry->name);
    printf(PKI "'\n"
               "complete -c ringbolt -n __fish_use_subcommand -l help\n"
               "complete -c ringbolt -n __fish_use_subcommand -l version\n"
               "complete -c ringbolt -n '__fish_seen_subcommand_from " PKI
               "; and not __fish_seen_subcommand_from ");
    print_pki_commands();
    printf("' -a '");
    print_pki_commands();
    printf("'\n");
    each_option(begin_fish, add_fish, end_fish);
}

bool cli_print_completion(const char *shell)
{
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(shell, shells[i].shell) == 0) {
            shells[i].print();
            return true;
        }
    }
    return false;
}
