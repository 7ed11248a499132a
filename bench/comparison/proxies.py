# SPDX-License-Identifier: Apache-2.0
"""Who is compared: for each proxy its configuration, how it is started, how it is told to reload.

One worker or thread each. "As shipped" is what the program does by itself; set is only what it can't work or be compared without:
addresses, the certificate, room for the connections, time-outs that don't end a measure, no daemon. Version, cipher and group are
the client's choice out of what all of them accept by default; resumption and TCP_NODELAY are on by default in all of them.
"""
import functools
import os
import re
import signal

from . import machine
from .lab import START_SECONDS, Trouble, accepts, free_port
from .processes import family, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OURS, PEER, FLOOR = "ours", "peer", "floor"
INSTALL = "scripts/install-deps bench installs it"
LARGE, LATE = 131072, 1 << 20


class Running:
    """A proxy that serves at a port."""

    def __init__(self, proxy, process, port, lab):
        self.proxy, self.process, self.port, self.lab = proxy, process, port, lab

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def pids(self):
        return family(self.process.pid) if self.process.is_running() else []

    def reload(self):
        self.proxy.reload(self.process)

    def stop(self):
        self.lab.stop(self.process, self.proxy.stop_signal)


class Proxy:
    stop_signal = signal.SIGTERM

    def __init__(self, number, ident, name, role, variant, settings):
        self.number, self.id, self.name, self.role, self.variant, self.settings = number, ident, name, role, variant, settings

    def describe(self):
        return {"id": self.id, "name": self.name, "product": self.product, "role": self.role, "variant": self.variant,
                "settings": self.settings}

    def missing(self, probe, ciphersuite):
        """Why it can't be had here, or None."""
        return None if machine.find(*self.programs) else f"{self.programs[0]} is not installed: {INSTALL}"

    def reload(self, process):
        process.popen.send_signal(signal.SIGHUP)

    def start(self, lab, certificate, kind):
        """Running, in front of the servers of that kind ("http", "sink")."""
        backend = lab.backend(kind, self.number)
        if self.role == FLOOR:
            backend = f"127.0.0.1:{lab.tls_end(certificate, kind)}"
        for _ in range(3):  # a free port may be taken before it is used
            port = free_port()
            config = lab.write(f"{self.id}.conf", self.config(lab, port, certificate, backend))
            process = lab.start(self.id, self.command(lab, config), lab.proxy_cpus)
            if wait_until(lambda: not process.is_running() or accepts(port), START_SECONDS) and process.is_running():
                process.pin(lab.proxy_cpus)  # hitch's workers choose a CPU of their own
                return Running(self, process, port, lab)
            how = process.how_it_ended() if not process.is_running() else f"it serves nobody after {START_SECONDS} s"
            lab.stop(process, self.stop_signal)
        raise Trouble(f"{self.id} does not start: {how}")


class Ringbolt(Proxy):
    product = "ringbolt"
    stop_signal = signal.SIGINT

    def __init__(self, *identity, transmit="off", receive="off", offload_after=None, limits=""):
        super().__init__(*identity)
        self.transmit, self.receive, self.offload_after, self.limits = transmit, receive, offload_after, limits

    def missing(self, probe, ciphersuite):
        can_transmit, can_receive, words = machine.kernel_tls(probe, ciphersuite)
        if (self.transmit == "required" and not can_transmit) or (self.receive == "required" and not can_receive):
            return f"kernel TLS here: {words}"
        return None

    def config(self, lab, port, certificate, backend):
        after = "" if self.offload_after is None else f", offload_after: {self.offload_after}"
        return f"""workers: 1
ktls: {{ transmit: {self.transmit}, receive: {self.receive}{after} }}
log: {{ access: false }}
limits: {{ connections: {lab.connections}{', ' + self.limits if self.limits else ''} }}
timeouts: {{ idle: 1h }}
admin: {{ socket: off }}
listeners:
  - address: "127.0.0.1:{port}"
    tls: {{ certificates: [ {{ chain: "{certificate}" }} ] }}
    upstream: app
upstreams: [ {{ name: app, servers: [ {{ address: "{backend}" }} ] }} ]
"""

    def command(self, lab, config):
        return [lab.ringbolt, "run", "-c", config]

    def reload(self, process):
        """Nothing: it watches its files."""


