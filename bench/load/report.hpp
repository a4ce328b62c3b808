// A run's result as one line of JSON on standard output. Units: µs where a name ends in _us. Thread rule:
// any.
#pragma once

#include "bench/load/generator.hpp"

namespace keyhole::bench {

void print_report(const generator& g);

}  // namespace keyhole::bench
