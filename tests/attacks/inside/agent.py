"""Runs inside the sandbox as its agent: `agent.py GROUP…` attacks, `agent.py probes` and `agent.py reach` only ask (where all is allowed)."""
import sys

import privileges  # first: it looks at what was inherited
import network
import processes
import sessions
import web

GROUPS = {"privileges": privileges.run, "network": network.run, "processes": processes.run, "sessions": sessions.run, "web": web.run, "last": processes.last, "race": processes.race_that_others_make,
          "probes": lambda: (privileges.probes(), network.probes(), processes.probes()), "reach": lambda: (network.reach_host(), sessions.probes())}

for group in sys.argv[1:]:
    GROUPS[group]()
