# SPDX-License-Identifier: Apache-2.0
"""The paths that are compared: a proxy, how it is set up, and where its records must be protected for its name to be true."""
import dataclasses
import json
import os
import signal

from .stage import free_port

LARGE = 128 * 1024  # bytes of the peers' larger buffers
BULK = ("download", "upload")
EVERY = ("download", "upload", "request", "requests", "handshake", "resumed")
# The guest's clock jumps while it waits for a file of the host: nobody should lose patience.
PATIENCE = "1h"
OBJECTS = ("object-64k", "object-1m", "object-8m")


@dataclasses.dataclass(frozen=True)
class Path:
    name: str
    make: object          # (stage, ports) to the process
    works: tuple
    transmit: str = "user"  # who must protect what goes to the client: user, kernel
    receive: str = "user"   # and what comes from it: user, kernel, any (what it is gets reported)
    is_peer: bool = False


def ringbolt(transmit, receive, offload_after=0):
    def make(stage, ports):
        listeners = [{"address": f"127.0.0.1:{port}", "upstream": name,
                      "tls": {"certificates": [{"chain": "cert.pem", "key": "key.pem"}]}} for name, port in ports.items()]
        config = {"workers": 1, "admin": {"socket": "off"}, "log": {"access": False},  # the peers write no line for a connection either
                  "ktls": {"transmit": transmit, "receive": receive, "offload_after": offload_after}, "listeners": listeners,
                  "timeouts": {"handshake": PATIENCE, "connect": PATIENCE, "idle": PATIENCE},
                  "upstreams": [{"name": name, "servers": [{"address": f"127.0.0.1:{getattr(stage, name)}"}]} for name in ports]}
        file = stage.write("ringbolt.yaml", json.dumps(config))  # JSON is YAML
        return stage.start([stage.ringbolt, "run", "-c", file], *ports.values(), end_signal=signal.SIGINT)
    return make


def nginx(buffer=None, has_ktls=False):
    def make(stage, ports):
        servers = "\n".join(f"  server {{ listen 127.0.0.1:{port} ssl; proxy_pass 127.0.0.1:{getattr(stage, name)}; }}"
                            for name, port in ports.items())
        file = stage.write("nginx.conf", f"""load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes 1; pid {stage.path('nginx.pid')}; error_log {stage.path('nginx.err')};
{'user root;' if os.geteuid() == 0 else ''}
events {{ worker_connections 1000; }}
stream {{
  ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  ssl_handshake_timeout {PATIENCE}; proxy_connect_timeout {PATIENCE}; proxy_timeout {PATIENCE};
  {f'proxy_buffer_size {buffer};' if buffer else ''}
  {'ssl_conf_command Options KTLS;' if has_ktls else ''}
{servers}
}}
""")
        return stage.start(["nginx", "-p", stage.folder, "-c", file], *ports.values())
    return make


def haproxy(buffer=None):
    def make(stage, ports):
        proxies = "\n".join(f"""listen {name}
  bind 127.0.0.1:{port} ssl crt {stage.path('both.pem')}
  server s 127.0.0.1:{getattr(stage, name)}""" for name, port in ports.items())
        file = stage.write("haproxy.cfg", f"""global
  nbthread 1
  maxconn 1000
  ssl-default-bind-options ssl-min-ver TLSv1.2
  {f'tune.bufsize {buffer}' if buffer else ''}
defaults
  mode tcp
  timeout connect {PATIENCE}
  timeout client {PATIENCE}
  timeout server {PATIENCE}
{proxies}
""")
        return stage.start(["haproxy", "-db", "-f", file], *ports.values())
    return make


PATHS = {path.name: path for path in (
    Path("ringbolt user", ringbolt("off", "off"), EVERY + OBJECTS),
    Path("ringbolt kernel transmit", ringbolt("required", "off"), EVERY + OBJECTS, "kernel"),
    Path("ringbolt kernel both", ringbolt("required", "required"), EVERY + OBJECTS, "kernel", "kernel"),
    Path("ringbolt transmit after 1m", ringbolt("required", "off", 1 << 20), OBJECTS, "any"),
    Path("ringbolt both after 1m", ringbolt("required", "required", 1 << 20), OBJECTS, "any", "any"),
    Path("nginx", nginx(), EVERY, is_peer=True),
    Path("nginx large", nginx(LARGE), BULK, is_peer=True),
    Path("nginx kTLS", nginx(None, True), EVERY, "kernel", "any", is_peer=True),
    Path("nginx kTLS large", nginx(LARGE, True), BULK, "kernel", "any", is_peer=True),
    Path("haproxy", haproxy(), EVERY, is_peer=True),
    Path("haproxy large", haproxy(LARGE), BULK, is_peer=True),
)}


def ports_make():
    return {"http": free_port(), "sink": free_port()}
