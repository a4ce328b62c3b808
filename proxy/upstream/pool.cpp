#include "proxy/upstream/pool.hpp"

#include <boost/asio/ssl/host_name_verification.hpp>
#include <openssl/ssl.h>

#include <algorithm>
#include <utility>

namespace keyhole::proxy::upstream {
namespace {

constexpr auto connection_lifetime = std::chrono::minutes(10);  // so that DNS changes are followed

bool is_address(const std::string& host)
{
    error_code ec;
    asio::ip::make_address(host, ec);
    return !ec;
}

std::string tls_detail(const error_code& ec, SSL* connection)
{
    const long verdict = SSL_get_verify_result(connection);
    if (verdict != X509_V_OK)
        return std::string("certificate refused: ") + X509_verify_cert_error_string(verdict);
    return ec.message();
}

}  // namespace

bool may_reuse(const exchange_facts& x) noexcept
{
    return x.response_complete && x.request_fully_sent && x.nothing_unread && x.response_keeps_alive &&
           !x.cancelled;
}

pool::pool(asio::io_context& io) : io_(io), names_(io) {}

pool::~pool()
{
    clear();
}

void pool::clear()
{
    // The buckets stay: connections on lease write their TLS tickets there.
    for (auto& [key, b] : buckets_)
        b.idle.clear();
    names_.clear();
}

pool::bucket& pool::bucket_of(const endpoint& to)
{
    return buckets_[to.pool_key];
}

std::size_t pool::idle() const noexcept
{
    std::size_t n = 0;
    for (const auto& [key, b] : buckets_)
        n += b.idle.size();
    return n;
}

link_ptr pool::take_idle(const endpoint_ptr& to)
{
    const auto found = buckets_.find(to->pool_key);
    if (found == buckets_.end()) return nullptr;
    auto& idle = found->second.idle;
    while (!idle.empty()) {
        auto candidate = std::move(idle.back());
        idle.pop_back();
        // Readable while idle means a FIN, or bytes nobody asked for: either way it is dead.
        if (candidate->quiet()) return candidate;
    }
    return nullptr;
}

void pool::give_back(link_ptr used)
{
    const auto now = clock::now();
    // Whether it is still quiet is asked when it is taken.
    if (now - used->opened > connection_lifetime || !used->socket().is_open()) return;
    auto& idle = bucket_of(used->to()).idle;
    if (idle.size() >= used->to().provider.max_idle_connections) return;
    used->idle_since = now;
    ++used->served;
    idle.push_back(std::move(used));
}

void pool::sweep(clock::time_point now)
{
    for (auto& [key, b] : buckets_) {
        std::erase_if(b.idle, [&](const link_ptr& l) {
            return now - l->idle_since > seconds_of(l->to().provider.keepalive) || !l->quiet();
        });
    }
    names_.sweep(now);
}

void attempt::give_up() noexcept
{
    given_up = true;
    if (name_wanted != nullptr) name_wanted->cancel();
    if (made != nullptr) made->close();
}

task<leased> pool::connect(endpoint_ptr to, attempt* current)
{
    leased out;
    const auto& provider = to->provider;
    names::addresses addresses;
    if (is_address(provider.host))
        addresses.emplace_back(asio::ip::make_address(provider.host), provider.port);
    else if (const auto* known = names_.known(provider.host, provider.port, clock::now()))
        addresses = *known;
    else {
        const auto asked = names_.ask(provider.host, provider.port);
        current->name_wanted = &asked->until;
        co_await asked->until.async_wait(as_result);  // ends by a cancel: the answer's, or the owner's
        current->name_wanted = nullptr;
        if (current->given_up || !asked->answered || asked->error) {
            out.error = {"dns", "cannot resolve " + provider.host + ": " +
                                    (asked->answered && asked->error ? asked->error.message()
                                                                     : "the resolver did not answer")};
            co_return out;
        }
        addresses = asked->found;
    }

    auto fresh = std::make_unique<link>(io_.get_executor(), to);
    current->made = fresh.get();
    error_code last = asio::error::host_not_found;
    bool connected = false;
    for (const auto& address : addresses) {
        error_code ignored;
        fresh->socket().close(ignored);
        fresh->socket().open(address.protocol(), last);
        if (last) continue;
        fresh->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
        auto [ec] = co_await fresh->socket().async_connect(address, as_result);
        last = ec;
        if (!ec) {
            connected = true;
            break;
        }
        if (current->given_up || ec == asio::error::operation_aborted)
            break;  // the deadline, or the agent is gone
    }
    if (!connected) {
        current->made = nullptr;
        names_.forget(provider.host, provider.port);  // the next attempt asks again
        out.error = {"connect", "cannot connect to " + to->host_header + ": " + last.message()};
        co_return out;
    }
    fresh->socket().set_option(asio::socket_base::keep_alive(true), last);

    if (to->tls) {
        auto& stream = fresh->start_tls();
        SSL* raw = stream.native_handle();
        if (!is_address(provider.host)) {
            // SSL_set_tlsext_host_name() without the macro's old-style cast.
            SSL_ctrl(raw, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                     const_cast<char*>(provider.host.c_str()));
        }
        stream.set_verify_callback(asio::ssl::host_name_verification(provider.host));
        bucket_of(*to).ticket.attach(raw);
        auto [ec] = co_await stream.async_handshake(asio::ssl::stream_base::client, as_result);
        if (ec) {
            out.error = {"tls", "TLS with " + to->host_header + " failed: " + tls_detail(ec, raw)};
            current->made = nullptr;
            co_return out;
        }
    }
    fresh->opened = clock::now();
    current->made = nullptr;
    out.connection = std::move(fresh);
    co_return out;
}

}  // namespace keyhole::proxy::upstream
