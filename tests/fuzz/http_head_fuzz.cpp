// links: keyhole_proxy
// Any bytes as a request's and as a response's head: views stay inside the text, one answer only to how long
// the body is, and a head that arrives in pieces is the same head.
#include "proxy/http/head.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

using namespace keyhole::proxy::http;

void require(bool condition)
{
    if (!condition) std::abort();
}

bool within(std::string_view part, std::string_view text)
{
    return part.empty() ||
           (part.data() >= text.data() && part.data() + part.size() <= text.data() + text.size());
}

template <class Head>
void check_fields(const Head& head, std::string_view text)
{
    require(head.fields.size() <= max_fields);
    for (const field& f : head.fields) {
        require(within(f.name, text) && within(f.value, text) && !f.name.empty());
        // What would split a head when it is written again.
        require(f.name.find_first_of("\r\n: ") == f.name.npos);
        require(f.value.find_first_of("\r\n") == f.value.npos && f.value.find('\0') == f.value.npos);
    }
    for (const std::string_view option : head.connection_options)
        require(within(option, text));
    require(head.framing != body_framing::none || head.content_length == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    // A copy of exactly that size, so that a read beyond it is seen.
    const std::string text(data + 1, data + size);
    std::size_t searched = 0;
    const std::size_t length = head_length(text, searched);
    if (length == 0) return 0;
    require(length <= text.size());
    const std::string head_text = text.substr(0, length);
    // Byte by byte, as a slow agent sends it: not one byte earlier, and the same head.
    std::size_t so_far = 0;
    for (std::size_t known = 0; known < length; ++known)
        require(head_length(std::string_view(head_text).substr(0, known), so_far) == 0);
    require(head_length(head_text, so_far) == length);
    request_head request;
    if (parse_request(head_text, request) == head_error::none) {
        check_fields(request, head_text);
        require(within(request.target, head_text) && !request.target.empty());
        for (const char c : request.target)
            require(static_cast<unsigned char>(c) > 0x20 && c != 0x7f);
        require(request.framing != body_framing::until_close);
    }
    response_head response;
    if (parse_response(head_text, (data[0] & 1U) != 0, response) == head_error::none) {
        check_fields(response, head_text);
        require(response.status >= 100 && response.status <= 999);
    }
    return 0;
}
