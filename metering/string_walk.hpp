// Walks over a JSON string, 64 bytes at a time: where it ends, and what is in it, are questions of a few bit
// masks, so a run of escapes (a prompt is full of \n and \") costs no more than prose. Uses AVX2 where the
// machine has it. Thread rule: pure functions.
#pragma once

namespace keyhole::metering {

struct walked_string {
    const char* end = nullptr;  ///< the closing quote; nullptr: the text ends before it
    bool escaped = false;       ///< there is a backslash in it
    bool faulty = false;        ///< it has a raw control character, or an escape that JSON does not know
    bool text = false;          ///< it has a space, a byte outside ASCII, or an escape other than "\/"
};

/// The string whose inside begins at `p`; reads nothing at or behind `end`.
walked_string walk_string(const char* p, const char* end) noexcept;

/// The same as every machine can do it.
walked_string walk_string_plainly(const char* p, const char* end) noexcept;

}  // namespace keyhole::metering
