# SPDX-License-Identifier: Apache-2.0
"""In a container as conf/container and conf/kubernetes describe it, without a container engine: container.py does what one does, and
what the manifests say is taken from them."""
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import clients
import pki
import ringbolt
import seccomp
from test_tickets import Visitor, VERSIONS

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed: scripts/install-deps test")

HERE = os.path.dirname(os.path.abspath(__file__))
CONF = os.path.join(os.path.dirname(os.path.dirname(HERE)), "conf")
UID = 65532
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
RINGS = {"io_uring_setup", "io_uring_enter", "io_uring_register"}

pytestmark = pytest.mark.any_layer
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces")


def read(*path):
    with open(os.path.join(CONF, *path), encoding="utf-8") as f:
        return f.read()


def profile(without=()):
    try:
        seccomp.library()
    except OSError as error:
        pytest.skip(f"libseccomp is not installed: {error}")
    whole = json.loads(read("container", "seccomp-ringbolt.json"))
    for entry in whole["syscalls"]:
        entry["names"] = [name for name in entry["names"] if name not in without]
    if without:  # EPERM, as runtimes say where nothing else is said
        whole["syscalls"].append({"names": sorted(without), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM})
    return whole


# ---- running in one

class Box(ringbolt.Ringbolt):
    """Ringbolt as number 1 of a container, with these mounts: [source, target, can_write]."""

    def __init__(self, work, mounts, profile=None, config="/etc/ringbolt/ringbolt.yaml", empty=("/run/ringbolt",), uid=UID, **options):
        job = {"uid": uid, "mounts": mounts, "empty": list(empty), "seccomp": profile,
               # The leak checker traces its own process, which it may not do there.
               "environment": {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": os.environ.get("UBSAN_OPTIONS", "")}}
        super().__init__(work, arguments=["run", "-c", config],
                         prefix=["/usr/bin/python3", os.path.join(HERE, "container.py"), json.dumps(job)], **options)

    @property
    def master(self):
        """Its number outside."""
        return ringbolt.process_tree(self.process.pid)[1]


@pytest.fixture
def box(work):
    boxes = []

    def make(*arguments, **options):
        boxes.append(Box(work, *arguments, **options))
        boxes[-1].admin_path = f"/proc/{boxes[-1].master}/root/run/ringbolt/admin.sock" if options.get("wait", True) else None
        return boxes[-1]

    yield make
    for one in boxes:
        if one.process.returncode is None:
            one.stop()


@pytest.fixture
def plain(tmp_path, actor):
    """The smallest configuration and its files, as mounts."""
    folder = str(tmp_path / "etc")
    os.mkdir(folder)
    os.chmod(tmp_path, 0o755)
    pair = pki.Authority("Ringbolt test root").issue()
    for path in pair.write(folder, "server").values():
        os.chown(path, UID, UID)
    port = ringbolt.Port()
    ringbolt.write_config(os.path.join(folder, "ringbolt.yaml"), {
        "log": {"format": "json"}, "limits": {"connections": 100}, "admin": {"socket": "/run/ringbolt/admin.sock"},
        "listeners": [{"address": port.text, "tls": {"certificates": [{"chain": "server.pem", "key": "server.key"}]}, "upstream": "app"}],
        "upstreams": [{"name": "app", "servers": [{"address": actor.address}]}]})
    yield [[folder, "/etc/ringbolt", False]]
    port.close()


@needs_root
def test_number_1_buries_orphans(box, plain):
    """Who is left behind by others in the container, by `kubectl exec` for one, becomes the child of number 1."""
    proxy = box(plain)
    with subprocess.Popen(["nsenter", "--target", str(proxy.master), "--pid", "sh", "-c", "sleep 1000 & echo"], stdout=subprocess.PIPE) as shell:
        shell.stdout.readline()
        shell.wait()
        sleeping = lambda: [pid for pid in ringbolt.process_tree(proxy.master) if comm(pid) == "sleep"]
        ringbolt.wait_until(sleeping, "there is an orphan")
        orphan, = sleeping()
        os.kill(orphan, signal.SIGKILL)
        ringbolt.wait_until(lambda: not os.path.exists(f"/proc/{orphan}"), "the orphan is buried")
    assert len(proxy.admin_json("certificates")["certificates"]) == 1  # and nothing else happened to it
    proxy.stop(signal.SIGTERM)


def comm(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as f:
        return f.read().strip()


@needs_root
@pytest.mark.parametrize("quota, workers", [("50000 100000", 1), ("max 100000", len(os.sched_getaffinity(0)))])
def test_workers_of_a_quota(box, plain, tmp_path, quota, workers):
    """A runtime that limits CPU time writes cpu.max, and the container sees its own group as the root of the tree."""
    pki.write_whole(str(tmp_path / "cpu.max"), quota.encode() + b"\n")
    assert box(plain + [[str(tmp_path / "cpu.max"), "/sys/fs/cgroup/cpu.max", False]]).ready["workers"] == workers


@needs_root
def test_without_the_rings(box, plain):
    """As in Docker's own profile: it says what is missing, and where."""
    proxy = box(plain, profile=profile(without=RINGS), wait=False)
    proxy.finished(1)
    line, = [entry for entry in proxy.lines if entry["level"] == "error"]
    assert "io_uring" in line["message"] and "seccomp" in line["cure"]


def test_the_profile_refuses(tmp_path):
    """What nobody needs here: other namespaces, other kinds of sockets, another's memory."""
    profile()
    tries = tmp_path / "tries.py"
    tries.write_text("""
import ctypes, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def errno(function, *arguments):
    if function(*arguments) == -1:
        return ctypes.get_errno()
    return 0
def family(number):
    try:
        socket.socket(number, socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.errno
    return 0
print(json.dumps({"unshare": errno(libc.unshare, 0x10000000), "clone": errno(libc.syscall, 56, 0x10000000 | 17, 0, 0, 0, 0),
                  "ptrace": errno(libc.ptrace, 0, 0, 0, 0), "mount": errno(libc.mount, b"a", b"/", b"tmpfs", 0, 0),
                  "packet": family(17), "alg": family(38), "vsock": family(40), "inet": family(2), "inet6": family(10), "unix": family(1)}))
""")
    output = subprocess.run([sys.executable, os.path.join(HERE, "seccomp.py"), os.path.join(CONF, "container", "seccomp-ringbolt.json"),
                             sys.executable, str(tries)], stdout=subprocess.PIPE, check=True).stdout
    answers = json.loads(output)
    assert {name for name, error in answers.items() if error == errno.ENOSYS} == {"unshare", "clone", "ptrace", "mount", "packet", "alg", "vsock"}
    assert answers["inet"] == answers["unix"] == 0


# ---- the manifests

def manifests():
    """By kind."""
    documents = [yaml.safe_load(read("kubernetes", name)) for name in sorted(os.listdir(os.path.join(CONF, "kubernetes")))]
    return {document["kind"]: document for document in documents}


def test_manifests_agree():
    found = manifests()
    deployment = found["Deployment"]["spec"]
    pod, labels = deployment["template"]["spec"], deployment["template"]["metadata"]["labels"]
    box, = pod["containers"]
    ports = {port["name"] for port in box["ports"]}
    selectors = [deployment["selector"]["matchLabels"], found["Service"]["spec"]["selector"],
                 found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
                 found["PodMonitor"]["spec"]["selector"]["matchLabels"]]
    assert all(selector.items() <= labels.items() for selector in selectors)
    used = [port["targetPort"] for port in found["Service"]["spec"]["ports"]]
    used += [rule["port"] for ingress in found["NetworkPolicy"]["spec"]["ingress"] for rule in ingress["ports"]]
    used += [end["port"] for end in found["PodMonitor"]["spec"]["podMetricsEndpoints"]]
    used += [box[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert set(used) == ports
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in box["volumeMounts"]}
    assert not any("subPath" in mount for mount in box["volumeMounts"])
    secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert found["Certificate"]["spec"]["secretName"] in secrets
    assert {name for volume in pod["volumes"] for name in [volume.get("configMap", {}).get("name")] if name} == {found["ConfigMap"]["metadata"]["name"]}
    assert set(found["Kustomization"]["resources"]) <= set(os.listdir(os.path.join(CONF, "kubernetes")))
    assert os.path.basename(pod["securityContext"]["seccompProfile"]["localhostProfile"]) in os.listdir(os.path.join(CONF, "container"))
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in read("container", "Dockerfile")
    pause = int(box["lifecycle"]["preStop"]["exec"]["command"][1])
    config = yaml.safe_load(found["ConfigMap"]["data"]["ringbolt.yaml"])
    assert pause + int(config["shutdown_timeout"].rstrip("s")) < pod["terminationGracePeriodSeconds"]
    assert {f":{port['containerPort']}" for port in box["ports"]} == {config["listeners"][0]["address"][1:], config["admin"]["http"][7:]}


def test_manifests_go_together():
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here")
    output = subprocess.run(["kubectl", "kustomize", os.path.join(CONF, "kubernetes")], stdout=subprocess.PIPE, check=True).stdout
    assert sorted(document["kind"] for document in yaml.safe_load_all(output)) == \
        ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"]


class Pod:
    """What the kubelet makes of the manifests, on this machine: other ports, another server, and no more than that."""

    def __init__(self, folder, box, actor, pair):
        self.found = manifests()
        self.spec = self.found["Deployment"]["spec"]["template"]["spec"]
        security = self.spec["securityContext"]
        self.keys = os.path.join(folder, "keys")
        os.mkdir(self.keys)
        self.rotate()
        secret = {"mode": self.spec["volumes"][1]["secret"]["defaultMode"], "group": security["fsGroup"]}
        self.port = ringbolt.Port("0.0.0.0")
        config = yaml.safe_load(self.found["ConfigMap"]["data"]["ringbolt.yaml"])
        config["listeners"][0]["address"] = self.port.text
        config["upstreams"][0]["servers"][0]["address"] = actor.address
        config["admin"]["http"] = "127.0.0.1:0"
        self.tls = pki.Kubernetes(folder, pair, **secret)
        self.tickets = pki.Secret(os.path.join(folder, "tickets"), self.key_files(), **secret)
        self.config = pki.Secret(os.path.join(folder, "config"), {"ringbolt.yaml": json.dumps(config).encode()}, mode=0o644)
        volumes = {"tls": self.tls.folder, "tickets": self.tickets.folder, "config": self.config.folder}
        mounts = {mount["name"]: mount["mountPath"] for mount in self.spec["containers"][0]["volumeMounts"]}
        self.proxy = box([[source, mounts[name], False] for name, source in volumes.items()], empty=[mounts["run"]],
                         uid=security["runAsUser"], profile=profile())
        self.address, self.stage = ("127.0.0.1", self.port.address[1]), self

    def rotate(self):
        subprocess.run([os.path.join(CONF, "rotate-ticket-keys"), self.keys], check=True)

    def key_files(self):
        files = {}
        for name in os.listdir(self.keys):
            with open(os.path.join(self.keys, name), "rb") as f:
                files[name] = f.read()
        return files


@pytest.fixture
def pod(tmp_path, box, actor):
    os.chmod(tmp_path, 0o755)
    root = pki.Authority("Ringbolt test root")
    ca = root.intermediate("Ringbolt test intermediate")
    one = Pod(str(tmp_path), box, actor, ca.issue())
    one.ca, one.ca_file = ca, pki.write_whole(str(tmp_path / "ca.pem"), root.leaf_pem())
    yield one
    one.port.close()


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def probe(pod, name):
    """As the kubelet asks; None where this version has no `admin.http`."""
    found = [line["address"] for line in pod.proxy.lines if line["message"] == "metrics"]
    if not found:
        return None
    path = pod.spec["containers"][0][name]["httpGet"]["path"]
    try:
        with DIRECTLY.open(f"http://{found[0]}{path}", timeout=ringbolt.WAIT) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def served(pod, version="1.3"):
    with clients.python_connect(pod, clients.python_context(pod.ca_file, version)) as client:
        return pki.fingerprint(client.getpeercert(binary_form=True))


@needs_root
def test_pod(pod):
    """From the first certificate to the end, as the manifests have it."""
    restrictions = pod.spec["containers"][0]["securityContext"]
    assert restrictions["readOnlyRootFilesystem"] and restrictions["capabilities"] == {"drop": ["ALL"]}  # container.py has no other way
    pids = ringbolt.process_tree(pod.proxy.master)
    assert len(pids) > pod.proxy.ready["workers"] and pod.proxy.ready["pid"] == 1
    for pid in pids:
        status = status_of(pid)
        assert {status[name].strip("0") for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {""}
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and status["Uid"].split() == [str(UID)] * 4
    assert [line for line in pod.proxy.lines if line["level"] in ("warning", "error") and "descriptors" not in line["message"]] == []

    probes = {name: probe(pod, name) for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert set(probes.values()) in ({200}, {None})

    # cert-manager renews: ..data is swapped.
    fresh = pod.ca.issue()
    pod.tls.replace(fresh)
    ringbolt.wait_until(lambda: served(pod) == fresh.fingerprint, "the renewed certificate is served")

    # The ticket keys are turned over: the sessions stay.
    visitors = [Visitor(pod.ca_file, version).met(pod) for version in VERSIONS]
    before = pod.proxy.mark()
    pod.rotate()
    pod.tickets.replace(pod.key_files())
    pod.proxy.wait_for_log(lambda e: "ticket" in e["message"], before)
    assert all(visitor.visit(pod) for visitor in visitors)

    # The pod goes: TERM, and what is live ends in its time.
    context = clients.python_context(pod.ca_file, "1.3")
    with clients.python_connect(pod, context) as client:
        client.sendall(b"echo x\nhello")
        assert client.recv(100) == b"hello"
        pod.proxy.send_signal(signal.SIGTERM)
        pod.proxy.wait_for_log(lambda e: e["message"] == "draining")
        assert (probe(pod, "readinessProbe"), probe(pod, "livenessProbe")) in ((503, 200), (None, None))
        client.sendall(b" world")
        assert client.recv(100) == b" world"
    pod.proxy.finished(0)


# ---- the Dockerfile

def test_the_image_has_the_libraries():
    """What the program is linked to comes from a package that the Dockerfile installs."""
    if not shutil.which("dpkg"):
        pytest.skip("no dpkg here")
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.run(["readelf", "-d", ringbolt.BINARY], stdout=subprocess.PIPE, text=True, check=True).stdout)
    installed = set(re.findall(r"[a-z0-9.+-]+", read("container", "Dockerfile").split("no-install-recommends")[1].split("&&")[0]))
    installed |= {"libc6", "libgcc-s1"} | {"libasan8", "libubsan1"}  # what all have, and builds with sanitizers
    installed |= {"libssl3t64", "libcurl4t64"}  # Debian 13's names
    owned = subprocess.run(["dpkg", "-L", *sorted(installed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    assert set(needed) <= {os.path.basename(line) for line in owned.splitlines()}