class Haproxy(Proxy):
    product, programs = "haproxy", ("haproxy",)

    def __init__(self, *identity, is_large=False):
        super().__init__(*identity)
        self.is_large = is_large

    def config(self, lab, port, certificate, backend):
        tls = "" if self.role == FLOOR else f" ssl crt {certificate}"
        return f"""global
  nbthread 1
  maxconn {lab.connections}
  {f'tune.bufsize {LARGE}' if self.is_large else ''}
  {'maxpipes 16' if self.role == FLOOR else ''}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  {'option splice-auto' if self.is_large and self.role == FLOOR else ''}
frontend f
  bind 127.0.0.1:{port}{tls}
  default_backend b
backend b
  server s {backend}
"""

    def command(self, lab, config):
        return [machine.find(*self.programs), "-W", "-f", config]  # Debian's unit says -Ws: the same, and speaks with systemd

    def reload(self, process):
        process.popen.send_signal(signal.SIGUSR2)


class Nginx(Proxy):
    product, programs = "nginx", ("nginx",)

    def __init__(self, *identity, is_large=False):
        super().__init__(*identity)
        self.is_large = is_large

    @staticmethod
    @functools.cache
    def stream_module():
        """The line that loads the stream module, "" when it is built in, None when there is none."""
        built = machine.output(machine.find("nginx"), "-V")
        if re.search(r"--with-stream(?!\S)", built):
            return ""
        folder = re.search(r"--modules-path=(\S+)", built)
        path = os.path.join(folder.group(1) if folder else "/usr/lib/nginx/modules", "ngx_stream_module.so")
        return f"load_module {path};" if os.path.exists(path) else None

    def missing(self, probe, ciphersuite):
        reason = super().missing(probe, ciphersuite)
        if not reason and self.stream_module() is None:
            reason = f"nginx is here without its stream module (libnginx-mod-stream): {INSTALL}"
        return reason

    def config(self, lab, port, certificate, backend):
        tls = "" if self.role == FLOOR else f"ssl_certificate {certificate}; ssl_certificate_key {certificate};"
        large = f"proxy_buffer_size {LARGE};" if self.is_large else ""
        # A relay must pass on what comes behind one side's end, as a server's tickets behind the client's goodbye.
        half = "proxy_half_close on;" if self.role == FLOOR else ""
        cache = "ssl_session_cache shared:s:16m;" if self.is_large and tls else ""
        return f"""{self.stream_module()}
daemon off; worker_processes 1; pid {lab.path(self.id + '.pid')}; error_log {lab.path(self.id + '.log')};
events {{ worker_connections {2 * lab.connections + 100}; {'multi_accept on;' if self.is_large else ''} }}
stream {{
  {large} {cache} {half} proxy_timeout 1h;
  {'ssl_protocols TLSv1.2 TLSv1.3;' if tls else ''}
  server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}{' backlog=4096' if self.is_large else ''}; {tls} proxy_pass {backend}; }}
}}
"""

    def command(self, lab, config):
        return [machine.find(*self.programs), "-p", lab.folder, "-e", lab.path(f"{self.id}.log"), "-c", config]


class Hitch(Proxy):
    product, programs = "hitch", ("hitch",)

    def config(self, lab, port, certificate, backend):
        host, _, number = backend.rpartition(":")
        user = 'user = "nobody"\ngroup = "nogroup"' if os.geteuid() == 0 else ""  # it doesn't start as root
        return f"""frontend = "[127.0.0.1]:{port}"
backend = "[{host}]:{number}"
pem-file = "{certificate}"
workers = 1
daemon = off
ocsp-dir = ""
{user}
"""

    def command(self, lab, config):
        return [machine.find(*self.programs), f"--config={config}"]


