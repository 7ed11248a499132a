# SPDX-License-Identifier: Apache-2.0
"""What Ringbolt says of itself to editors, shells and readers of manuals: JSON schema, completions, man pages. None may go stale."""
import copy
import glob
import json
import os
import re
import shutil
import subprocess

import pytest

import ringbolt

pytestmark = pytest.mark.any_layer

jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is not installed")
yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = [path for path in glob.glob(os.path.join(ROOT, "conf", "*.yaml")) if os.path.basename(path) != "pki.yaml"]


class Loader(yaml.SafeLoader):
    """As YAML 1.2 and editors have it: `off` and `yes` are texts."""


Loader.yaml_implicit_resolvers = {letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
                                  for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), "tf")


@pytest.fixture(scope="module")
def schema():
    made = json.loads(ringbolt.call("schema").stdout)
    jsonschema.Draft7Validator.check_schema(made)
    return made


def complaints(schema, value):
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(value)]


def leaves(schema, path=()):
    """(path, schema) of every single value; a list is a step 0."""
    one_of = [schema] if "properties" in schema else schema.get("anyOf", [schema])
    for one in one_of:
        if one.get("type") == "array":
            items = one["items"]
            if "properties" in items:
                yield from leaves(items, path + (0,))
            else:
                yield path + (0,), items
        elif "properties" in one:
            for key, inner in one["properties"].items():
                yield from leaves(inner, path + (key,))
        elif len(one_of) == 1:
            yield path, one


def name(path):
    return "".join("[]" if step == 0 else f".{step}" for step in path).lstrip(".")


# ---- the schema

@pytest.mark.parametrize("path", FILES, ids=os.path.basename)
@pytest.mark.parametrize("whole", [False, True], ids=["as it stands", "with all that is commented out"])
def test_what_is_shipped_is_valid(schema, path, whole):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if whole:
        text = re.sub(r"^( *)#(?=[^ \n])", r"\1", text, flags=re.MULTILINE)
    assert not complaints(schema, yaml.load(text, Loader))


def test_every_key_is_described(schema):
    def look(mapping, path):
        for key, inner in mapping["properties"].items():
            found = [one for one in [inner, inner.get("items", {}), *inner.get("anyOf", [])] if "properties" in one]
            # Those of which the shipped file says nothing: their names say enough.
            assert "description" in inner or found, f"{path}{key}"
            for one in found:
                look(one, f"{path}{key}.")

    look(schema, "")


def base(actor, certificates):
    return {"listeners": [{"address": "127.0.0.1:0", "upstream": "app", "tls": {"certificates": certificates.config()}}],
            "upstreams": [{"name": "app", "servers": [{"address": actor.address}]}]}


def changed(config, path, value):
    made = copy.deepcopy(config)
    at = made
    for step in path[:-1]:
        at = at.setdefault(step, {}) if isinstance(step, str) else at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


LISTENER, UPSTREAM = ("listeners", 0), ("upstreams", 0)
WRONG = [
    (("worker",), 2), (("workers",), "many"), (("workers",), 0), (("shutdown_timeout",), 30), (("shutdown_timeout",), "30 s"),
    (("log",), "info"), (("log", "level"), "loud"), (("log", "access"), "perhaps"), (("ktls", "transmit"), "always"),
    (("limits", "memory"), "1 GB"), (("limits", "connections"), "-1"), (("listeners",), None), (("listeners",), []),
    (LISTENER + ("address",), None), (LISTENER + ("address",), "443"), (LISTENER + ("tls",), "on"),
    (LISTENER + ("tls", "min_version"), "1.1"), (LISTENER + ("certificates",), []), (LISTENER + ("hsts",), {"preload": True}),
    (LISTENER + ("tls", "client_auth"), {"ca": "ca.pem"}), (UPSTREAM + ("name",), None), (UPSTREAM + ("servers",), []),
    (UPSTREAM + ("balance",), "random"), (UPSTREAM + ("proxy_protocol_tlvs",), ["all"]), (("upstreams",), None),
]
# Ways to write the same thing; those of a column stand in one file.
RIGHT = [
    (("workers",), ["auto", 2, "2"]),
    (("limits", "memory"), [67108864, "64m", "67108864"]),
    (("log", "access"), ["off", True, "yes"]),
    (("admin", "socket"), ["off", "admin.sock", "/run/ringbolt/admin.sock"]),
    (LISTENER + ("tls", "min_version"), [1.2, "1.3", "1.2"]),
    (LISTENER + ("tls", "alpn"), ["h2", ["h2", "http/1.1"], []]),
    (UPSTREAM + ("proxy_protocol",), ["v2"] * 3),
    (UPSTREAM + ("proxy_protocol_tlvs",), ["alpn", ["alpn", "ssl"], []]),
]


def check(tmp_path, config):
    path = str(tmp_path / "ringbolt.yaml")
    ringbolt.write_config(path, config)
    return ringbolt.call("check", "-c", path)


@pytest.mark.parametrize("path, value", WRONG, ids=lambda value: str(value) if not isinstance(value, tuple) else name(value))
def test_wrong_for_both(schema, actor, certificates, tmp_path, path, value):
    config = changed(base(actor, certificates), path, value)
    assert complaints(schema, config)
    done = check(tmp_path, config)
    assert done.returncode == 3 and path[-1 if isinstance(path[-1], str) else -2] in done.stderr


@pytest.mark.parametrize("column", range(3))
def test_right_for_both(schema, actor, certificates, tmp_path, column):
    config = base(actor, certificates)
    for path, values in RIGHT:
        config = changed(config, path, values[column])
    assert not complaints(schema, config)
    done = check(tmp_path, config)
    assert done.returncode == 0, done.stderr


