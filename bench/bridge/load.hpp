// What ./dev bench bridge measures with: a server that stands for the proxy and agents that talk to it,
// through whatever is between. A message is 200 bytes; its first byte says what the server does. One thread
// each, errors end the program with a line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace keyhole::bench {

constexpr std::size_t message_size = 200;
constexpr char echo = 'E';    ///< the message comes back
constexpr char stream = 'S';  ///< it comes again, ten times a second, until the connection ends
constexpr char bulk = 'B';    ///< as many bytes as its next eight say (little endian)

[[noreturn]] void fail(const char* what);
std::int64_t now_ns() noexcept;

/// A unix socket at `path`, where hand-off is understood too, and 127.0.0.1:`port`. Prints "ready"; runs
/// until it is killed.
void serve(const std::string& path, std::uint16_t port);

/// Where agents connect: 127.0.0.1:port, or a unix socket.
struct target {
    std::uint16_t port = 0;
    std::string path;
};

/// Blocking unless `later`: then it may still be on the way. Ends the program where it fails.
int connect_to(const target& at, bool later = false);

/// Each prints one line of JSON.
void open_and_close(const target& at, int count, int at_a_time);
void ask(const target& at, int count, int connections);
void ping(const target& at, int count);
void download(const target& at, std::uint64_t bytes);
/// All at the same moment; how long until the last one has its answer.
void burst(const target& at, int count);
/// Opens them, one exchange each, prints "held", and waits until stdin ends.
void hold(const target& at, int count);

/// As many streams at once for so many seconds: chunks received, and how many streams were without one for a
/// second.
void listen_to(const target& at, int streams, int seconds);
/// Leaves so many orphans to PID 1 (or the subreaper), as fast as it goes.
void leave_orphans(int count);

}  // namespace keyhole::bench
