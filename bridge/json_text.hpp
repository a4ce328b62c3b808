// Text of unknown origin (a path, a process's name) inside a JSON string. Thread rule: pure.
#pragma once

#include <string>
#include <string_view>

namespace keyhole::sys {

/// Without the quotes. Bytes beyond ASCII may be no UTF-8: they stand as Latin-1, which is JSON in any case.
void append_json_text(std::string& out, std::string_view text);

}  // namespace keyhole::sys
