// One request and its answer, start to finish. exchange.cpp is the product's table of contents: read it
// first, then the file each step is in. What the steps share about the request is `exchange`. Thread rule:
// the connection's worker.
#pragma once

#include "metering/budget.hpp"
#include "metering/ledger.hpp"
#include "metering/meter.hpp"
#include "metering/record.hpp"
#include "metering/request_demand.hpp"
#include "metering/request_facts.hpp"
#include "proxy/body_bytes.hpp"
#include "proxy/connection.hpp"
#include "proxy/error.hpp"
#include "proxy/http/head.hpp"
#include "proxy/net/task.hpp"
#include "proxy/route.hpp"
#include "proxy/runtime.hpp"
#include "proxy/upstream/pool.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace keyhole::proxy {

enum class exchange_verdict : unsigned char {
    keep_alive,
    close,
    linger,      ///< close, but read on what is still coming: closing on it would reset the answer away
    broken_off,  ///< the answer did not reach its end: the agent must see that
};

struct exchange {
    explicit exchange(connection& c) : agent(c), rt(c.home().rt()) {}

    connection& agent;
    runtime_ptr rt;  ///< the configuration this request began with

    // what came
    std::string head_text;  ///< the head's own copy: the views below point into it
    http::request_head head;
    std::array<std::uint8_t, 16> id{};
    std::array<char, 36> id_text{};
    std::int64_t received_us = 0;
    body_bytes body{agent.home().large()};      ///< for json and multipart routes
    std::optional<std::int64_t> counted_input;  ///< its tokens, where it was counted and let go
    bool body_read = false;                     ///< nothing of the request is left on the connection
    metering::request_facts facts;
    std::int64_t spoken_bytes = 0;  ///< of the text that is to be spoken; known also when the body has gone
    std::unique_ptr<metering::request_demand> asked;  ///< of a body that was read through beside the worker
    std::optional<metering::body_edit> edit;
    std::int64_t kept_input = 0;    ///< tokens of the earlier answers that it builds on
    std::int64_t kept_unknown = 0;  ///< those of them whose tokens nobody knows

    // what it means
    target where;
    const route* way = nullptr;
    path_names named;  ///< by the path
    config::dialect api = config::dialect::openai;
    upstream::endpoint_ptr to;
    session_ptr who;
    std::string token;  ///< as presented, to be kept out of what is sent on; wiped
    config::secret_ptr key;
    std::size_t key_index = 0;  ///< among the provider's
    bool codex = false;

    // what is held for it
    metering::reservation held;
    metering::token_counts bound;  ///< the most that it is taken for: what is held, and what is booked of an
                                   ///< answer that is not there yet
    std::optional<std::uint32_t> slot;  ///< in the in-flight journal: set from the first forwarded byte on
    std::int64_t overhead_from_us = 0;  ///< the request was complete: from here on time is ours
    std::int64_t connect_us = 0;

    // what comes back
    upstream::link_ptr line;
    upstream::exchange_facts reuse;
    std::string answer_text;
    http::response_head answer;
    bool answer_begun = false;  ///< bytes of an answer left for the agent, or may have
    bool torn = false;          ///< an answer's last write broke off: what the agent has is not whole
    bool answer_complete = false;
    std::string stored_id;                  ///< the object whose usage a retrieval tells; empty: none
    metering::ledger::object_usage stored;  ///< what the ledger holds of it
    std::string made_id;                    ///< of the object that this request made at the provider
    std::optional<metering::meter> meter;
    bool accounted = false;

    // how far the journal's slot is current (in_flight.cpp)
    std::uint64_t next_note = 1;   ///< bytes of text that make a new estimate worth it
    std::int64_t noted_total = 0;  ///< of the provider's own counts
    std::int64_t quick_input = 0;  ///< the prompt's tokens, cheaply
    bool input_sampled = false;
    bool counted_drain = false;       ///< among the answers that are read on without an agent
    bool counted_stream = false;      ///< among the streams in flight
    bool counted_connection = false;  ///< among the session's requests in flight

    metering::record& row();  ///< from open_slot() on
    std::string_view id_view() const noexcept { return {id_text.data(), id_text.size()}; }
    ~exchange();
};

/// The whole of it. Reads the head, answers, accounts; returns what becomes of the connection.
task<exchange_verdict> run_exchange(connection& agent);

// The steps, each in the file of its name.
task<failure> read_head(exchange& x);      ///< read_head.cpp: within the limits, strictly framed
failure admit(exchange& x);                ///< admit.cpp: who asks, where to, may they
task<failure> check_objects(exchange& x);  ///< objects.cpp: stored things belong to who made them
task<failure> read_body(exchange& x);      ///< read_body.cpp: bounded; model, stream, max_tokens found in it
failure reserve(exchange& x);              ///< reserve.cpp: model allowed and priced, budget held
void choose_key(exchange& x);              ///< choose_key.cpp: a healthy one of the provider's
task<failure> lease(exchange& x);          ///< forward.cpp: a connection to the provider
failure open_slot(exchange& x);            ///< account.cpp: from here on there will be exactly one row
task<failure> forward(exchange& x);        ///< forward.cpp: head rebuilt, one credential injected, body sent
void judge_key(exchange& x);               ///< choose_key.cpp: what the answer says about the key
void note_sent(exchange& x);               ///< in_flight.cpp: what a kill -9 would leave, from here on
void note_refused(exchange& x);            ///< the provider said no: it bills nothing
void note_progress(exchange& x);           ///< some of the answer has passed
task<failure> relay(exchange& x);  ///< relay/relay.cpp: the answer, as it comes, to the agent and the meter
void account(exchange& x, metering::outcome end, std::string_view error,
             std::string_view log_detail);  ///< account.cpp: once

/// The head that goes to the provider (inject.cpp). The only place where a key's bytes are read.
std::string build_upstream_head(const exchange& x, std::optional<std::uint64_t> content_length);
/// The head that goes to the agent (answer_head.cpp).
std::string build_answer_head(exchange& x, std::optional<std::uint64_t> content_length, bool chunked,
                              bool& keeps_alive);
/// Reads over the rest of a refused request's body, as far as that is worth it. False: the connection must
/// close.
task<bool> discard_body(exchange& x);

}  // namespace keyhole::proxy
