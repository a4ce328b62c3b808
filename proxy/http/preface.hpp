// The PROXY protocol v2 header with which keyhole-bridge opens a connection. One thing in it is read: TLV
// 0xE0, a session token. It is a way to present a token, nothing more; addresses and everything else in a
// preface are ignored (the sandbox could write any). Source: HAProxy's proxy-protocol.txt, section 2.2.
#pragma once

#include <cstddef>
#include <string_view>

namespace keyhole::proxy::http {

struct preface {
    /// `hand_off`: as ok, and what follows are not requests but descriptors (proxy/handoff.hpp). Its command
    /// is none of PROXY v2's, so that whoever does not know it drops the connection at once.
    enum class verdict : unsigned char { absent, need_more, ok, hand_off, malformed };
    verdict is = verdict::absent;
    std::size_t bytes = 0;   ///< of the whole header (ok, hand_off)
    std::string_view token;  ///< view into the text; empty: none was given
};

constexpr unsigned char token_tlv = 0xE0;
constexpr std::size_t max_preface_bytes = 16 + 1024;

preface read_preface(std::string_view text) noexcept;

}  // namespace keyhole::proxy::http
