// The agent's side of the relay: what must not leave is taken out or stopped, the rest goes in one write.
#include "proxy/relay/relaying.hpp"

#include <cstring>
#include <utility>

namespace keyhole::proxy {

void mask(relaying& r, payload& p)
{
    if (!r.x.key) return;
    if (!r.carry.empty()) {
        p.at -= r.carry.size();
        std::memcpy(p.at, r.carry.data(), r.carry.size());
        p.size += r.carry.size();
        r.carry.clear();
    }
    bool masked = false;
    const auto waiting = r.masker.mask({p.at, p.size}, masked);
    if (waiting != 0 && r.done) {
        std::memset(p.at + p.size - waiting, '*', waiting);  // an end that is a long part of the key
        masked = true;
    } else if (waiting != 0) {
        r.carry.assign(p.at + p.size - waiting, waiting);
        p.size -= waiting;
    }
    if (masked) r.c.home().shared().meters.key_masked(r.x.to->provider.name);
}

bool vouch(relaying& r, payload& p)
{
    using verdict = upstream::coded_watch::verdict;
    if (!r.coded) return true;
    auto& [watch, held, leaving] = *r.coded;
    const auto seen = watch.look(p.view(), r.done);
    if (seen == verdict::key_found) {
        if (!watch.swollen()) r.c.home().shared().meters.key_masked(r.x.to->provider.name);
        return false;
    }
    if (seen == verdict::unsure || !held.empty()) {
        if (held.empty()) held.assign(framing_room, ' ');
        held.append(p.view());
        p.size = 0;
    }
    if (seen == verdict::clear && !held.empty()) {
        leaving = std::exchange(held, {});
        const auto n = leaving.size() - framing_room;
        leaving.append(tail_room, ' ');
        p = {leaving.data() + framing_room, n};
    }
    return true;
}

bool send_at_once(relaying& r, payload p, bool last)
{
    if (r.cuts) {
        auto& [filter, edited] = *r.cuts;
        edited = filter.feed(p.view());
        if (last || r.done) edited += filter.finish();  // also where the answer is then broken off
        if (!edited.empty() && r.to_agent_chunked) {
            char line[32];
            const auto n = http::write_size_line_before(line + sizeof line, edited.size());
            edited.insert(0, line + sizeof line - n, n);
            edited += "\r\n";
        }
        if (last && r.to_agent_chunked) edited += last_chunk;
        p = {edited.data(), edited.size()};
    } else if (r.to_agent_chunked) {
        // The framing is written around the payload where it lies.
        char* end = p.at + p.size;
        if (p.size != 0) {
            std::memcpy(end, "\r\n", 2);
            end += 2;
            const auto n = http::write_size_line_before(p.at, p.size);
            p.at -= n;
        }
        if (last) {
            std::memcpy(end, last_chunk.data(), last_chunk.size());
            end += last_chunk.size();
        }
        p.size = static_cast<std::size_t>(end - p.at);
    }
    const std::string_view head = r.head;
    if (head.empty() && p.size == 0) return true;
    if (last && r.x.head.keep_alive && r.x.body_read) r.c.foretell_rest(head.size() + p.size);
    r.unsent = {asio::buffer(head), asio::buffer(p.view())};
    const std::size_t all = asio::buffer_size(r.unsent);
    r.c.write_at_once(r.unsent);
    if (asio::buffer_size(r.unsent) != all) r.x.answer_begun = true;
    if (asio::buffer_size(r.unsent) != 0) return false;
    r.head.clear();
    return true;
}

task<bool> send_rest(relaying& r)
{
    r.c.limit().expect(waiting_for::agent_to_read, seconds_of(r.x.rt->settings->bounds.write_timeout));
    r.x.answer_begun = true;  // how much of it leaves, nobody knows before the end
    const bool written = co_await r.c.write_rest(r.unsent);
    r.head.clear();
    co_return written;
}

task<bool> send(relaying& r, payload p, bool last)
{
    auto& together = r.c.home().end_of_turn();
    // Not a stream's events: each leaves as it came.
    if (last && !r.x.counted_stream && together.has_company()) co_await together.wait();
    if (send_at_once(r, p, last)) co_return true;
    const bool written = co_await send_rest(r);
    r.x.torn = !written;
    co_return written;
}

}  // namespace keyhole::proxy
