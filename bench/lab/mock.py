"""The mock provider's process. Each target has a key of its own there, and so books of its own."""
import json
import subprocess
import urllib.request

from lab.processes import Process, can_connect, free_port, wait_until

KEYS = {name: f"sk-real-{name}" for name in
        ("direct", "nginx", "haproxy", "caddy", "portkey", "musistudio", "keyhole", "socat")}


def certificates(work):
    """A certificate authority and a server certificate for localhost; returns their paths."""
    ca, ca_key, certificate, key = (work / n for n in ("ca.pem", "ca.key", "mock.pem", "mock.key"))
    request, names = work / "mock.csr", work / "names"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", 2, "-subj", "/CN=bench authority")
    openssl("req", "-new", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2, "-extfile", names, "-out", certificate)
    return ca, certificate, key


class Mock:
    def __init__(self, binaries, work, cores):
        self.port, self.tls_port = free_port(), free_port()
        self.ca, certificate, key = certificates(work)
        self.socket = work / "mock.sock"
        command = [binaries / "keyhole-bench-mock", "--listen", f"tcp:127.0.0.1:{self.port}", f"unix:{self.socket}", "--listen-tls", f"tcp:127.0.0.1:{self.tls_port}",
                   "--certificate", certificate, "--certificate-key", key]
        for k in KEYS.values():
            command += ["--key", k]
        self.process = Process(command, work / "mock.log", cores)
        self.targets = {"tcp": f"tcp:127.0.0.1:{self.port}", "unix": f"unix:{self.socket}"}
        wait_until(lambda: can_connect(self.targets["tcp"]), "the mock's start", process=self.process.child, log=self.process.log)

    def ask(self, what, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_bench/{what}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def books(self, name):
        """What it billed to this target's key."""
        return self.ask("counters")["keys"][KEYS[name]]

    def stop(self):
        self.process.stop()
