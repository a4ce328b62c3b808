"""The peers as good as they can be configured: keep-alive on both sides, no access log, nothing buffered, no limit on bodies.

Each checks the sandbox's token and puts the real key in its place, which is all they do of Keyhole's work. One worker where Keyhole has one.
"""
import pathlib
import shutil
import tempfile

from lab.mock import KEYS
from lab.processes import Process, can_connect, free_port, wait_until

TOKEN = "sandbox-token"
WRONG_TOKEN = "kh_" + "0" * 43 + "aaaaaa"
MANY = 20000


class Peer:
    """A program in front of the mock. `targets`: where agents connect, by kind of socket."""
    name = "?"
    token = TOKEN
    path = "/v1/chat/completions"
    headers = ()
    model = "gpt-4o-mini"
    rewrites_bodies = False
    refusal = 401        # what a wrong token gets
    needs = ()

    def __init__(self, work, mock, workers=1, tls=False):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=work))
        self.work.chmod(0o755)
        self.mock, self.workers, self.tls = mock, workers, tls
        self.port = free_port()
        self.label = self.name
        self.targets = {"tcp": f"tcp:127.0.0.1:{self.port}", "unix": f"unix:{self.work}/agents.sock"}
        self.process = None

    @classmethod
    def missing(cls):
        """Why it cannot take part; empty: it can."""
        absent = [tool for tool in cls.needs if not shutil.which(tool)]
        return f"{', '.join(absent)} not installed" if absent else ""

    def start(self, cores):
        self.process = Process(self.command(), self.work / "log", cores, self.environment())
        wait_until(lambda: all(can_connect(t) for t in self.targets.values()), f"{self.name}'s start", process=self.process.child, log=self.process.log)

        self.serving()

    def serving(self):
        """Its sockets take connections: what is still to be done before a case."""

    def environment(self):
        return {}

    def pids(self):
        return self.process.pids()

    def settle(self):
        """Waits until work that a run has left is done."""

    def check_books(self, answered):
        """Keyhole compares its ledger here; peers keep none."""

    def stop(self):
        if self.process:
            self.process.stop()


class Direct(Peer):
    """No proxy: what the rig itself costs."""
    name = "direct"
    token = KEYS["direct"]

    def __init__(self, work, mock, workers=1, tls=False):
        super().__init__(work, mock, workers, tls)
        self.targets = mock.targets

    def start(self, cores):
        pass

    def pids(self):
        return self.mock.process.pids()


class Nginx(Peer):
    name = "nginx"
    needs = ("nginx",)
    alone = False  # one process, no master

    def command(self):
        scheme, port = ("https", self.mock.tls_port) if self.tls else ("http", self.mock.port)
        tls = (f"proxy_ssl_trusted_certificate {self.mock.ca}; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;"
               " proxy_ssl_session_reuse on; proxy_ssl_protocols TLSv1.2 TLSv1.3;" if self.tls else "")
        paths = "".join(f"{kind}_temp_path {self.work}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.work / "nginx.conf"
        config.write_text(f"""user root; daemon off; master_process {"off" if self.alone else "on"}; worker_processes {self.workers}; worker_rlimit_nofile {MANY}; error_log {self.work}/errors crit; pid {self.work}/pid;
events {{ worker_connections {MANY - 100}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600; client_max_body_size 0; {paths}
  map $http_authorization $allowed {{ default 0; "Bearer {TOKEN}" 1; }}
  upstream mock {{ server 127.0.0.1:{port}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 3600; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096; listen unix:{self.work}/agents.sock backlog=4096;
    if ($allowed = 0) {{ return 401; }}
    location / {{
      proxy_pass {scheme}://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {KEYS['nginx']}";
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 3600; {tls}
    }}
  }}
}}
""")
        return ["nginx", "-c", config, "-e", self.work / "start.err"]


class Haproxy(Peer):
    name = "haproxy"
    needs = ("haproxy",)

    def command(self):
        server = f"127.0.0.1:{self.mock.port}"
        if self.tls:
            server = f"127.0.0.1:{self.mock.tls_port} ssl verify required ca-file {self.mock.ca} sni str(localhost) verifyhost localhost"
        config = self.work / "haproxy.cfg"
        config.write_text(f"""global
  maxconn {MANY // 2 - 200}
  nbthread {self.workers}
defaults
  mode http
  timeout client 1h
  timeout server 1h
  timeout connect 5s
  timeout http-keep-alive 1h
  option http-no-delay
  http-reuse always
frontend agents
  bind 127.0.0.1:{self.port} backlog 4096
  bind unix@{self.work}/agents.sock backlog 4096
  acl allowed req.hdr(authorization) -m str "Bearer {TOKEN}"
  http-request return status 401 unless allowed
  http-request set-header authorization "Bearer {KEYS['haproxy']}"
  default_backend mock
backend mock
  server mock {server} pool-max-conn -1
""")
        return ["haproxy", "-db", "-q", "-f", config]


class Caddy(Peer):
    name = "caddy"
    needs = ("caddy",)

    def environment(self):
        return {"GOMAXPROCS": str(self.workers), "XDG_DATA_HOME": str(self.work), "XDG_CONFIG_HOME": str(self.work), "HOME": str(self.work)}

    def command(self):
        upstream, tls = f"127.0.0.1:{self.mock.port}", ""
        if self.tls:
            upstream, tls = f"https://127.0.0.1:{self.mock.tls_port}", f"tls_trusted_ca_certs {self.mock.ca}\n tls_server_name localhost"
        config = self.work / "Caddyfile"
        proxying = f"""
  @allowed header Authorization "Bearer {TOKEN}"
  handle @allowed {{
    reverse_proxy {upstream} {{
      flush_interval -1
      header_up Authorization "Bearer {KEYS['caddy']}"
      transport http {{
        keepalive 1h
        keepalive_idle_conns_per_host 4096
        {tls}
      }}
    }}
  }}
  handle {{
    respond 401
  }}"""
        config.write_text(f"""{{
  admin off
  auto_https off
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{self.port} {{{proxying}
}}
http:// {{
  bind unix/{self.work}/agents.sock
{proxying}
}}
""")
        return ["caddy", "run", "--adapter", "caddyfile", "--config", config]
