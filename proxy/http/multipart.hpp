// A form (RFC 7578, RFC 2046 section 5.1) read for one field, strictly: what two readers could understand
// differently is refused, since what the field says decides what the request may do and costs. No I/O. Thread
// rule: plain functions.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace keyhole::proxy::http {

struct form_text {
    enum class verdict : std::uint8_t {
        read,      ///< `value` is the field's, or the form has no such field
        not_form,  ///< the content type is another one
        unclear,   ///< malformed, or readers could disagree
    };
    verdict result = verdict::read;
    std::string value;          ///< at most 256 bytes; a longer one is unclear
    const char* why = nullptr;  ///< unclear: what is wrong, for the agent's developer
};

/// The text of the field `name` (lower case letters). Unclear: a boundary that is missing, doubled or odd;
/// bytes before the first part or after the last; a boundary that also stands elsewhere in the body; a part
/// head that is folded, has no or two dispositions, or parameters that are not plainly written; a field whose
/// name differs from `name` in letter case only, that comes twice, as a file, or transfer-encoded.
form_text read_form_text(std::string_view content_type, std::string_view body, std::string_view name);

struct form_part {
    std::string_view name;
    std::string_view value;
    bool is_file = false;  ///< it has a file's name
};
/// Calls `take` for each part of a form that read_form_text() could read. False: it is none.
bool each_form_part(std::string_view content_type, std::string_view body,
                    const std::function<void(const form_part&)>& take);

}  // namespace keyhole::proxy::http
