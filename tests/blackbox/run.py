#!/usr/bin/env python3
"""Runs the black-box tests: python3 tests/blackbox/run.py [--keyhole BIN] [--only WORD] [--long] [-v]

The last line is "N passed, N failed"; what was skipped is listed before it with the reason."""

import argparse
import os
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


class Result(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed = 0

    def startTest(self, test):
        self.began = time.monotonic()
        unittest.TestResult.startTest(self, test)

    def _say(self, test, word):
        took = time.monotonic() - self.began
        print(f"{word:5} {took:6.2f} s  {test.id()}", flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self._say(test, "ok")

    def addFailure(self, test, err):
        unittest.TestResult.addFailure(self, test, err)
        self._say(test, "FAIL")

    def addError(self, test, err):
        unittest.TestResult.addError(self, test, err)
        self.began = getattr(self, "began", time.monotonic())
        self._say(test, "ERROR")

    def addSkip(self, test, reason):
        unittest.TestResult.addSkip(self, test, reason)
        self.began = getattr(self, "began", time.monotonic())
        self._say(test, "skip")

    def addSubTest(self, test, subtest, err):
        unittest.TestResult.addSubTest(self, test, subtest, err)
        if err is not None:
            self._say(subtest, "FAIL")


def flat(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flat(item)
        else:
            yield item


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keyhole", help="the program under test (default: the newest below build/)")
    parser.add_argument("--only", action="append", default=[], help="tests whose full name contains this; may be repeated")
    parser.add_argument("--long", action="store_true", help="more rounds where rounds are random (KEYHOLE_LONG=1)")
    parser.add_argument("--list", action="store_true", help="name the tests and end")
    options = parser.parse_args()
    if options.keyhole:
        os.environ["KEYHOLE_BIN"] = options.keyhole
    if options.long:
        os.environ["KEYHOLE_LONG"] = "1"

    suite = unittest.defaultTestLoader.discover(str(HERE), pattern="test_*.py", top_level_dir=str(HERE))
    broken = [t for t in flat(suite) if type(t).__name__ == "_FailedTest"]
    chosen = [t for t in flat(suite) if t in broken or not options.only or any(word in t.id() for word in options.only)]
    if options.list:
        print("\n".join(t.id() for t in chosen))
        return 0
    runner = unittest.TextTestRunner(verbosity=0, resultclass=Result, stream=sys.stdout)
    result = runner.run(unittest.TestSuite(_by_class(chosen)))
    for test, reason in result.skipped:
        print(f"skipped: {test.id()}: {reason}")
    failed = len({t.id().split(" ")[0] for t, _ in result.failures + result.errors})
    if result.skipped:
        print(f"{len(result.skipped)} skipped")
    print(f"{result.passed} passed, {failed} failed")
    return 1 if failed else 0


def _by_class(tests):
    """Class fixtures are set up once a class only if its tests follow each other."""
    groups = {}
    for test in tests:
        groups.setdefault(type(test), []).append(test)
    for group in groups.values():
        yield unittest.TestSuite(group)


if __name__ == "__main__":
    sys.exit(main())