class Stunnel(Proxy):
    product, programs = "stunnel", ("stunnel4", "stunnel")

    def config(self, lab, port, certificate, backend):
        return f"""foreground = yes
syslog = no
debug = warning
pid =
[s]
accept = 127.0.0.1:{port}
connect = {backend}
cert = {certificate}
TIMEOUTidle = 3600
"""

    def command(self, lab, config):
        return [machine.find(*self.programs), config]


def offload_after_default():
    """conf/ringbolt.yaml shows the default of each option."""
    found = re.search(r"^ *offload_after: (\d+)$", machine.file_text(os.path.join(ROOT, "conf", "ringbolt.yaml")), re.MULTILINE)
    return int(found.group(1)) if found else 0


def ringbolts():
    """(id, name, variant, settings, options) of each way to protect records, and each moment to move into the kernel."""
    common = "one worker, no access log (no peer writes one)"
    both = {"transmit": "required", "receive": "required"}
    yield "ringbolt", "Ringbolt, user records", "user", f"ktls off: its own record layer; {common}", {}
    yield ("ringbolt-transmit", "Ringbolt, kernel transmit", "transmit", f"ktls.transmit required, receive off; {common}",
           {"transmit": "required", "offload_after": 0})
    yield ("ringbolt-kernel", "Ringbolt, kernel both ways", "kernel", f"ktls required both ways, offload_after 0; {common}",
           {**both, "offload_after": 0})
    default = offload_after_default()
    if default not in (0, LATE):
        yield ("ringbolt-kernel-default", f"Ringbolt, kernel after {default} B", "kernel, default",
               f"ktls required both ways, offload_after {default} (its default); {common}", both)
    yield ("ringbolt-kernel-1m", "Ringbolt, kernel after 1 MiB", "kernel, late",
           f"ktls required both ways, offload_after {LATE}; {common}", {**both, "offload_after": LATE})


PEERS = [
    (Haproxy, "haproxy", "HAProxy", PEER, "shipped", "mode tcp, nbthread 1, as shipped (buffers of 16 KiB)", {}),
    (Haproxy, "haproxy-tuned", "HAProxy, 128 KiB buffers", PEER, "tuned",
     f"as shipped, and tune.bufsize {LARGE}; tune.ssl.maxrecord stays 0 (full records)", {"is_large": True}),
    (Nginx, "nginx", "nginx stream", PEER, "shipped",
     "stream, worker_processes 1, as shipped (buffers of 16 KiB), but with TLS 1.3, which 1.22 leaves out unless told", {}),
    (Nginx, "nginx-tuned", "nginx stream, 128 KiB buffers", PEER, "tuned",
     f"as shipped, and proxy_buffer_size {LARGE}, ssl_session_cache shared, multi_accept on, backlog 4096", {"is_large": True}),
    (Hitch, "hitch", "hitch", PEER, "shipped",
     "workers = 1, as shipped; the size of its buffers is fixed, so there is nothing to tune for bulk", {}),
    (Stunnel, "stunnel", "stunnel", PEER, "shipped",
     "as shipped, but without a log line for each connection (debug = warning, syslog = no); a thread a connection, all on one CPU; "
     "the size of its buffers is fixed, so there is nothing to tune for bulk", {}),
    (Haproxy, "floor-haproxy", "plain relay: HAProxy", FLOOR, "plain",
     f"mode tcp without TLS, tune.bufsize {LARGE}, option splice-auto: it passes the TLS bytes on to a TLS server on the backend's CPUs",
     {"is_large": True}),
    (Nginx, "floor-nginx", "plain relay: nginx stream", FLOOR, "plain",
     f"stream without TLS, proxy_buffer_size {LARGE}, proxy_half_close on: it passes the TLS bytes on to a TLS server on the backend's CPUs",
     {"is_large": True}),
]


def all_proxies():
    table = [(Ringbolt, ident, name, OURS, variant, settings, options) for ident, name, variant, settings, options in ringbolts()] + PEERS
    return [kind(number, *identity, **options) for number, (kind, *identity, options) in enumerate(table)]