def test_a_file_that_only_redirects_needs_no_upstreams(schema, tmp_path):
    config = {"listeners": [{"address": "127.0.0.1:0", "redirect": {}}]}
    assert not complaints(schema, config) and check(tmp_path, config).returncode == 0


def test_the_loader_refuses_what_the_schema_refuses(schema, tmp_path):
    """Nonsense at each place where the schema wants something: the loader complains of each, too."""
    config, wanted = {}, {}
    for path, leaf in leaves(schema):
        if not {"enum", "pattern"} & leaf.keys():
            continue
        at = config
        for step, next_step in zip(path, path[1:] + (None,)):
            if next_step is None:
                value = "nonsense"
            else:
                value = [] if next_step == 0 else {}
            if step == 0:
                if not at:
                    at.append(value)
            else:
                at.setdefault(step, value)
            at = at[step]
        wanted[path] = None
    config["upstreams"][0]["name"] = config["listeners"][0]["upstream"] = "app"
    lines = json.dumps(config, indent=1).splitlines()
    done = check(tmp_path, config)
    assert done.returncode == 3 and len(wanted) > 60
    complained = {int(number) for number in re.findall(r"ringbolt\.yaml:(\d+):\d+:", done.stderr)}
    # write_config() indents by 2: the same lines.
    places, stack = {}, []
    for number, line in enumerate(lines, 1):
        depth = len(line) - len(line.lstrip())
        stack = stack[:depth - 1] if depth else []
        key = re.match(r'"(\w+)": ', line.strip())
        step = key.group(1) if key else 0
        if not line.strip().startswith(("}", "]")) and depth:
            stack.append(step)
            places[tuple(stack)] = number
    silent = [name(path) for path in wanted if places[path] not in complained]
    assert not silent, (silent, done.stderr)


# ---- man pages

def make_man(kind, tmp_path):
    page = str(tmp_path / kind)
    subprocess.run([os.path.join(ROOT, "scripts", "make-man"), kind, ringbolt.BINARY, page], check=True)
    with open(page, encoding="utf-8") as f:
        return page, f.read().replace("\\-", "-")


def lint(page):
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""})
    assert not done.stderr and done.returncode == 0, done.stderr


def test_man_page_of_the_configuration(schema, tmp_path):
    page, text = make_man("yaml", tmp_path)
    for path, _leaf in leaves(schema):
        while path[-1] == 0:
            path = path[:-1]
        assert f'"{name(path)}"' in text, name(path)
    lint(page)


def commands():
    """Each command with the options of its help."""
    general = ringbolt.call("--help").stdout
    for command in dict.fromkeys(re.findall(r"^  ringbolt ([a-z]+)", general, re.MULTILINE)):
        if command != "pki":
            yield (command,), ringbolt.call(command, "--help").stdout
    for verb in re.findall(r"^  ([a-z0-9-]+)  ", ringbolt.call("pki", "--help").stdout, re.MULTILINE):
        yield ("pki", verb), ringbolt.call("pki", verb, "--help").stdout


def options_of(text):
    """Those that a help's list of options has."""
    lines = [line for line in text.splitlines() if re.match(r" {2,6}-", line)]
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", " ".join(line.strip().split("  ")[0] for line in lines)))


def test_man_page_of_the_program(tmp_path):
    page, text = make_man("ringbolt", tmp_path)
    for command, help_text in commands():
        section = re.search(rf"^\.SS {' '.join(command)}$(.*?)(?=^\.S[SH] |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, command
        for option in options_of(help_text):
            assert option in section.group(1), (command, option)
    lint(page)


# ---- completions

@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(ringbolt.call("completion", shell).stdout)
    return folder


def bash_complete(scripts, *words):
    script = ('source "$0" && COMP_WORDS=("$@") && COMP_CWORD=$(($# - 1)) && _ringbolt && '
              '[[ $(complete -p ringbolt) == *"-F _ringbolt"* ]] && printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, str(scripts / "bash"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=True)
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_bash_completes_all_options(scripts):
    """Each command, and exactly the options that its help names."""
    found = list(commands())
    assert set(bash_complete(scripts, "ringbolt", "")) == {command[0] for command, _ in found} | {"pki", "--help", "--version"}
    for command, help_text in found:
        assert set(bash_complete(scripts, "ringbolt", *command, "--")) - {"--help"} == options_of(help_text), command


def test_bash_completes_words_and_files(scripts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server one.pem").touch()
    (tmp_path / "folder").mkdir()
    assert bash_complete(scripts, "ringbolt", "re") == ["reload"]
    assert bash_complete(scripts, "ringbolt", "run", "--ktls", "") == ["auto", "off", "required"]
    assert bash_complete(scripts, "ringbolt", "check", "-c", "s") == ["server", "one.pem"]
    assert bash_complete(scripts, "ringbolt", "pki", "show", "f") == ["folder"]
    assert bash_complete(scripts, "ringbolt", "completion", "") == ["bash", "zsh", "fish", "--help"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_understand_theirs(scripts, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", str(scripts / shell)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_fish_completes(scripts):
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")

    def complete(line):
        done = subprocess.run(["fish", "--no-config", "-c", f"source {scripts}/fish; complete -C '{line}'"], stdout=subprocess.PIPE, text=True,
                              check=True, stdin=subprocess.DEVNULL)
        return done.stdout.split()

    assert complete("ringbolt re") == ["reload"]
    assert set(complete("ringbolt pki re")) == {"renew", "revoke"}
    assert complete("ringbolt run --ktls a") == ["auto"]
    assert "--certificate" in complete("ringbolt drain --c") and "--certificate" not in complete("ringbolt stop --c")


def test_no_script_for_other_shells():
    done = ringbolt.call("completion", "csh")
    assert done.returncode == 2 and "bash, zsh or fish" in done.stderr
