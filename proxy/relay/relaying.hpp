// What the parts of the relay share: the answer's state while it passes, and the steps on it, in the order in
// which an answer meets them. Only relay/ includes this. Thread rule: the exchange's worker.
#pragma once

#include "proxy/exchange.hpp"
#include "proxy/http/chunked.hpp"
#include "proxy/objects.hpp"
#include "proxy/relay/silence_watch.hpp"
#include "proxy/upstream/coded_watch.hpp"
#include "proxy/upstream/masking.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace keyhole::proxy {

inline constexpr std::size_t framing_room = 32;  ///< a chunk's size line
inline constexpr std::size_t tail_room = 8;      ///< CRLF and the last chunk
inline constexpr std::string_view last_chunk = "0\r\n\r\n";

/// What only few answers need, apart: many thousand relays may wait at a time.
struct coded_answer {
    coded_answer(std::string_view coding, std::string_view key) : watch(coding, key) {}
    upstream::coded_watch watch;
    std::string held;     ///< coded bytes that must not leave yet, with framing room
    std::string leaving;  ///< held bytes on their way
};
struct edited_answer {
    metering::include_usage_filter filter;
    std::string text;  ///< on its way
};

/// The relay's own state: one buffer, lent by the worker, with room before and after the payload for chunk
/// framing.
struct relaying {
    explicit relaying(exchange& owner)
        : x(owner)
        , c(owner.agent)
        , base(framing_room + (owner.key ? std::min<std::size_t>(owner.key->size(), 1024) : 0))
        , room(worker::buffer_size - base - tail_room)
        , masker(owner.key && owner.key->size() <= 1024 ? owner.key->reveal() : std::string_view{})
    {
    }
    ~relaying() { rest(); }
    relaying(const relaying&) = delete;
    relaying& operator=(const relaying&) = delete;

    exchange& x;
    connection& c;
    std::unique_ptr<char[]> buffer;  ///< lent while there is something in it: a stream that waits holds none
    std::size_t base;                ///< reads land here
    std::size_t room;
    std::size_t have = 0;         ///< raw bytes at base
    unsigned reads_in_a_row = 0;  ///< that did not have to wait
    bool more_expected = false;   ///< the last read brought much: the next may be there already
    upstream::stream_masker masker;
    std::string carry;  ///< the end of the last payload, which could be the beginning of the key
    std::unique_ptr<coded_answer> coded;  ///< it came compressed
    http::chunk_decoder chunks;
    std::uint64_t left = 0;  ///< of a body with a length
    silence_watch silence;   ///< until the answer says something
    bool done = false;
    bool to_agent_chunked = false;
    std::string head;                     ///< until it is sent
    std::unique_ptr<edited_answer> cuts;  ///< an inserted usage chunk must come out
    std::unique_ptr<made_object> made;    ///< reads the id of an object that this request makes
    connection::pieces unsent;
    std::size_t drained = 0;
    bool hung_up = false;  ///< the policy for a hang-up is in force
    bool cancelled = false;

    char* raw()
    {
        if (!buffer) buffer = c.home().lend_buffer();
        return buffer.get() + base;
    }
    void rest() noexcept { c.home().return_buffer(std::move(buffer)); }
};

/// Bytes of the body as they lie in the buffer, with room for framing around them.
struct payload {
    char* at = nullptr;
    std::size_t size = 0;
    std::string_view view() const noexcept { return {at, size}; }
};

// ---- read_answer.cpp: from the provider

/// Reads from the provider behind what is there. 0: its end, or an error (in `ec`).
task<std::size_t> read_some(relaying& r, error_code& ec);
/// Its parts, for who waits long and wants no frame for each wait. What can be read now, where more was
/// expected; whether a wait needs no buffer; what is there after such a wait.
std::size_t read_expected(relaying& r, error_code& ec);
bool may_rest(const relaying& r) noexcept;
std::size_t read_awaited(relaying& r, error_code& ec);
/// Up to the final head; 1xx answers are read over.
task<failure> read_answer_head(relaying& r);
/// Takes the transfer coding off the raw bytes at hand.
payload decode(relaying& r);

// ---- pass_on.cpp: to the agent

/// KEY_STAYS_HOME for bodies: whole keys are starred out; the beginning of one at the end of a read waits for
/// the next.
void mask(relaying& r, payload& p);
/// KEY_STAYS_HOME for compressed bodies: they can't be starred out, so they are held while they might hold
/// the key. False: they do, and the answer ends here.
bool vouch(relaying& r, payload& p);
/// One write: what is left of the head, this payload in the agent's framing, and the end if this is it.
task<bool> send(relaying& r, payload p, bool last);
/// The same in its two halves: what the kernel takes at once, and the rest. False: there is one.
bool send_at_once(relaying& r, payload p, bool last);
task<bool> send_rest(relaying& r);

// ---- held_answer.cpp

/// Errors and listings are held until they are whole: fragments of the key are found wherever they stand, and
/// other sessions' objects are taken out.
task<failure> relay_whole(relaying& r);

// ---- ending.cpp: how an answer can end

/// The agent hung up: from now on the provider is read for the meter alone, within bounds, or not at all.
void hang_up(relaying& r);
/// The answer's framing is complete: settles the row. False: it breaks off all the same, and must not look
/// whole.
bool finish(relaying& r);
/// What a refusal says when the provider's answer broke before it began.
failure cut(exchange& x, std::string_view detail);
/// How an answer that did not reach its end is entered in the ledger, and its error class there.
metering::outcome cut_outcome(const relaying& r);
std::string_view cut_error(const relaying& r);
/// An answer that ended in good order, but without its API's last event.
failure broke_off(const exchange& x);
/// A compressed answer turned out to hold the real key, or more than can be looked through for it.
failure not_vouched_for(relaying& r);

}  // namespace keyhole::proxy
