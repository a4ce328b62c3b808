"""Reads callgrind's output: which part of a thread's instructions belongs to some functions, with all that these call."""


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
