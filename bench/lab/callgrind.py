"""Targets under callgrind. Instructions do not depend on what else the machine does, so they show what a change did where times cannot."""
import shutil
import subprocess

from lab.processes import Process, can_connect, wait_until

COUNT = ("valgrind", "--tool=callgrind", "--separate-threads=yes", "--compress-strings=no", "--compress-pos=no", "--instr-atstart=no")


def missing():
    return "" if shutil.which("valgrind") else "valgrind is absent (apt-get install valgrind): instructions are not counted"


def under_callgrind(kind):
    """The same target, each of its processes counted once count() says so."""
    class Counted(kind):
        alone = True

        def command(self):
            return [*COUNT, f"--callgrind-out-file={self.work}/calls.%p", *super().command()]

        def start(self, _cores):
            self.process = Process(self.command(), self.work / "log", None, self.environment())
            wait_until(lambda: all(can_connect(t) for t in self.targets.values()), f"{self.name}'s start under valgrind", 120, self.process.child, self.process.log)
            self.serving()

        def count(self, run):
            """Runs `run`; returns the files that say what was executed meanwhile, one a thread."""
            for word in ("on", "off"):
                for pid in map(str, self.pids()):
                    if word == "off":
                        subprocess.run(["callgrind_control", "-d", pid], check=True, capture_output=True)
                    subprocess.run(["callgrind_control", "-i", word, pid], check=True, capture_output=True)
                if word == "on":
                    run()
            return [p for p in sorted(self.work.glob("calls.*")) if p.stat().st_size]
    return Counted


def attribute(path, functions, sources):
    """(all instructions, those of the part). To the part belong calls into a function that fits `functions`, with everything below it, and
    code from files that fit `sources` where it stands inlined in other functions. Needs --compress-strings=no --compress-pos=no."""
    everything = part = 0
    function = source = called = ""
    with open(path, errors="replace") as lines:
        for line in lines:
            key, equals, value = line.rstrip("\n").partition("=")
            if key == "fn" and equals:
                function = value
            elif key in ("fl", "fi", "fe") and equals:
                source = value
            elif key == "cfn" and equals:
                called = value
            elif line[:1].isdigit():
                cost, inside = int(line.split()[-1]), functions.search(function)
                if called:  # the line below calls=: what the call cost, with all below it
                    if functions.search(called) and not inside:
                        part += cost
                    called = ""
                else:
                    everything += cost
                    if not inside and sources.search(source):
                        part += cost
    return everything, part
