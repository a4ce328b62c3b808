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
    if (!r.watch) return true;
    const auto seen = r.watch->look(p.view(), r.done);
    if (seen == verdict::key_found) {
        if (!r.watch->swollen()) r.c.home().shared().meters.key_masked(r.x.to->provider.name);
        return false;
    }
    if (seen == verdict::unsure || !r.held.empty()) {
        if (r.held.empty()) r.held.assign(framing_room, ' ');
        r.held.append(p.view());
        p.size = 0;
    }
    if (seen == verdict::clear && !r.held.empty()) {
        r.leaving = std::exchange(r.held, {});
        const auto n = r.leaving.size() - framing_room;
        r.leaving.append(tail_room, ' ');
        p = {r.leaving.data() + framing_room, n};
    }
    return true;
}

task<bool> send(relaying& r, payload p, bool last)
{
    std::string edited;
    if (r.filter) {
        edited = r.filter->feed(p.view());
        if (last || r.done) edited += r.filter->finish();  // also where the answer is then broken off
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
    if (r.head.empty() && p.size == 0) co_return true;
    r.c.limit().expect(waiting_for::agent_to_read, seconds_of(r.x.rt->settings->bounds.write_timeout));
    auto& together = r.c.home().end_of_turn();
    // Not a stream's events: each leaves as it came.
    if (last && !r.x.counted_stream && together.has_company()) co_await together.wait();
    const std::string_view head = r.head;
    if (last && r.x.head.keep_alive && r.x.body_read) r.c.foretell_rest(head.size() + p.size);
    const bool written =
        co_await r.c.write(head.empty() ? p.view() : head, head.empty() ? std::string_view{} : p.view());
    if (written) r.x.answer_begun = true;
    r.head.clear();
    co_return written;
}

}  // namespace keyhole::proxy
