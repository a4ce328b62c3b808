#include "proxy/exchange.hpp"

#include "proxy/reply.hpp"

#include <utility>

namespace keyhole::proxy {
namespace {

/// Requests that are answered here and never leave: probes and health. They need no session and tell nothing.
std::string answer_locally(const exchange& x)
{
    const auto& head = x.head;
    reply_context context;
    context.head_request = head.verb == http::method::head;
    context.keep_alive = head.keep_alive && x.body_read;
    const bool reads = context.head_request || head.verb == http::method::get;
    if (!x.where.provider.empty() && x.where.path != "/") return {};
    if (reads && (x.where.path == "/" || x.where.path == "/api/hello"))
        return reply_with(200, "application/json", R"({"status":"ok","service":"keyhole"})", context);
    if (reads && (x.where.path == "/health" || x.where.path == "/healthz"))
        return reply_with(200, "application/json", R"({"status":"ok"})", context);
    return {};
}

reply_context context_of(const exchange& x, bool keep_alive)
{
    reply_context out;
    out.api = x.api;
    out.codex = x.codex;
    out.head_request = x.head.verb == http::method::head;
    out.keep_alive = keep_alive;
    out.request_id = x.id_view();
    return out;
}

task<exchange_verdict> refuse(exchange& x, failure why)
{
    // Whatever it was that failed: it did because the proxy ends.
    if (x.agent.cut() == cut_reason::shutdown)
        why = {errc::shutting_down, "The proxy is shutting down; try again in a moment.", why.log_detail(),
               1};
    auto& shared = x.agent.home().shared();
    const auto provider = x.to ? std::string_view(x.to->provider.name) : std::string_view("none");
    shared.meters.refused(provider, code_of(why.code()));
    shared.log.refused(x.id_view(), x.who ? std::string_view(x.who->info.id) : std::string_view{},
                       x.way != nullptr ? x.way->name : std::string_view{}, status_of(why.code(), x.codex),
                       code_of(why.code()), why.log_detail());
    if (x.agent.agent_gone()) co_return exchange_verdict::close;

    const bool understood = !x.head.fields.empty();
    bool keep = understood && x.head.keep_alive && !x.agent.draining();
    if (keep && !x.body_read) {
        const bool whole = co_await discard_body(x);
        keep = whole;
    }
    x.agent.limit().expect(waiting_for::agent_to_read, seconds_of(x.rt->settings->bounds.body_timeout));
    const auto reply = reply_to(why, context_of(x, keep));
    if (keep) x.agent.foretell_rest(reply.size());
    const bool written = co_await x.agent.write(reply);
    if (written && keep) co_return exchange_verdict::keep_alive;
    const bool more_comes = understood && !x.body_read && x.head.framing != http::body_framing::none;
    co_return written&& more_comes ? exchange_verdict::linger : exchange_verdict::close;
}

}  // namespace

exchange::~exchange()
{
    // Every exit path: an exchange that opened a slot has a row, and nothing stays reserved.
    account(*this, metering::outcome::internal_error, "internal_error",
            "the exchange ended without an account");
    agent.set_upstream(nullptr);
    agent.set_session(nullptr);
    config::wipe(token.data(), token.size());
    config::wipe(head_text.data(), head_text.size());
}

metering::record& exchange::row()
{
    if (slot) return agent.home().shared().inflight.at(*slot);
    // It is the ledger's already (the agent hung up during the last write): what is said now changes nothing.
    thread_local metering::record nobody_reads;
    nobody_reads = {};
    return nobody_reads;
}

task<exchange_verdict> run_exchange(connection& agent)
{
    exchange x(agent);
    failure why = co_await read_head(x);
    if (!why && x.where.path.data() != nullptr) {
        const auto local = answer_locally(x);
        if (!local.empty()) {
            if (x.head.keep_alive && x.body_read) agent.foretell_rest(local.size());
            const bool written = co_await agent.write(local);
            co_return written&& x.head.keep_alive&& x.body_read ? exchange_verdict::keep_alive
                                                                : exchange_verdict::close;
        }
    }
    if (!why) why = admit(x);  // who asks, where to, may they: session token -> session, path -> route
    if (!why) {
        failure f = co_await read_body(x);  // bounded; model, stream, max_tokens
        why = std::move(f);
    }
    agent.rest_buffer();  // what follows may wait: for a name, a connection, an answer
    if (!why) {
        failure f = co_await check_objects(x);  // stored responses, files, batches: one's own only
        why = std::move(f);
    }
    if (!why) why = reserve(x);  // model allowed and priced, limits hold
    if (!why) {
        choose_key(x);                  // a healthy one of the provider's
        failure f = co_await lease(x);  // a connection to the provider
        why = std::move(f);
    }
    if (!why) why = open_slot(x);  // EVERY_REQUEST_ONE_ROW begins here
    if (why) {
        auto verdict = co_await refuse(x, std::move(why));
        co_return verdict;
    }

    failure sent = co_await forward(x);  // token out, key in, body as it came
    failure relayed;
    if (!sent) {
        failure f = co_await relay(x);  // bytes on at once; the meter looks afterwards
        relayed = std::move(f);
    }
    failure& broken = sent ? sent : relayed;
    if (!broken) {
        if (x.torn) co_return exchange_verdict::broken_off;
        const bool keep =
            x.reuse.response_complete && x.head.keep_alive && x.body_read && !agent.agent_gone();
        co_return keep ? exchange_verdict::keep_alive : exchange_verdict::close;
    }
    if (x.answer_begun) co_return exchange_verdict::broken_off;
    auto verdict = co_await refuse(x, std::move(broken));
    co_return verdict;
}

}  // namespace keyhole::proxy
