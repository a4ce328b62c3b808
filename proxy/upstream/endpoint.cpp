#include "proxy/upstream/endpoint.hpp"

#include <stdexcept>

namespace keyhole::proxy::upstream {

namespace ssl = boost::asio::ssl;

static int ticket_index()
{
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

/// OpenSSL's new-session callback; runs on the connection's own worker. Returning 1 keeps the reference.
int store_ticket(SSL* connection, SSL_SESSION* ticket);
int store_ticket(SSL* connection, SSL_SESSION* ticket)
{
    auto* slot = static_cast<ticket_slot*>(SSL_get_ex_data(connection, ticket_index()));
    if (slot == nullptr) return 0;
    if (slot->ticket_ != nullptr) SSL_SESSION_free(slot->ticket_);
    slot->ticket_ = ticket;
    return 1;
}

ticket_slot::~ticket_slot()
{
    if (ticket_ != nullptr) SSL_SESSION_free(ticket_);
}

void ticket_slot::attach(SSL* connection)
{
    SSL_set_ex_data(connection, ticket_index(), this);
    if (ticket_ != nullptr) SSL_set_session(connection, ticket_);
}

endpoint_ptr make_endpoint(config::provider provider)
{
    auto out = std::make_shared<endpoint>();
    const bool default_port = provider.port == (provider.tls ? 443 : 80);
    const bool v6 = provider.host.find(':') != std::string::npos;
    out->host_header = v6 ? '[' + provider.host + ']' : provider.host;
    if (!default_port) out->host_header += ':' + std::to_string(provider.port);
    out->pool_key = provider.host + '|' + std::to_string(provider.port) + '|' +
                    (provider.tls ? "tls|" : "plain|") + provider.ca_file;

    if (provider.tls) {
        auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
        SSL_CTX* raw = context->native_handle();
        SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
        SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(raw, &store_ticket);
        constexpr unsigned char alpn[] = "\x08http/1.1";
        SSL_CTX_set_alpn_protos(raw, static_cast<const unsigned char*>(alpn), sizeof(alpn) - 1);
        context->set_verify_mode(ssl::verify_peer);
        boost::system::error_code ec;
        if (provider.ca_file.empty())
            context->set_default_verify_paths(ec);
        else
            context->load_verify_file(provider.ca_file, ec);
        if (ec) {
            const std::string store =
                provider.ca_file.empty() ? "the system's certificate store" : provider.ca_file;
            throw std::runtime_error("provider " + provider.name + ": cannot load " + store + ": " +
                                     ec.message() +
                                     " (install ca-certificates, or set ca_file to a readable PEM file)");
        }
        out->tls = std::move(context);
    }
    out->keys = std::make_shared<key_ring>(provider.keys.size());
    out->provider = std::move(provider);
    return out;
}

}  // namespace keyhole::proxy::upstream
