"""The cases of ./dev bench, one idea a file. A case is a function that takes a Lab and a number of rounds, and returns
{"rows": {target: {figure: spread}}, "ratios": {figure: {peer: spread}}} (lab/bench.py: summary) and what else it found."""
import importlib
import pkgutil


class Case:
    def __init__(self, name, title, figures, quick, run):
        self.name, self.title, self.figures, self.quick, self.run = name, title, figures, quick, run


ALL = {}
# As a reader wants to meet them; a module that is not named here comes last.
ORDER = ("json_requests", "streams", "prompts", "instructions", "metering_cost", "memory", "tls_upstream", "connections", "refusals", "uploads", "sandbox",
         "npm_gateways", "start")


def case(name, title, figures, quick=False):
    """Declares a case. `figures`: the columns of the table that people see; `quick`: part of --quick."""
    def declare(function):
        ALL[name] = Case(name, title, figures, quick, function)
        return function
    return declare


def load_all():
    found = sorted((m.name for m in pkgutil.iter_modules(__path__)), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    for module in found:
        importlib.import_module(f"cases.{module}")
    return ALL
