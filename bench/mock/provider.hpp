// The mock provider: one thread, one epoll set. It demands a known key, reads each body to its end (counting,
// never keeping), answers by script, and books what it answered. Control, on the same listeners and without a
// key:
//   GET  /_bench/counters   the books as JSON
//   POST /_bench/reset      the books at zero
//   POST /_bench/finish     every paced stream ends now, with its usage
// Thread rule: one thread owns it all.
#pragma once

#include "bench/mock/books.hpp"
#include "bench/mock/script.hpp"
#include "bench/mock/transport.hpp"

#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <vector>

namespace keyhole::bench {

class provider {
public:
    provider(books& b, const script& by_default);
    ~provider();
    provider(const provider&) = delete;
    provider& operator=(const provider&) = delete;

    void listen(const address& where, SSL_CTX* context);
    /// Serves until the process ends.
    void run();

private:
    struct connection;
    struct listener {
        unique_fd fd;
        SSL_CTX* context = nullptr;
        bool tcp = false;
    };
    struct due {
        std::int64_t at = 0;
        connection* whose = nullptr;
        bool operator>(const due& other) const noexcept { return at > other.at; }
    };

    void accept_from(const listener& l);
    void on_ready(connection& c, std::uint32_t events);
    void read(connection& c);
    void answer(connection& c);
    void control(connection& c);
    void begin_stream(connection& c);
    /// Writes up to `most` events; false once the stream waits for its reader or its time, or has ended.
    bool write_events(connection& c, unsigned most);
    void end_stream(connection& c);
    void end_answer(connection& c);
    void send(connection& c, std::string_view bytes);
    void flush(connection& c);
    void close(connection& c);
    void bury();
    void run_fast_streams();
    void run_uploads();
    void run_timers();
    bool wait_time(struct timespec& wait) const;

    books& books_;
    script default_;
    unique_fd epoll_;
    std::vector<std::unique_ptr<listener>> listeners_;
    std::vector<std::unique_ptr<connection>> connections_;  ///< by descriptor
    std::vector<std::unique_ptr<connection>> buried_;       ///< closed; timers may still name them
    std::vector<connection*> fast_;
    std::vector<connection*> uploads_;  ///< whose socket had more than a turn's reads
    std::priority_queue<due, std::vector<due>, std::greater<>> timers_;
    std::vector<char> scratch_;
    std::string text_;
    std::uint64_t sequence_ = 0;
};

}  // namespace keyhole::bench
