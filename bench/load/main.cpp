// keyhole-bench-load: the load generator as a program. One line of JSON on standard output; exit status 1
// where any answer was wrong.
#include "bench/load/generator.hpp"
#include "bench/load/report.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <memory>

int main(int argc, char** argv)
{
    using namespace keyhole::bench;
    CLI::App app{"Asks one target for chat completions, checks every answer, and tells how long they took."};
    plan p;
    std::string target;
    app.add_option("--target", target, "tcp:127.0.0.1:PORT or unix:PATH")->required();
    app.add_option("--path", p.path, "the request's path");
    app.add_option("--token", p.token, "what authorization carries");
    app.add_option("--model", p.model, "the request's model");
    app.add_option("--header", p.headers, "one more header, \"Name: value\"");
    app.add_option("--script", p.script, "x-bench-script, for the mock");
    app.add_option("--body", p.body_bytes, "size of the request's body in bytes");
    app.add_option("--connections", p.connections, "connections at once");
    app.add_option("--requests", p.requests, "stop after so many instead of after --seconds");
    app.add_option("--seconds", p.seconds, "how long requests are begun");
    app.add_option("--warmup", p.warmup, "seconds at the start that are not timed");
    app.add_option("--rate", p.rate, "open loop: requests a second");
    app.add_option("--status", p.status, "the status that is right");
    app.add_flag("--stream", p.stream, "ask for a stream");
    app.add_option("--events", p.events, "content events that each stream must have");
    app.add_flag("--foreign-body", p.foreign_body, "the target writes the body anew");
    app.add_flag("--new-connections", p.new_connections, "a connection for each request");
    app.add_flag(
        "--hold", p.hold,
        "one request a connection; say when all answers have begun, end on a line from standard input");
    app.add_option("--patience", p.patience, "seconds for what is under way at the end");
    CLI11_PARSE(app, argc, argv);
    try {
        p.target = parse_address(target);
        raise_descriptor_limit();
        const auto g = std::make_unique<generator>(p);
        g->run();
        print_report(*g);
        return g->faults().empty() ? 0 : 1;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "keyhole-bench-load: %s\n", e.what());
        return 2;
    }
}
