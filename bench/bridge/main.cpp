#include "load.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <sys/resource.h>

namespace keyhole::bench {

void fail(const char* what)
{
    std::perror(what);
    std::exit(1);
}

std::int64_t now_ns() noexcept
{
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace keyhole::bench

int main(int argc, char** argv)
{
    using namespace keyhole::bench;
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    if (argc < 4 && !(argc == 3 && std::string_view(argv[1]) == "orphans")) {
        std::fputs("usage: serve PATH PORT | (connect N AT_A_TIME | requests N CONNECTIONS | latency N | "
                   "bulk BYTES | burst N | hold N | streams N SECONDS) "
                   "with PORT or PATH after the word | orphans N\n",
                   stderr);
        return 64;
    }
    const std::string_view what = argv[1];
    if (what == "orphans") {
        leave_orphans(std::atoi(argv[2]));
        return 0;
    }
    if (what == "serve") serve(argv[2], static_cast<std::uint16_t>(std::atoi(argv[3])));
    target at;
    if (argv[2][0] == '/')
        at.path = argv[2];
    else
        at.port = static_cast<std::uint16_t>(std::atoi(argv[2]));
    const int n = std::atoi(argv[3]);
    const int m = argc > 4 ? std::atoi(argv[4]) : 1;
    if (what == "connect") open_and_close(at, n, m);
    if (what == "requests") ask(at, n, m);
    if (what == "latency") ping(at, n);
    if (what == "bulk") download(at, std::strtoull(argv[3], nullptr, 10));
    if (what == "burst") burst(at, n);
    if (what == "hold") hold(at, n);
    if (what == "streams") listen_to(at, n, m);
    return 0;
}
