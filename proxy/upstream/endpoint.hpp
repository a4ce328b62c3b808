// Where a provider is and how it is reached and authenticated: what the operator configured, ready to use.
// Thread rule: immutable, shared by all workers; TLS session tickets are per worker and live in the pool.
#pragma once

#include "config/config.hpp"
#include "proxy/upstream/key_ring.hpp"

#include <boost/asio/ssl/context.hpp>
#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace keyhole::proxy::upstream {

struct endpoint {
    config::provider provider;                       ///< name, API, address, keys, time-outs
    std::shared_ptr<boost::asio::ssl::context> tls;  ///< null for http://
    std::shared_ptr<key_ring> keys;                  ///< which of provider.keys is healthy
    std::string host_header;                         ///< "api.openai.com" or "host:port"
    std::string pool_key;  ///< host, port, scheme and trust: connections with the same key may serve each
                           ///< other's requests
};

/// The last TLS session ticket of an address, to resume with. One per worker and address; outlives the
/// connections that fill it.
class ticket_slot {
public:
    ticket_slot() = default;
    ~ticket_slot();
    ticket_slot(const ticket_slot&) = delete;
    ticket_slot& operator=(const ticket_slot&) = delete;
    /// Offers the ticket to a new connection and has that connection's own tickets stored here.
    void attach(SSL* connection);

private:
    friend int store_ticket(SSL* connection, SSL_SESSION* ticket);
    SSL_SESSION* ticket_ = nullptr;
};

using endpoint_ptr = std::shared_ptr<const endpoint>;

/// Builds the TLS context (peer verified against the system store or `ca_file`, TLS 1.2+, ALPN http/1.1).
/// Throws std::runtime_error naming the file and the cause.
endpoint_ptr make_endpoint(config::provider provider);

}  // namespace keyhole::proxy::upstream
